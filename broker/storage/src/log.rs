//! A partition's log: closed segments, the active one, and the state derived from the records in them.
//!
//! ```text
//!   log start          recovery point      high watermark      log end
//!       │ closed │ closed │ active    ·           ·               │
//!                 synced ◄┘                 committed ◄┘
//! ```
//!
//! The owner holds a lock around `&mut Log`. What may wait for the disk for long is returned as a job:
//! [`Located`](crate::Located) for reads, [`FlushJob`](crate::FlushJob) for syncs. A write that fails for lack of
//! space or descriptors changes nothing; any other failed write or sync takes the log offline for good.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicId};
use rustix::io::Errno;

use crate::active_segment::{ActiveSegment, RollReason, is_too_large};
use crate::closed_segment::ClosedSegment;
use crate::config::LogConfig;
use crate::disk::{Disk, length_u64};
use crate::files::{FileKind, parse_name, segment_path};
use crate::flush::{FlushState, RolledSegment};
use crate::leader_epochs::LeaderEpochs;
use crate::pool::FilePool;
use crate::producers::{ActiveProducer, ProducedBatch, ProducerError, Producers, SequenceCheck};
use crate::tail_positions::TailPositions;
use crate::{partition_metadata, producer_snapshot};

#[derive(Debug)]
pub struct Log {
    pub(crate) pool: Arc<FilePool>,
    pub(crate) directory: Arc<Path>,
    pub(crate) topic_id: TopicId,
    pub(crate) config: LogConfig,
    /// In the order of their offsets.
    pub(crate) closed: Vec<Arc<ClosedSegment>>,
    pub(crate) active: ActiveSegment,
    pub(crate) tail: TailPositions,
    pub(crate) start_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) high_watermark: LogPosition,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: Producers,
    /// See [`Log::first_dirty`].
    pub(crate) first_dirty: Offset,
    /// See [`Log::compacted_end`].
    pub(crate) compacted_end: Offset,
    pub(crate) flushing: FlushState,
    /// Set by the first write or sync that failed.
    pub(crate) offline: Arc<AtomicBool>,
    /// See [`Log::abandon_directory`].
    pub(crate) abandoned: Arc<RwLock<bool>>,
}

/// An offset and the position of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub offset: Offset,
    pub segment_base: Offset,
    pub position: u64,
}

impl LogPosition {
    /// The same position, after a swap has replaced the segments before `end`: it may have been at the end of one.
    pub(crate) fn after_swap(self, end: Offset) -> Self {
        if end <= self.segment_base {
            return self;
        }
        assert!(end <= self.offset, "{self:?} lies within what was compacted up to {end}");
        Self { offset: self.offset, segment_base: end, position: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// [`Timestamp::NONE`] unless the batch has one.
    pub log_append_time: Timestamp,
    /// Nothing was written: these are the offsets of the first attempt.
    pub duplicate: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the log is offline after a failed write or sync")]
    Offline,
    #[error("the batch has {length} bytes, segment.bytes is {segment_bytes}")]
    BatchTooLarge { length: usize, segment_bytes: u64 },
    #[error("leader epoch {epoch} is over, the log has records of epoch {latest}")]
    StaleLeaderEpoch { epoch: LeaderEpoch, latest: LeaderEpoch },
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error("{}: no space left; nothing was written", path.display())]
    NoSpace { path: PathBuf },
    #[error("{}: too many open files; nothing was written. Raise the limit of open files", path.display())]
    NoDescriptors { path: PathBuf },
    #[error("{}: {source}; the log is offline from now on", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl AppendError {
    /// Whether a resource ran out: the operation may be retried.
    pub const fn is_shortage(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::NoDescriptors { .. })
    }
}

impl Log {
    /// A new, empty partition in `directory`. Its files are created, and it becomes durable, with its first record.
    pub fn create(
        pool: &Arc<FilePool>,
        directory: &Path,
        topic_id: TopicId,
        config: LogConfig,
        start_offset: Offset,
        now: Timestamp,
    ) -> io::Result<Self> {
        let disk = pool.disk();
        disk.create_directory(directory)?;
        refuse_records(&**disk, directory)?;
        partition_metadata::write(&**disk, directory, topic_id)?;
        let active = match start_offset {
            Offset(0) => ActiveSegment::new(pool, start_offset, now),
            _ => ActiveSegment::create(pool, directory, start_offset, now)?,
        };
        Ok(Self {
            pool: pool.clone(),
            directory: directory.into(),
            topic_id,
            config,
            closed: Vec::new(),
            active,
            tail: TailPositions::default(),
            start_offset,
            end_offset: start_offset,
            high_watermark: LogPosition { offset: start_offset, segment_base: start_offset, position: 0 },
            epochs: LeaderEpochs::default(),
            producers: Producers::default(),
            first_dirty: start_offset,
            compacted_end: start_offset,
            flushing: FlushState::new(Offset(0)),
            offline: Arc::new(AtomicBool::new(false)),
            abandoned: Arc::default(),
        })
    }

    pub fn append_as_leader(
        &mut self,
        batch: &CheckedBatch,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        self.check(batch, epoch)?;
        if let SequenceCheck::Duplicate(first) = self.producers.check(&batch.header)? {
            return Ok(duplicate(&batch.header, &first));
        }
        let header = BatchHeader { base_offset: self.end_offset, leader_epoch: epoch, ..batch.header };
        let length = length_u64(batch.bytes.len());
        if let Some(reason) = self.active.roll_reason(&header, (0, length), (&self.config, &self.directory), now) {
            self.roll_for(reason, now)?;
        }
        self.begin_epoch(epoch);
        self.write(&header.encode(), batch.bytes.get(HEADER_LENGTH..).unwrap_or_default())?;
        self.record(&header, length, now)?;
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: log_append_time(&header, header.max_timestamp),
            duplicate: false,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub fn log_start(&self) -> Offset {
        self.start_offset
    }

    /// The position of the next record.
    pub fn log_end(&self) -> LogPosition {
        LogPosition { offset: self.end_offset, segment_base: self.active.base, position: self.active.size }
    }

    pub fn high_watermark(&self) -> LogPosition {
        self.high_watermark
    }

    /// Consumers may read what is before it. `position` is that of the log end, or of a read that began there.
    pub fn set_high_watermark(&mut self, position: LogPosition) {
        assert!(position.offset <= self.end_offset, "{position:?} lies beyond the log end {}", self.end_offset);
        self.high_watermark = position;
    }

    /// From now on records are of this epoch; queries for the end of an older one are answered accordingly (KIP-101).
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        if self.epochs.latest().is_none_or(|latest| latest < epoch) {
            self.epochs.assign(epoch, self.end_offset);
        }
    }

    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// See [`LeaderEpochs::end_offset_for_epoch`]. The asking leader's epoch counts as begun, even if nothing was
    /// written in it yet.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch, leader: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if self.epochs.latest().is_some_and(|latest| leader <= latest) {
            return self.epochs.end_offset_for_epoch(epoch, self.end_offset);
        }
        let mut epochs = self.epochs.clone();
        epochs.assign(leader, self.end_offset);
        epochs.end_offset_for_epoch(epoch, self.end_offset)
    }

    /// Producers that the partition remembers, in no particular order.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.closed.iter().map(|segment| segment.size).fold(self.active.size, u64::saturating_add)
    }

    /// The directory is about to be renamed, and its name may go to another log: from now on a flush in progress
    /// writes nothing there by name. Waits for such a write, but not for a sync of records.
    pub fn abandon_directory(&self) {
        *self.abandoned.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub fn segment_count(&self) -> usize {
        self.closed.len().saturating_add(1)
    }

    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    fn check(&self, batch: &CheckedBatch, epoch: LeaderEpoch) -> Result<(), AppendError> {
        let length = batch.bytes.len();
        assert_eq!(batch.header.length(), Some(length), "a checked batch is exactly one batch");
        if self.is_offline() {
            return Err(AppendError::Offline);
        }
        if is_too_large(length, &self.config) {
            return Err(AppendError::BatchTooLarge { length, segment_bytes: self.config.segment_bytes });
        }
        match self.epochs.latest() {
            Some(latest) if epoch < latest => Err(AppendError::StaleLeaderEpoch { epoch, latest }),
            _ => Ok(()),
        }
    }

    pub(crate) fn roll_for(&mut self, reason: RollReason, now: Timestamp) -> Result<(), AppendError> {
        tracing::debug!(directory = %self.directory.display(), base_offset = %self.end_offset, ?reason, "rolled segment");
        self.roll(now).map_err(|error| self.write_failed(error))
    }

    pub(crate) fn write(&mut self, head: &[u8; HEADER_LENGTH], records: &[u8]) -> Result<(), AppendError> {
        let Err(error) = self.active.write(&self.directory, head, records) else { return Ok(()) };
        match self.active.cut_back() {
            Ok(()) => Err(self.write_failed(error)),
            Err(truncation) => Err(self.take_offline(truncation)),
        }
    }

    pub(crate) fn record(&mut self, header: &BatchHeader, length: u64, now: Timestamp) -> Result<(), AppendError> {
        self.tail.push(self.log_end());
        self.active.record(header, length, &self.config);
        self.producers.record(header);
        self.end_offset = header.next_offset();
        self.flushing.appended(length, now);
        if self.active.indexes.has_much_to_write() {
            match self.active.write_indexes(&self.directory) {
                Err(error) if !is_shortage(&error) => return Err(self.take_offline(error)),
                // The entries stay in memory and are retried.
                _ => {}
            }
        }
        Ok(())
    }

    /// Begins a new segment at the log end. A failure leaves nothing relevant changed.
    pub(crate) fn roll(&mut self, now: Timestamp) -> io::Result<()> {
        if self.active.cut_back {
            // A failed sync is fatal, whatever its reason.
            self.active.open(&self.directory)?.sync_data().map_err(io::Error::other)?;
        }
        let files = self.active.finish(&self.directory)?;
        let next = ActiveSegment::create(&self.pool, &self.directory, self.end_offset, now)?;
        let full = std::mem::replace(&mut self.active, next);
        let snapshot = producer_snapshot::encode(&self.producers);
        self.flushing.rolled(RolledSegment { end: self.end_offset, files, snapshot });
        self.closed.push(Arc::new(full.into_closed(&self.directory, self.end_offset)));
        Ok(())
    }

    pub(crate) fn write_failed(&self, error: io::Error) -> AppendError {
        let path = self.directory.to_path_buf();
        match error {
            error if is_no_space(&error) => AppendError::NoSpace { path },
            error if is_shortage(&error) => AppendError::NoDescriptors { path },
            error => self.take_offline(error),
        }
    }

    pub(crate) fn take_offline(&self, source: io::Error) -> AppendError {
        self.offline.store(true, Ordering::Release);
        AppendError::Io { path: segment_path(&self.directory, self.active.base, FileKind::Log), source }
    }
}

/// A directory with records in it is already a partition, perhaps of another topic id.
fn refuse_records(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    for entry in disk.list(directory)? {
        if 0 < entry.length && entry.name.to_str().and_then(parse_name).is_some_and(|(_, kind)| kind == FileKind::Log) {
            let message = format!("{} has records: load it instead", directory.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    Ok(())
}

fn duplicate(batch: &BatchHeader, first: &ProducedBatch) -> Appended {
    Appended {
        base_offset: first.first_offset(),
        last_offset: first.last_offset,
        log_append_time: log_append_time(batch, first.timestamp),
        duplicate: true,
    }
}

fn log_append_time(batch: &BatchHeader, timestamp: Timestamp) -> Timestamp {
    if batch.attributes.is_log_append_time() { timestamp } else { Timestamp::NONE }
}

/// Whether space or descriptors ran out, which is not a failure of the disk: the operation may be retried.
pub fn is_shortage(error: &io::Error) -> bool {
    is_no_space(error) || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the disk is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
