//! The last segment of a log, the only one that is written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::types::{Offset, Timestamp};

use crate::closed_segment::ClosedSegment;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, length_u64, write_all_at};
use crate::files::{FileKind, segment_path};
use crate::pool::FilePool;
use crate::segment_indexes::{IndexFiles, SegmentIndexes};

#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) base: Offset,
    pub(crate) log: Arc<dyn DiskFile>,
    pub(crate) index_files: IndexFiles,
    pub(crate) indexes: SegmentIndexes,
    /// Bytes of the `.log`.
    pub(crate) size: u64,
    /// Of the first batch: its age is the segment's.
    pub(crate) first_timestamp: Option<Timestamp>,
    pub(crate) created: Timestamp,
    /// The file was cut back, and after a crash may be longer again. The segment must not be closed like that.
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
    pub(crate) fn create(disk: &dyn Disk, directory: &Path, base: Offset, now: Timestamp) -> io::Result<Self> {
        let path = segment_path(directory, base, FileKind::Log);
        let log = disk.open(&path, OpenMode::Create)?;
        let length = log.length()?;
        if length != 0 {
            let message = format!("{}: {length} bytes where a new segment should begin", path.display());
            return Err(io::Error::other(message));
        }
        let index_files = IndexFiles::open(disk, directory, base)?;
        let indexes = SegmentIndexes::new(base);
        indexes.truncate_files(&index_files)?;
        Ok(Self { base, log, index_files, indexes, size: 0, first_timestamp: None, created: now, cut_back: false })
    }

    /// `batch` has its offsets, and `length` bytes.
    pub(crate) fn roll_reason(
        &self,
        batch: &BatchHeader,
        length: u64,
        config: &LogConfig,
        now: Timestamp,
    ) -> Option<RollReason> {
        let relative = batch.last_offset().0.saturating_sub(self.base.0);
        if i32::try_from(relative).is_err() {
            return Some(RollReason::Offsets);
        }
        if self.size == 0 {
            return None;
        }
        if config.segment_bytes.saturating_sub(length) < self.size {
            return Some(RollReason::Bytes);
        }
        if config.segment_ms < self.age_ms(batch.max_timestamp, now) {
            return Some(RollReason::Age);
        }
        self.indexes.is_full(config.segment_index_bytes).then_some(RollReason::IndexFull)
    }

    /// Writes the batch whose first bytes are to be `head`, by one call. After an error the file may be longer than
    /// `size`.
    pub(crate) fn write(&self, head: &[u8; HEADER_LENGTH], records: &[u8]) -> io::Result<()> {
        write_all_at(&*self.log, head, records, self.size)
    }

    /// Takes note of a batch that was written at the end.
    pub(crate) fn record(&mut self, batch: &BatchHeader, length: u64, config: &LogConfig) {
        self.indexes.append(batch, self.size, length, config.index_interval_bytes);
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        self.size = self.size.saturating_add(length);
    }

    /// Removes what a failed write left.
    pub(crate) fn cut_back(&mut self) -> io::Result<()> {
        self.cut_back = true;
        self.log.set_length(self.size)
    }

    /// Brings the index files up to date, with the last time entry. May be repeated.
    pub(crate) fn finish_indexes(&mut self) -> io::Result<()> {
        self.indexes.finish();
        self.indexes.write_out(&self.index_files)
    }

    /// See [`ClosedSegment::modified`].
    pub(crate) fn modified(&self) -> io::Result<Timestamp> {
        let largest = self.indexes.largest().timestamp;
        if Timestamp(0) <= largest { Ok(largest) } else { self.log.modified() }
    }

    pub(crate) fn files(&self) -> [Arc<dyn DiskFile>; 3] {
        [self.log.clone(), self.index_files.offsets.clone(), self.index_files.times.clone()]
    }

    pub(crate) fn into_closed(self, pool: &Arc<FilePool>, directory: &Arc<Path>, end: Offset) -> ClosedSegment {
        ClosedSegment {
            pool: pool.clone(),
            id: pool.new_id(),
            directory: directory.clone(),
            base: self.base,
            end,
            size: self.size,
            largest_timestamp: self.indexes.largest().timestamp,
        }
    }

    /// By the records' clock where there is one, else by ours.
    fn age_ms(&self, incoming: Timestamp, now: Timestamp) -> i64 {
        match self.first_timestamp.filter(|first| 0 <= first.0) {
            Some(first) => incoming.0.saturating_sub(first.0),
            None => now.0.saturating_sub(self.created.0),
        }
    }
}

/// A batch of this many bytes fits into no segment.
pub(crate) fn is_too_large(length: usize, config: &LogConfig) -> bool {
    config.segment_bytes < length_u64(length)
}
