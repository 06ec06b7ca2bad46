//! Deletion from the front of a log. The log start advances record by record ([`Log::advance_log_start`]); files are
//! deleted by segment, oldest first, up to the first that must stay ([`Log::delete_old_segments`]).
//!
//! A deleted segment leaves the log at once, under the log's lock. [`SegmentDeletion::run`] then renames its files to
//! `.deleted` without the lock, and the owner of the log removes them after `file.delete.delay.ms`: until then a read
//! in progress still finds them, and later it has them open.
//!
//! The recovery point does not move: files that a crash brings back were perhaps never synced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::types::{Offset, Timestamp};

use crate::active_segment::ActiveSegment;
use crate::closed_segment::ClosedSegment;
use crate::disk::{Disk, remove_if_present};
use crate::files::{FileKind, deleted, segment_path};
use crate::log::{AppendError, Log, LogPosition, is_no_space};
use crate::pool::FilePool;
use crate::producer_snapshot;

/// The retention of a log. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// `retention.bytes`
    pub bytes_max: Option<u64>,
    /// `retention.ms`
    pub age_ms_max: Option<i64>,
}

/// Why a segment is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeletionReason {
    /// All of it is before the log start.
    LogStart,
    Bytes,
    Age,
}

#[derive(Debug, Clone, Copy)]
enum Candidate<'a> {
    Closed(&'a ClosedSegment),
    Active { end: Offset, segment: &'a ActiveSegment, directory: &'a Path },
}

impl Candidate<'_> {
    fn end(&self) -> Offset {
        match self {
            Self::Closed(segment) => segment.end,
            Self::Active { end, .. } => *end,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Closed(segment) => segment.size,
            Self::Active { segment, .. } => segment.size,
        }
    }

    fn modified(&self) -> io::Result<Timestamp> {
        match self {
            Self::Closed(segment) => segment.modified(),
            Self::Active { segment, directory, .. } => segment.modified(directory),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} is not within 0 and the high watermark {high_watermark}")]
pub struct InvalidLogStart {
    pub offset: Offset,
    pub high_watermark: Offset,
}

/// Segments that have left the log. [`SegmentDeletion::run`] needs no lock.
#[derive(Debug)]
#[must_use = "the files stay where they are"]
pub struct SegmentDeletion {
    pool: Arc<FilePool>,
    directory: Arc<Path>,
    abandoned: Arc<RwLock<bool>>,
    segments: Vec<Arc<ClosedSegment>>,
    /// Offsets of producer snapshots.
    snapshots: Vec<Offset>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct DeletionError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl Log {
    /// Hides the records before `offset` from readers. Durable once the log-start checkpoint has it.
    pub fn advance_log_start(&mut self, offset: Offset) -> Result<(), InvalidLogStart> {
        let high_watermark = self.high_watermark.offset;
        if offset < Offset(0) || high_watermark < offset {
            return Err(InvalidLogStart { offset, high_watermark });
        }
        if self.start_offset < offset {
            self.start_offset = offset;
            // The file is updated by the next flush.
            self.epochs.truncate_from_start(offset);
        }
        Ok(())
    }

    /// Deletes the oldest segments: those before the log start, and those beyond `retention`. Nothing at or above the
    /// high watermark is deleted; the active segment is closed first if it is to go.
    pub fn delete_old_segments(
        &mut self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Option<SegmentDeletion>, AppendError> {
        if self.is_offline() {
            return Err(AppendError::Offline);
        }
        let mut count = self.count_deletable(retention, now);
        if self.closed.len() < count {
            match self.roll(now).map_err(|error| self.write_failed(error)) {
                Ok(()) => {}
                Err(error) if error.is_shortage() => count = self.closed.len(),
                Err(error) => return Err(error),
            }
        }
        Ok((count != 0).then(|| self.let_go(count)))
    }

    /// Forgets producers that have not written for `producer.id.expiration.ms`.
    pub fn expire_producers(&mut self, now: Timestamp) {
        self.producers.expire(now, self.config.producer_id_expiration_ms);
    }

    /// How many segments to delete, counted from the oldest.
    fn count_deletable(&self, retention: &Retention, now: Timestamp) -> usize {
        let closed = self.closed.iter().map(|segment| Candidate::Closed(segment));
        let mut left = self.size();
        let mut count: usize = 0;
        let (segment, directory) = (&self.active, &*self.directory);
        for segment in closed.chain([Candidate::Active { end: self.end_offset, segment, directory }]) {
            let Some(reason) = self.deletion_reason(segment, left, retention, now) else { break };
            tracing::debug!(directory = %self.directory.display(), end = %segment.end(), ?reason, "deleting segment");
            left = left.saturating_sub(segment.size());
            count = count.saturating_add(1);
        }
        count
    }

    /// `left`: bytes of this segment and of all after it.
    fn deletion_reason(
        &self,
        segment: Candidate<'_>,
        left: u64,
        retention: &Retention,
        now: Timestamp,
    ) -> Option<DeletionReason> {
        let is_closed = matches!(segment, Candidate::Closed(_));
        if self.high_watermark.offset < segment.end() || (!is_closed && segment.size() == 0) {
            return None;
        }
        if is_closed && segment.end() <= self.start_offset {
            return Some(DeletionReason::LogStart);
        }
        if retention.bytes_max.is_some_and(|max| max <= left.saturating_sub(segment.size())) {
            return Some(DeletionReason::Bytes);
        }
        // A file whose age is unknown is not taken for old.
        let is_old = |max| max < now.0.saturating_sub(segment.modified().unwrap_or(now).0);
        retention.age_ms_max.is_some_and(is_old).then_some(DeletionReason::Age)
    }

    fn let_go(&mut self, count: usize) -> SegmentDeletion {
        let segments: Vec<_> = self.closed.drain(..count).collect();
        let first = self.closed.first().map_or(self.active.base, |segment| segment.base);
        self.start_offset = self.start_offset.max(first);
        self.epochs.truncate_from_start(self.start_offset);
        if self.high_watermark.segment_base < first {
            assert_eq!(self.high_watermark.offset, first, "nothing beyond the high watermark goes");
            self.high_watermark = LogPosition { offset: first, segment_base: first, position: 0 };
        }
        let snapshots = self.flushing.forget_before(first);
        SegmentDeletion {
            pool: self.pool.clone(),
            directory: self.directory.clone(),
            abandoned: self.abandoned.clone(),
            segments,
            snapshots,
        }
    }
}

impl SegmentDeletion {
    /// Renames the files, durably, and returns their new names. If the disk is too full for that they are removed at
    /// once. In an abandoned directory nothing is touched.
    pub fn run(&self) -> Result<Vec<PathBuf>, DeletionError> {
        let abandoned = self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if *abandoned {
            return Ok(Vec::new());
        }
        let disk = &**self.pool.disk();
        let kinds = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];
        // A snapshot from before the first segment would give recovery stale producers, so snapshots are removed
        // first.
        let snapshots = self.snapshots.iter().map(|offset| producer_snapshot::path(&self.directory, *offset));
        let files = self
            .segments
            .iter()
            .flat_map(|segment| kinds.map(|kind| segment_path(&self.directory, segment.base, kind)));
        let mut renamed = Vec::new();
        for path in snapshots.chain(files) {
            match set_aside(disk, &path) {
                Ok(target) => renamed.extend(target),
                Err(source) => return Err(DeletionError { path, source }),
            }
        }
        let synced = disk.sync_directory(&self.directory);
        synced.map_err(|source| DeletionError { path: self.directory.to_path_buf(), source })?;
        Ok(renamed)
    }
}

/// The new name; `None` if nothing is left to remove.
pub(crate) fn set_aside(disk: &dyn Disk, path: &Path) -> io::Result<Option<PathBuf>> {
    let target = deleted(path);
    match disk.rename(path, &target) {
        Ok(()) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_no_space(&error) => remove_if_present(disk, path).map(|()| None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "deletion_test.rs"]
mod tests;
