//! Reads in two steps: [`Log::locate`] under the log's lock uses only memory; [`Located::resolve`] without it reads
//! the few batch headers from the nearest index entry to the offset. The result is a range of a file.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::Offset;

use crate::closed_segment::ClosedSegment;
use crate::disk::{DiskFile, length_u64, read_at_most};
use crate::files::{FileKind, segment_path};
use crate::log::{Log, LogPosition};
use crate::offset_index::OffsetEntry;
use crate::pool::PooledSegment;
use crate::scanner::{BatchDefect, BatchScanner, ReadMode, ScanError, ScannedBatch};

/// Small, because most reads find their batch within a few headers.
pub(crate) const HEADER_BUFFER_BYTES: usize = 4096;

/// Bytes per read of [`LogSlice::read_ahead`].
const READ_AHEAD_BYTES: usize = 128 * 1024;

/// The end of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpTo {
    LogEnd,
    HighWatermark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {from} is out of range: the log has {log_start} to {log_end}")]
pub struct OutOfRange {
    pub from: Offset,
    pub log_start: Offset,
    pub log_end: Offset,
}

/// A read that knows its segment, and no longer needs the log.
#[derive(Debug)]
pub struct Located {
    from: Offset,
    bytes_max: u32,
    /// Every offset in the segment is below it.
    offset_end: Offset,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The offset is at the end of what may be read.
    Nothing,
    Active {
        /// `None`: use the pool's file.
        log: Option<Arc<dyn DiskFile>>,
        pooled: Arc<PooledSegment>,
        directory: Arc<Path>,
        base: Offset,
        neighbours: [Option<OffsetEntry>; 2],
        end: u64,
    },
    Closed {
        segment: Arc<ClosedSegment>,
        end: u64,
    },
}

/// Bytes of a `.log`: whole batches, the last one perhaps cut off.
#[derive(Debug, Clone)]
pub struct LogSlice {
    pub file: Arc<dyn DiskFile>,
    /// The base offset of the first batch, and its position in the file.
    pub start: LogPosition,
    pub length: u32,
}

impl LogSlice {
    /// Reads all of it, or fewer bytes if the file has shrunk since.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        let read = read_at_most(&*self.file, &mut bytes, self.start.position)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Whether the first and the last byte are in memory: then what lies between them most likely is, too.
    pub fn is_cached(&self) -> bool {
        let last = u64::from(self.length.saturating_sub(1));
        [0, last].iter().all(|at| {
            self.file.read_at_nowait(&mut [0], self.start.position.saturating_add(*at)).is_ok_and(|read| read == 1)
        })
    }

    /// Reads it into memory, waiting for the disk. Errors are left to the next reader.
    pub fn read_ahead(&self) {
        let mut buffer = vec![0; READ_AHEAD_BYTES];
        let end = self.start.position.saturating_add(self.length.into());
        let mut position = self.start.position;
        while position < end {
            match self.file.read_at(&mut buffer, position) {
                Ok(read) if 0 < read => position = position.saturating_add(length_u64(read)),
                _ => break,
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("the bytes are not in memory")]
    WouldBlock,
    /// Compaction left no record between the offset and the segment's end.
    #[error("nothing is left up to offset {next}: read on from there")]
    Gap { next: Offset },
    #[error("{}: ends at byte {position}, more was there before", path.display())]
    Shrunk { path: PathBuf, position: u64 },
    #[error("{}: no batch at byte {position}: {defect}", path.display())]
    Corrupt { path: PathBuf, position: u64, defect: BatchDefect },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl ResolveError {
    pub(crate) fn new(path: PathBuf, error: ScanError) -> Self {
        match error {
            ScanError::WouldBlock => Self::WouldBlock,
            ScanError::Shrunk { position } => Self::Shrunk { path, position },
            ScanError::Defect { position, defect } => Self::Corrupt { path, position, defect },
            ScanError::Io(source) => Self::Io { path, source },
        }
    }
}

impl Log {
    /// Begins a read at the batch that contains `from`, up to the end of the same segment.
    pub fn locate(&self, from: Offset, up_to: UpTo, bytes_max: u32) -> Result<Located, OutOfRange> {
        self.check_range(from)?;
        let bound = match up_to {
            UpTo::LogEnd => self.log_end(),
            UpTo::HighWatermark => self.high_watermark,
        };
        let source = if bound.offset <= from { Source::Nothing } else { self.source_of(from, bound) };
        let offset_end = match &source {
            Source::Closed { segment, .. } => segment.end,
            Source::Nothing | Source::Active { .. } => self.end_offset,
        };
        Ok(Located { from, bytes_max, offset_end, source })
    }

    /// Checks that an offset is between the log start and the log end.
    pub fn check_range(&self, from: Offset) -> Result<(), OutOfRange> {
        let (log_start, log_end) = (self.start_offset, self.end_offset);
        if from < log_start || log_end < from {
            return Err(OutOfRange { from, log_start, log_end });
        }
        Ok(())
    }

    /// The position of the batch that contains `offset`, or the nearest position to an offset outside the log. For
    /// the last batches it is in memory, further back the file is read.
    pub fn position_of(&self, offset: Offset) -> Result<LogPosition, ResolveError> {
        let offset = offset.clamp(self.start_offset, self.end_offset);
        if offset == self.end_offset {
            return Ok(self.log_end());
        }
        if let Some(position) = self.tail.find(offset) {
            return Ok(position);
        }
        let Ok(located) = self.locate(offset, UpTo::LogEnd, 1) else { return Ok(self.log_end()) };
        match located.resolve(ReadMode::Blocking, true) {
            Ok(Some(slice)) => Ok(slice.start),
            Ok(None) => Ok(self.log_end()),
            Err(ResolveError::Gap { next }) => Ok(LogPosition { offset: next, segment_base: next, position: 0 }),
            Err(error) => Err(error),
        }
    }

    fn source_of(&self, from: Offset, bound: LogPosition) -> Source {
        let end_in = |base: Offset, size: u64| if base == bound.segment_base { bound.position } else { size };
        if self.active.base <= from {
            return Source::Active {
                log: self.active.open_log().cloned(),
                pooled: self.active.pooled.clone(),
                directory: self.directory.clone(),
                base: self.active.base,
                neighbours: [self.active.indexes.lookup(from), self.active.indexes.lookup_after(from)],
                end: end_in(self.active.base, self.active.size),
            };
        }
        let after = self.closed.partition_point(|segment| segment.base <= from);
        match after.checked_sub(1).and_then(|index| self.closed.get(index)) {
            Some(segment) => Source::Closed { segment: segment.clone(), end: end_in(segment.base, segment.size) },
            None => Source::Nothing,
        }
    }
}

impl Located {
    /// Up to `bytes_max` bytes that begin with the whole batch containing the offset. A larger first batch is
    /// returned all the same if `at_least_one`, otherwise nothing.
    pub fn resolve(&self, mode: ReadMode, at_least_one: bool) -> Result<Option<LogSlice>, ResolveError> {
        let (file, base, end, neighbours) = match &self.source {
            Source::Nothing => return Ok(None),
            Source::Active { log, pooled, directory, base, neighbours, end } => {
                let opened = || pooled.log_at(&segment_path(directory, *base, FileKind::Log), mode);
                let log = log.clone().map_or_else(opened, Ok).map_err(|error| self.error(error))?;
                (log, *base, *end, *neighbours)
            }
            Source::Closed { segment, end } => {
                let neighbours = segment.neighbours(self.from, mode).map_err(|error| self.error(error))?;
                (segment.log(mode).map_err(|error| self.error(error))?, segment.base, *end, neighbours)
            }
        };
        let first = find_batch(&*file, mode, (base, end), neighbours, self.from).map_err(|error| self.error(error))?;
        let Some(first) = first else { return self.nothing_found() };
        if self.offset_end <= first.header.last_offset() {
            return Err(self.error(first.defect(BatchDefect::Offsets)));
        }
        let available = end.saturating_sub(first.position);
        let wanted = if at_least_one { first.length.max(self.bytes_max.into()) } else { self.bytes_max.into() };
        if wanted < first.length {
            return Ok(None);
        }
        let length = u32::try_from(available.min(wanted)).unwrap_or(u32::MAX);
        let start = LogPosition { offset: first.header.base_offset, segment_base: base, position: first.position };
        Ok(Some(LogSlice { file, start, length }))
    }

    fn nothing_found(&self) -> Result<Option<LogSlice>, ResolveError> {
        match &self.source {
            Source::Closed { segment, end } if *end == segment.size => Err(ResolveError::Gap { next: segment.end }),
            _ => Ok(None),
        }
    }

    fn error(&self, error: ScanError) -> ResolveError {
        let path = match &self.source {
            Source::Nothing => PathBuf::new(),
            Source::Active { directory, base, .. } => segment_path(directory, *base, FileKind::Log),
            Source::Closed { segment, .. } => segment.path(),
        };
        ResolveError::new(path, error)
    }
}

/// The batch of a segment that contains `from`, or the first after it. `neighbours` are the index entries around it.
/// An entry that points to no batch, or to another one, is ignored: then the search begins at the segment's start.
///
/// Base offsets are outside the checksum. So a batch that begins after `from`, as compaction leaves them, or is not
/// where the index says, is accepted only if the next one does not begin before its end.
fn find_batch(
    file: &dyn DiskFile,
    mode: ReadMode,
    (base, end): (Offset, u64),
    [before, after]: [Option<OffsetEntry>; 2],
    from: Offset,
) -> Result<Option<ScannedBatch>, ScanError> {
    let mut buffer = [0; HEADER_BUFFER_BYTES];
    let mut scanner = BatchScanner::new(file, mode, (0, base), end, &mut buffer);
    if let Some(entry) = before {
        scanner.seek(entry)?;
    }
    while let Some(batch) = scanner.next()? {
        if batch.header.last_offset() < from {
            continue;
        }
        if from < batch.header.base_offset || after.is_some_and(|entry| !lies_before(&batch, entry)) {
            scanner.next()?;
        }
        return Ok(Some(batch));
    }
    Ok(None)
}

/// Whether it is before the entry's batch, in offsets and bytes, or that batch itself.
fn lies_before(batch: &ScannedBatch, entry: OffsetEntry) -> bool {
    let last_offset = batch.header.last_offset();
    match batch.position.cmp(&entry.position.into()) {
        Ordering::Less => last_offset < entry.offset,
        Ordering::Equal => last_offset == entry.offset,
        Ordering::Greater => false,
    }
}
