//! Finding records by timestamp, in two steps like any read.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::records;
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use crate::closed_segment::ClosedSegment;
use crate::disk::{DiskFile, read_at_most};
use crate::files::{FileKind, segment_path};
use crate::log::Log;
use crate::offset_index::OffsetEntry;
use crate::read::{HEADER_BUFFER_BYTES, ResolveError};
use crate::scanner::{BatchDefect, BatchScanner, ReadMode, ScanError, ScannedBatch};

/// What a batch may decompress to when a record in it is looked for.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// A search that knows its segments. Needs the log no longer, reads the disk and may wait for it.
#[derive(Debug)]
pub struct TimestampLookup {
    target: Timestamp,
    log_start: Offset,
    closed: Vec<Arc<ClosedSegment>>,
    active: ActiveView,
}

#[derive(Debug)]
struct ActiveView {
    log: Arc<dyn DiskFile>,
    path: PathBuf,
    base: Offset,
    size: u64,
    hint: Option<OffsetEntry>,
}

impl Log {
    /// For the first record with this timestamp or a later one.
    pub fn locate_timestamp(&self, target: Timestamp) -> TimestampLookup {
        let first = self.closed.iter().position(|segment| target <= segment.largest_timestamp);
        let closed = first.and_then(|first| self.closed.get(first..)).unwrap_or_default().to_vec();
        let entry = self.active.indexes.lookup_time(target);
        let active = ActiveView {
            log: self.active.log.clone(),
            path: segment_path(&self.directory, self.active.base, FileKind::Log),
            base: self.active.base,
            size: self.active.size,
            hint: entry.and_then(|entry| self.active.indexes.lookup(entry.offset)),
        };
        TimestampLookup { target, log_start: self.start_offset, closed, active }
    }

    /// For the first record with the highest timestamp of all.
    pub fn locate_max_timestamp(&self) -> TimestampLookup {
        let closed = self.closed.iter().filter(|segment| self.start_offset < segment.end);
        let largest = closed.map(|segment| segment.largest_timestamp).max().unwrap_or(Timestamp::NONE);
        self.locate_timestamp(largest.max(self.active.indexes.largest().timestamp))
    }
}

impl TimestampLookup {
    /// `None`: there is no such record.
    pub fn resolve(&self) -> Result<Option<TimestampOffset>, ResolveError> {
        for segment in &self.closed {
            let found = self.search_closed(segment).map_err(|error| ResolveError::new(segment.path(), error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let ActiveView { log, path, base, size, hint } = &self.active;
        self.search(&**log, (*base, *size), *hint).map_err(|error| ResolveError::new(path.clone(), error))
    }

    fn search_closed(&self, segment: &ClosedSegment) -> Result<Option<TimestampOffset>, ScanError> {
        let mode = ReadMode::Blocking;
        let hint = match segment.time_entry(self.target, mode)? {
            Some(entry) => segment.offset_entry(entry.offset, mode)?,
            None => None,
        };
        self.search(&*segment.log(mode)?, (segment.base, segment.size), hint)
    }

    fn search(
        &self,
        log: &dyn DiskFile,
        (base, end): (Offset, u64),
        hint: Option<OffsetEntry>,
    ) -> Result<Option<TimestampOffset>, ScanError> {
        let mut buffer = vec![0; HEADER_BUFFER_BYTES];
        let mut scanner = BatchScanner::new(log, ReadMode::Blocking, (0, base), end, &mut buffer);
        if let Some(entry) = hint {
            scanner.seek(entry)?;
        }
        while let Some(batch) = scanner.next()? {
            if batch.header.max_timestamp < self.target || batch.header.last_offset() < self.log_start {
                continue;
            }
            if let Some(found) = self.search_batch(log, &batch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn search_batch(&self, log: &dyn DiskFile, batch: &ScannedBatch) -> Result<Option<TimestampOffset>, ScanError> {
        let header = &batch.header;
        let mut bytes = vec![0; usize::try_from(batch.length).unwrap_or(0)];
        let read = read_at_most(log, &mut bytes, batch.position).map_err(ScanError::Io)?;
        if read < bytes.len() {
            return Err(ScanError::Shrunk { position: batch.end() });
        }
        let unreadable = || batch.defect(BatchDefect::Records);
        let opened = records::walk(&bytes, DECOMPRESSED_BYTES_MAX).map_err(|_| unreadable())?;
        for record in &opened {
            let record = record.map_err(|_| unreadable())?;
            let offset = header.base_offset.advance(record.offset_delta.into());
            if self.target <= record.timestamp && self.log_start <= offset {
                let (timestamp, leader_epoch) = (record.timestamp, header.leader_epoch);
                return Ok(Some(TimestampOffset { timestamp, offset, leader_epoch }));
            }
        }
        Ok(None)
    }
}
