//! Finds records by timestamp, in two steps like any read.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::records::{self, RecordError};
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use crate::closed_segment::ClosedSegment;
use crate::disk::{DiskFile, read_at_most};
use crate::log::Log;
use crate::offset_index::OffsetEntry;
use crate::pool::PooledSegment;
use crate::read::{HEADER_BUFFER_BYTES, ResolveError};
use crate::scanner::{BatchDefect, BatchScanner, ReadMode, ScanError, ScannedBatch};

/// Memory for more than that is taken for a batch only once its checksum has shown that it is one: its length is
/// outside of that.
const TRUSTED_BYTES: u64 = 1 << 20;
const SCAN_BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// A search that knows its segments, and no longer needs the log. Reads the disk and may wait for it.
#[derive(Debug)]
pub struct TimestampLookup {
    target: Target,
    log_start: Offset,
    /// Closed segments from the log start on.
    closed: Vec<Arc<ClosedSegment>>,
    active: ActiveView,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    NotBefore(Timestamp),
    /// The highest timestamp, which by the segments is this one. But that may be of a record before the log start.
    Highest(Timestamp),
}

#[derive(Debug)]
struct ActiveView {
    /// `None`: nothing was written to it since it was loaded.
    log: Option<Arc<dyn DiskFile>>,
    pooled: Arc<PooledSegment>,
    path: PathBuf,
    base: Offset,
    size: u64,
    largest: Timestamp,
    /// Where the first search may begin.
    hint: Option<OffsetEntry>,
}

impl Log {
    /// Finds the first record with this timestamp or a later one.
    pub fn locate_timestamp(&self, target: Timestamp) -> TimestampLookup {
        self.timestamp_lookup(Target::NotBefore(target), target)
    }

    /// Finds the first record with the highest timestamp.
    pub fn locate_max_timestamp(&self) -> TimestampLookup {
        let active = self.active.indexes.largest().timestamp;
        let closed = self.closed.iter().filter(|segment| self.start_offset < segment.end);
        let highest = closed.map(|segment| segment.largest_timestamp).fold(active, Timestamp::max);
        self.timestamp_lookup(Target::Highest(highest), highest)
    }

    fn timestamp_lookup(&self, target: Target, at: Timestamp) -> TimestampLookup {
        let first = self.closed.partition_point(|segment| segment.end <= self.start_offset);
        let entry = self.active.indexes.lookup_time(at);
        let active = ActiveView {
            log: self.active.open_log().cloned(),
            pooled: self.active.pooled.clone(),
            path: self.active.path(&self.directory),
            base: self.active.base,
            size: self.active.size,
            largest: self.active.indexes.largest().timestamp,
            hint: entry.and_then(|entry| self.active.indexes.lookup(entry.offset)),
        };
        let closed = self.closed.get(first..).unwrap_or_default().to_vec();
        TimestampLookup { target, log_start: self.start_offset, closed, active }
    }
}

impl TimestampLookup {
    /// `None`: there is no such record. A batch that decompresses to more than `decompressed_bytes_max` is a
    /// [`BatchDefect::Oversized`].
    pub fn resolve(&self, decompressed_bytes_max: usize) -> Result<Option<TimestampOffset>, ResolveError> {
        let hint = self.active.hint;
        let highest = match self.target {
            Target::NotBefore(target) => return self.first_from(target, hint, decompressed_bytes_max),
            Target::Highest(highest) => highest,
        };
        if let Some(found) = self.first_from(highest, hint, decompressed_bytes_max)? {
            return Ok(Some(found));
        }
        if let Some(left) = self.highest_left(decompressed_bytes_max)?
            && let Some(found) = self.first_from(left, None, decompressed_bytes_max)?
        {
            return Ok(Some(found));
        }
        let left = self.highest_of_records(decompressed_bytes_max)?;
        left.map_or(Ok(None), |target| self.first_from(target, None, decompressed_bytes_max))
    }

    fn first_from(
        &self,
        target: Timestamp,
        hint: Option<OffsetEntry>,
        output_max: usize,
    ) -> Result<Option<TimestampOffset>, ResolveError> {
        let search = Search { target, log_start: self.log_start, output_max };
        for segment in self.closed.iter().filter(|segment| target <= segment.largest_timestamp) {
            let found = search.in_closed(segment).map_err(|error| ResolveError::new(segment.path(), error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.in_active(|log, place| search.in_file(log, place, hint))
    }

    /// A segment that nothing was written to may have no file.
    fn in_active<T>(
        &self,
        search: impl FnOnce(&dyn DiskFile, (Offset, u64)) -> Result<Option<T>, ScanError>,
    ) -> Result<Option<T>, ResolveError> {
        let ActiveView { log, pooled, path, base, size, .. } = &self.active;
        if *size == 0 {
            return Ok(None);
        }
        let log = log.clone().map_or_else(|| pooled.log_at(path, ReadMode::Blocking), Ok);
        log.and_then(|log| search(&*log, (*base, *size))).map_err(|error| ResolveError::new(path.clone(), error))
    }

    /// The highest timestamp from the log start on, if the segment with the log start must be read for it.
    fn highest_left(&self, output_max: usize) -> Result<Option<Timestamp>, ResolveError> {
        let search = Search { target: Timestamp(i64::MIN), log_start: self.log_start, output_max };
        let Some((first, rest)) = self.closed.split_first() else {
            return self.in_active(|log, place| search.highest_in_file(log, place));
        };
        let log = first.log(ReadMode::Blocking);
        let in_first = log.and_then(|log| search.highest_in_file(&*log, (first.base, first.size)));
        let in_first = in_first.map_err(|error| ResolveError::new(first.path(), error))?;
        let in_rest = rest.iter().map(|segment| segment.largest_timestamp).chain([self.active.largest]).max();
        Ok(in_first.max(in_rest))
    }

    /// A segment's highest timestamp may be of a record that compaction has removed, so here all records are read.
    fn highest_of_records(&self, output_max: usize) -> Result<Option<Timestamp>, ResolveError> {
        let search = Search { target: Timestamp(i64::MIN), log_start: self.log_start, output_max };
        let mut highest = self.in_active(|log, place| search.highest_in_file(log, place))?;
        for segment in &self.closed {
            let log = segment.log(ReadMode::Blocking);
            let found = log.and_then(|log| search.highest_in_file(&*log, (segment.base, segment.size)));
            highest = highest.max(found.map_err(|error| ResolveError::new(segment.path(), error))?);
        }
        Ok(highest)
    }
}

/// A search for records from the log start on that are not older than the target.
#[derive(Debug, Clone, Copy)]
struct Search {
    target: Timestamp,
    log_start: Offset,
    output_max: usize,
}

impl Search {
    fn in_closed(&self, segment: &ClosedSegment) -> Result<Option<TimestampOffset>, ScanError> {
        let mode = ReadMode::Blocking;
        let hint = match segment.time_entry(self.target, mode)? {
            Some(entry) => segment.offset_entry(entry.offset, mode)?,
            None => None,
        };
        self.in_file(&*segment.log(mode)?, (segment.base, segment.size), hint)
    }

    fn in_file(
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
            let mut first = None;
            self.visit(log, &batch, |found| {
                first = Some(found);
                ControlFlow::Break(())
            })?;
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    /// `None`: there are no records. Only a batch that begins before the log start is decoded.
    fn highest_in_file(&self, log: &dyn DiskFile, (base, end): (Offset, u64)) -> Result<Option<Timestamp>, ScanError> {
        let mut buffer = vec![0; HEADER_BUFFER_BYTES];
        let mut scanner = BatchScanner::new(log, ReadMode::Blocking, (0, base), end, &mut buffer);
        let mut highest = None;
        while let Some(batch) = scanner.next()? {
            if batch.header.last_offset() < self.log_start || batch.header.records_count == 0 {
                continue;
            }
            if self.log_start <= batch.header.base_offset {
                highest = highest.max(Some(batch.header.max_timestamp));
                continue;
            }
            self.visit(log, &batch, |found| {
                highest = highest.max(Some(found.timestamp));
                ControlFlow::Continue(())
            })?;
        }
        Ok(highest)
    }

    /// Calls `found` for every matching record, until it breaks off.
    fn visit(
        &self,
        log: &dyn DiskFile,
        batch: &ScannedBatch,
        mut found: impl FnMut(TimestampOffset) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let header = &batch.header;
        if TRUSTED_BYTES < batch.length {
            let mut buffer = vec![0; SCAN_BUFFER_BYTES];
            let from = (batch.position, header.base_offset);
            BatchScanner::new(log, ReadMode::Blocking, from, batch.end(), &mut buffer).verify(batch)?;
        }
        let mut bytes = vec![0; usize::try_from(batch.length).unwrap_or(0)];
        let read = read_at_most(log, &mut bytes, batch.position).map_err(ScanError::Io)?;
        if read < bytes.len() {
            return Err(ScanError::Shrunk { position: batch.end() });
        }
        let opened = records::walk(&bytes, self.output_max).map_err(|error| batch.defect(defect(&error)))?;
        for record in &opened {
            let record = record.map_err(|error| batch.defect(defect(&error)))?;
            let offset = header.base_offset.advance(record.offset_delta.into());
            if self.target <= record.timestamp && self.log_start <= offset {
                let (timestamp, leader_epoch) = (record.timestamp, header.leader_epoch);
                if found(TimestampOffset { timestamp, offset, leader_epoch }).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn defect(error: &RecordError) -> BatchDefect {
    match error {
        RecordError::TooLarge { output_max, .. } => BatchDefect::Oversized(*output_max),
        _ => BatchDefect::Records,
    }
}
