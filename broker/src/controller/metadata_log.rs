//! The metadata log, `__cluster_metadata-0`, and its snapshots: an ordinary log whose records are metadata records and
//! control records. Used by one thread, see [`super::quorum`].
//!
//! ```text
//! log start = end of the oldest snapshot   end of the latest   recovery point   log end
//!        │ kept for followers that lag             │ replayed at the start           │
//! ```

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use protocol::batch_builder::{BatchBuilder, BuildError};
use protocol::config::Values;
use protocol::metadata_records::control::ControlRecord;
use protocol::metadata_records::{MetadataRecord, StringTooLong};
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp};
use raft::SnapshotId;
use storage::{
    AppendError, DeletionError, FetchedBatches, FilePool, FlushError, LoadError, LoadOptions, Log, LogConfig, OpenMode,
    ReadMode, ReplicateError, ResolveError, Retention, TruncateError, UnsoundBatch, UpTo,
};
use tracing::info;

use super::batches::{BadBatch, BatchFault, Batches};
use super::snapshot_files::{SnapshotFileError, SnapshotFiles, remove_old};
use crate::metadata::{Image, METADATA_DIRECTORY};
use crate::peer::METADATA_TOPIC_ID;

/// Bytes read at once.
const READ_BYTES: u32 = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct MetadataLog {
    log: Log,
    pool: Arc<FilePool>,
    directory: PathBuf,
    snapshots: SnapshotFiles,
    retention: MetadataRetention,
}

/// `metadata.max.retention.*`; `None`: no limit.
#[derive(Debug, Clone, Copy)]
struct MetadataRetention {
    bytes_max: Option<u64>,
    age_ms_max: Option<i64>,
}

/// What a node starts with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: MetadataLog,
    /// The image of the latest snapshot.
    pub(super) image: Image,
    pub(super) snapshot: Option<SnapshotId>,
    /// The control records after the snapshot, with their offsets.
    pub(super) control: Vec<(Offset, ControlRecord)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataLogError {
    #[error("the metadata log cannot be created: {0}")]
    Create(io::Error),
    #[error(transparent)]
    Snapshot(#[from] SnapshotFileError),
    #[error("the metadata log begins at offset {log_start}, but the latest whole snapshot ends at {snapshot_end}")]
    Gap { log_start: Offset, snapshot_end: Offset },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Read(#[from] ResolveError),
    #[error("the metadata log cannot be read: {0}")]
    Io(io::Error),
    #[error("the metadata log has no offset {0}")]
    OutOfRange(Offset),
    #[error("metadata log, {0}")]
    Batch(#[from] BadBatch),
    #[error(transparent)]
    Unsound(#[from] UnsoundBatch),
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    Delete(#[from] DeletionError),
}

impl MetadataLogError {
    /// Whether a resource ran out: the operation may be retried.
    pub(super) fn is_shortage(&self) -> bool {
        match self {
            Self::Append(error)
            | Self::Replicate(ReplicateError::Append(error))
            | Self::Truncate(TruncateError::Write(error)) => error.is_shortage(),
            Self::Read(ResolveError::Io { source, .. })
            | Self::Snapshot(SnapshotFileError::Io { source, .. })
            | Self::Io(source) => storage::is_shortage(source),
            Self::Flush(FlushError::Postponed { .. }) => true,
            _ => false,
        }
    }
}

/// Why records cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(transparent)]
    String(#[from] StringTooLong),
    #[error(transparent)]
    Batch(#[from] BuildError),
}

impl MetadataLog {
    /// The log below `root`, created on the node's first start. What was committed must be complete: damage below
    /// `recovery_point` is not a torn tail.
    pub(super) fn open(
        pool: &Arc<FilePool>,
        root: &Path,
        values: &Values,
        recovery_point: Offset,
        now: Timestamp,
    ) -> Result<Opened, MetadataLogError> {
        let directory = root.join(METADATA_DIRECTORY);
        let (snapshots, image) = SnapshotFiles::open(pool.disk().clone(), &directory)?;
        let log_start = snapshots.all().first().map_or(Offset(0), |(id, _)| id.end_offset);
        let log = if is_partition(pool, &directory) {
            let options = LoadOptions {
                clean: false,
                recovery_point: recovery_point.max(log_start),
                log_start,
                high_watermark: log_start,
                first_dirty: log_start,
                compacted_end: log_start,
                now,
            };
            Log::load(pool, &directory, log_config(values), &options, &mut |_| {})?
        } else {
            Log::create(pool, &directory, METADATA_TOPIC_ID, log_config(values), log_start, now)
                .map_err(MetadataLogError::Create)?
        };
        let mut log = Self { log, pool: pool.clone(), directory, snapshots, retention: retention(values) };
        let snapshot = log.latest();
        let snapshot_end = image.end_offset;
        if snapshot_end < log.start_offset() {
            return Err(MetadataLogError::Gap { log_start: log.start_offset(), snapshot_end });
        }
        if log.end_offset() < snapshot_end {
            log.restart_at(snapshot_end, now)?;
        }
        // A killed process may never have synced this; from now on it counts.
        log.sync(now)?;
        let control = log.control_records(snapshot_end)?;
        Ok(Opened { log, image, snapshot, control })
    }

    pub(super) fn latest(&self) -> Option<SnapshotId> {
        self.snapshots.all().last().map(|(id, _)| *id)
    }

    pub(super) fn start_offset(&self) -> Offset {
        self.log.log_start()
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.log.log_end().offset
    }

    /// The start offset of each epoch.
    pub(super) fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        self.log.leader_epochs().entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }

    /// Whole, checked batches of a range that begins with one; none at the log end.
    pub(super) fn read(&self, range: &Range<Offset>, bytes_max: u32) -> Result<Bytes, MetadataLogError> {
        let located = self.log.locate(range.start, UpTo::LogEnd, bytes_max);
        let located = located.map_err(|_| MetadataLogError::OutOfRange(range.start))?;
        let Some(slice) = located.resolve(ReadMode::Blocking, true)? else { return Ok(Bytes::new()) };
        let mut bytes = slice.read().map_err(MetadataLogError::Io)?;
        let (mut whole, mut is_whole) = (0, false);
        for batch in Batches::new(&bytes) {
            let batch = batch?;
            is_whole = true;
            if range.end < batch.header.next_offset() {
                break;
            }
            whole += batch.bytes.len();
        }
        if !is_whole {
            return Err(BadBatch { offset: range.start, fault: BatchFault::Truncated }.into());
        }
        bytes.truncate(whole);
        Ok(bytes.into())
    }

    /// Appends whole batches with their offsets and epochs. Not durable before [`Self::sync`]. After a shortage the
    /// same batches may be passed again although some of them may be in the log.
    pub(super) fn append(&mut self, batches: &Bytes, now: Timestamp) -> Result<(), MetadataLogError> {
        let mut missing = batches.clone();
        while let Some(batch) = Batches::new(&missing).next().transpose()?
            && batch.header.base_offset < self.end_offset()
        {
            let length = batch.bytes.len();
            missing.advance(length);
        }
        let checked = FetchedBatches::check(missing)?;
        let Some(last) = checked.headers().last() else { return Ok(()) };
        let epoch = last.leader_epoch;
        self.log.append_as_follower(&checked, epoch, now)?;
        Ok(())
    }

    /// Durable at once. Unprepared because the recovery point on disk never lies beyond the high watermark, below
    /// which nothing is ever truncated.
    pub(super) fn truncate_to(&mut self, offset: Offset, now: Timestamp) -> Result<(), MetadataLogError> {
        info!(%offset, log_end = %self.end_offset(), "metadata log truncated: the quorum has other records there");
        if self.log.prepare_truncation(offset) {
            self.log.truncation_prepared();
        }
        self.log.truncate_to(offset, now)?;
        Ok(())
    }

    /// Drops everything and restarts the log at the end offset of a snapshot that is on disk.
    pub(super) fn restart_at(&mut self, offset: Offset, now: Timestamp) -> Result<(), MetadataLogError> {
        info!(%offset, log_end = %self.end_offset(), "metadata log restarted at the end of a snapshot");
        if self.log.prepare_truncation(offset) {
            self.log.truncation_prepared();
        }
        self.log.restart_at(offset, now)?;
        let older = self.snapshots.all().iter().filter(|(id, _)| id.end_offset < offset).count();
        self.forget(older)
    }

    pub(super) fn sync(&mut self, now: Timestamp) -> Result<(), MetadataLogError> {
        let flushed = self.log.start_flush(now).run()?;
        self.log.finish_flush(flushed);
        Ok(())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a snapshot, durably.
    pub(super) fn write_snapshot(&mut self, id: SnapshotId, bytes: &[u8]) -> Result<(), MetadataLogError> {
        self.snapshots.write(id, bytes)?;
        self.add_snapshot(id, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Adds a snapshot that is on disk. If the log has meanwhile restarted at the end of a later snapshot of the
    /// leader it is removed instead.
    pub(super) fn add_snapshot(&mut self, id: SnapshotId, length: u64) {
        if id.end_offset < self.start_offset() {
            self.snapshots.remove(id);
        } else {
            self.snapshots.add(id, length);
        }
    }

    /// Bytes of a snapshot from a position on, and its size. `None`: there is no such snapshot.
    pub(super) fn read_snapshot(
        &self,
        id: SnapshotId,
        position: u64,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, u64)>, MetadataLogError> {
        Ok(self.snapshots.read(id, position, bytes_max)?)
    }

    /// Applies the retention of metadata: removes old snapshots, and the log before the oldest that stays, but
    /// nothing from `log_start_max` on. The latest snapshot always stays.
    pub(super) fn clean(&mut self, log_start_max: Offset, now: Timestamp) -> Result<(), MetadataLogError> {
        // Snapshots hold committed records only, so no uncommitted record can be deleted with one.
        let end = self.log.log_end();
        self.log.set_high_watermark(end);
        let snapshots = self.snapshots.all();
        let mut total = snapshots.iter().map(|(_, length)| length).sum::<u64>() + self.log.size();
        let mut count = 0;
        while let [(id, oldest), (next, _), ..] = &snapshots[count..]
            && next.end_offset <= log_start_max
            && (self.retention.bytes_max.is_some_and(|max| max < total) || self.is_too_old(*id, now))
        {
            total = total.saturating_sub(*oldest);
            count += 1;
        }
        self.forget(count)?;
        if let Some(deletion) = self.log.delete_old_segments(&Retention::default(), now)? {
            let renamed = deletion.run()?;
            for path in renamed {
                remove_old(&**self.pool.disk(), &path);
            }
        }
        Ok(())
    }

    /// A snapshot is as old as its last record. One without a timestamp stays.
    fn is_too_old(&self, id: SnapshotId, now: Timestamp) -> bool {
        let last = self.snapshots.last_timestamp(id);
        let too_old = |(last, max): (Timestamp, i64)| max < now.0.saturating_sub(last.0);
        last.zip(self.retention.age_ms_max).is_some_and(too_old)
    }

    /// Removes the oldest snapshots, and advances the log start to the end of the first that stays.
    fn forget(&mut self, count: usize) -> Result<(), MetadataLogError> {
        let forgotten = self.snapshots.forget_oldest(count);
        if let Some((oldest, _)) = self.snapshots.all().first() {
            self.log
                .advance_log_start(oldest.end_offset)
                .map_err(|_| MetadataLogError::OutOfRange(oldest.end_offset))?;
        }
        for id in forgotten {
            self.snapshots.remove(id);
        }
        Ok(())
    }

    pub(super) fn close_clean(&mut self, now: Timestamp) -> Result<(), MetadataLogError> {
        self.log.close_clean(now)?;
        Ok(())
    }

    fn control_records(&self, from: Offset) -> Result<Vec<(Offset, ControlRecord)>, MetadataLogError> {
        let (mut next, mut found) = (from, Vec::new());
        while next < self.end_offset() {
            let bytes = self.read(&(next..self.end_offset()), READ_BYTES)?;
            for batch in Batches::new(&bytes) {
                let batch = batch?;
                let records = batch.control_records()?;
                found.extend((batch.header.base_offset.0..).map(Offset).zip(records));
                next = batch.header.next_offset();
            }
        }
        Ok(found)
    }
}

fn log_config(values: &Values) -> LogConfig {
    let segment_bytes = u64::try_from(values.get_int("metadata.log.segment.bytes")).unwrap_or(u64::MAX);
    LogConfig { segment_bytes, segment_ms: values.get_long("metadata.log.segment.ms"), ..LogConfig::default() }
}

fn retention(values: &Values) -> MetadataRetention {
    MetadataRetention {
        bytes_max: u64::try_from(values.get_long("metadata.max.retention.bytes")).ok(),
        age_ms_max: Some(values.get_long("metadata.max.retention.ms")).filter(|age| 0 <= *age),
    }
}

fn is_partition(pool: &FilePool, directory: &Path) -> bool {
    pool.disk().open(&directory.join("partition.metadata"), OpenMode::Read).is_ok()
}

/// One atomic batch.
pub(super) fn encode_records(records: &[MetadataRecord], now: Timestamp) -> Result<CheckedBatch, EncodeError> {
    let mut builder = BatchBuilder::new(now);
    for record in records {
        builder.push(None, Some(&record.encode()?));
    }
    Ok(builder.build()?)
}

pub(super) fn encode_control(records: &[ControlRecord], now: Timestamp) -> Result<CheckedBatch, EncodeError> {
    let mut builder = BatchBuilder::new(now).control();
    for record in records {
        let (key, value) = record.encode()?;
        builder.push(Some(&key), Some(&value));
    }
    Ok(builder.build()?)
}

#[cfg(test)]
#[path = "metadata_log_test.rs"]
mod tests;
