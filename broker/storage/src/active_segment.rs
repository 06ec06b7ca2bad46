//! The last segment of a log, the only one that is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::types::{Offset, Timestamp};

use crate::closed_segment::ClosedSegment;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, length_u64, write_all_at};
use crate::files::{FileKind, segment_path};
use crate::pool::{FilePool, PooledSegment};
use crate::segment_indexes::{IndexFiles, SegmentIndexes};

#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) base: Offset,
    /// Shared with readers that came before the first write.
    pub(crate) pooled: Arc<PooledSegment>,
    /// Open as long as something written to it is not synced: a file that was closed and opened again might not
    /// report that the disk has lost it. Otherwise the pool's, so an idle log need not hold a descriptor.
    log: Option<Arc<dyn DiskFile>>,
    pub(crate) indexes: SegmentIndexes,
    /// Size of the `.log` in bytes.
    pub(crate) size: u64,
    /// Timestamp of the first batch, from which the segment's age is counted.
    pub(crate) first_timestamp: Option<Timestamp>,
    pub(crate) created: Timestamp,
    /// The file was truncated, and may be longer again after a crash. The segment must not be closed like that.
    pub(crate) cut_back: bool,
}

/// Why the next batch begins a new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollReason {
    /// `segment.bytes`
    Bytes,
    /// `segment.ms`
    Age,
    /// `segment.index.bytes`
    IndexFull,
    /// Offsets in a segment are at most 2³¹ − 1 away from its base.
    Offsets,
}

impl ActiveSegment {
    /// Creates no files before the first write.
    pub(crate) fn new(pool: &Arc<FilePool>, base: Offset, now: Timestamp) -> Self {
        Self::resume(pool, SegmentIndexes::new(base), (base, 0), (None, now))
    }

    /// Creates the files at once: after other segments the name of an empty one is all that shows the log end.
    pub(crate) fn create(pool: &Arc<FilePool>, directory: &Path, base: Offset, now: Timestamp) -> io::Result<Self> {
        let mut segment = Self::new(pool, base, now);
        segment.open(directory)?;
        Ok(segment)
    }

    /// Continues a segment of `size` bytes.
    pub(crate) fn resume(
        pool: &Arc<FilePool>,
        indexes: SegmentIndexes,
        (base, size): (Offset, u64),
        (first_timestamp, created): (Option<Timestamp>, Timestamp),
    ) -> Self {
        let pooled = Arc::new(pool.new_segment());
        Self { base, pooled, log: None, indexes, size, first_timestamp, created, cut_back: false }
    }

    /// The `.log`, if it is open, which it is if anything was written since the last sync.
    pub(crate) fn open_log(&self) -> Option<&Arc<dyn DiskFile>> {
        self.log.as_ref()
    }

    /// Opens the `.log` for writing, or creates the files of a new segment. A failure leaves nothing relevant
    /// changed.
    pub(crate) fn open(&mut self, directory: &Path) -> io::Result<&Arc<dyn DiskFile>> {
        let log = match self.log.take().or_else(|| self.pooled.writable_log()) {
            Some(log) => log,
            None if self.size == 0 => self.make_files(directory)?,
            None => self.disk().open(&self.path(directory), OpenMode::ReadWrite)?,
        };
        Ok(self.log.insert(log))
    }

    /// All of it is synced, except for what was cut back.
    pub(crate) fn rest(&mut self) {
        if let Some(log) = self.log.take_if(|_| !self.cut_back) {
            self.pooled.leave_log(log);
        }
    }

    fn make_files(&self, directory: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(directory);
        let log = self.disk().open(&path, OpenMode::Create)?;
        let length = log.length()?;
        if length != 0 {
            let message = format!("{}: {length} bytes where a new segment should begin", path.display());
            return Err(io::Error::other(message));
        }
        self.indexes.truncate_files(&self.index_files(directory)?)?;
        Ok(log)
    }

    /// `batch` has its offsets, and `length` bytes. `pending`: bytes that the same write puts before it.
    pub(crate) fn roll_reason(
        &self,
        batch: &BatchHeader,
        (pending, length): (u64, u64),
        (config, directory): (&LogConfig, &Path),
        now: Timestamp,
    ) -> Option<RollReason> {
        let relative = batch.last_offset().0.saturating_sub(self.base.0);
        if i32::try_from(relative).is_err() {
            return Some(RollReason::Offsets);
        }
        let size = self.size.saturating_add(pending);
        if size == 0 {
            return None;
        }
        if config.segment_bytes.saturating_sub(length) < size {
            return Some(RollReason::Bytes);
        }
        if config.segment_age_ms_max(directory, self.base) < self.age_ms(batch.max_timestamp, now) {
            return Some(RollReason::Age);
        }
        self.indexes.is_full(config.segment_index_bytes).then_some(RollReason::IndexFull)
    }

    /// Writes batches, the first of which begins with `head`, in one call. After an error the file may be longer than
    /// `size`.
    pub(crate) fn write(&mut self, directory: &Path, head: &[u8; HEADER_LENGTH], records: &[u8]) -> io::Result<()> {
        let size = self.size;
        write_all_at(&**self.open(directory)?, head, records, size)
    }

    /// Records a batch that was written at the end.
    pub(crate) fn record(&mut self, batch: &BatchHeader, length: u64, config: &LogConfig) {
        self.indexes.append(batch, self.size, length, config.index_interval_bytes);
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        self.size = self.size.saturating_add(length);
    }

    /// Removes what a failed write has left.
    pub(crate) fn cut_back(&mut self) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        self.cut_back = true;
        log.set_length(self.size)
    }

    /// Writes pending index entries. Files are opened for this only: entries are rare.
    pub(crate) fn write_indexes(&mut self, directory: &Path) -> io::Result<IndexFiles> {
        let files = self.index_files(directory)?;
        self.indexes.write_out(&files)?;
        Ok(files)
    }

    /// Writes everything pending, with the last time entry. May be repeated.
    pub(crate) fn finish(&mut self, directory: &Path) -> io::Result<[Arc<dyn DiskFile>; 3]> {
        self.indexes.finish();
        let log = self.open(directory)?.clone();
        let IndexFiles { offsets, times } = self.write_indexes(directory)?;
        Ok([log, offsets, times])
    }

    /// See [`ClosedSegment::modified`].
    pub(crate) fn modified(&self, directory: &Path) -> io::Result<Timestamp> {
        let largest = self.indexes.largest().timestamp;
        match &self.log {
            _ if Timestamp(0) <= largest => Ok(largest),
            Some(log) => log.modified(),
            None => self.disk().open(&self.path(directory), OpenMode::Read)?.modified(),
        }
    }

    pub(crate) fn into_closed(self, directory: &Arc<Path>, end: Offset) -> ClosedSegment {
        ClosedSegment {
            files: self.pooled,
            directory: directory.clone(),
            base: self.base,
            end,
            size: self.size,
            largest_timestamp: self.indexes.largest().timestamp,
        }
    }

    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        segment_path(directory, self.base, FileKind::Log)
    }

    fn index_files(&self, directory: &Path) -> io::Result<IndexFiles> {
        IndexFiles::open(&**self.disk(), directory, self.base)
    }

    fn disk(&self) -> &Arc<dyn Disk> {
        self.pooled.disk()
    }

    /// By the records' timestamps if there are any, otherwise by our clock.
    fn age_ms(&self, incoming: Timestamp, now: Timestamp) -> i64 {
        match self.first_timestamp.filter(|first| 0 <= first.0) {
            Some(first) => incoming.0.saturating_sub(first.0),
            None => now.0.saturating_sub(self.created.0),
        }
    }
}

/// Whether a batch of this many bytes fits into no segment.
pub(crate) fn is_too_large(length: usize, config: &LogConfig) -> bool {
    config.segment_bytes < length_u64(length)
}
