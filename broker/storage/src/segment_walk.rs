//! A segment while [`Log::load`](crate::Log::load) walks over it, batch by batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use crate::active_segment::ActiveSegment;
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::files::{FileKind, segment_path};
use crate::leftovers::remove_indexes;
use crate::log::is_shortage;
use crate::pool::FilePool;
use crate::scanner::{BatchDefect, BatchScanner, ReadMode, ScanError, ScannedBatch};
use crate::segment_indexes::{IndexFiles, SegmentIndexes};
use crate::{offset_index, time_index};

/// A longer index file is not read.
const INDEX_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub(crate) struct SegmentWalk {
    pub(crate) base: Offset,
    pub(crate) path: PathBuf,
    /// Bytes of the `.log`, valid or not.
    pub(crate) length: u64,
    /// Batches are valid up to here: the byte, and the next offset.
    pub(crate) position: u64,
    pub(crate) next_offset: Offset,
    log: Arc<dyn DiskFile>,
    indexes: SegmentIndexes,
}

/// The part of a segment before some offset: known without reading every batch.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) indexes: SegmentIndexes,
    pub(crate) position: u64,
    pub(crate) next_offset: Offset,
}

impl SegmentWalk {
    /// Begins at offset `start` if it is in this segment and the indexes up to it are valid, otherwise at the first
    /// batch.
    pub(crate) fn open(
        disk: &dyn Disk,
        directory: &Path,
        (base, length): (Offset, u64),
        start: Offset,
        buffer: &mut [u8],
    ) -> io::Result<Self> {
        let path = segment_path(directory, base, FileKind::Log);
        let log = disk.open(&path, OpenMode::ReadWrite)?;
        let skipped = match read_indexes(disk, directory, base)? {
            Some(indexes) if base < start => skip(&*log, (base, length), start, indexes, buffer)?,
            _ => None,
        };
        let Skipped { indexes, position, next_offset } = skipped.unwrap_or_else(|| Skipped::none(base));
        let cut = IndexFiles::open(disk, directory, base).and_then(|files| indexes.truncate_files(&files));
        let indexes = match cut {
            Ok(()) => indexes,
            Err(error) if is_shortage(&error) => {
                remove_indexes(disk, directory, base)?;
                indexes.for_new_files()
            }
            Err(error) => return Err(error),
        };
        Ok(Self { base, path, length, position, next_offset, log, indexes })
    }

    /// Checks every following batch, and calls `found` for each. From `contiguous_from` on there are no gaps: a
    /// batch's base offset is outside its checksum, and only this detects a wrong one.
    pub(crate) fn run(
        &mut self,
        index_interval_bytes: u64,
        contiguous_from: Offset,
        buffer: &mut [u8],
        mut found: impl FnMut(&BatchHeader, u64),
    ) -> Result<(), ScanError> {
        let from = (self.position, self.next_offset);
        let mut scanner = BatchScanner::new(&*self.log, ReadMode::Blocking, from, self.length, buffer);
        while let Some(batch) = scanner.next()? {
            let header = &batch.header;
            if i32::try_from(header.last_offset().0.saturating_sub(self.base.0)).is_err() {
                return Err(batch.defect(BatchDefect::Offsets));
            }
            if contiguous_from <= self.next_offset && header.base_offset != self.next_offset {
                return Err(batch.defect(BatchDefect::Offsets));
            }
            scanner.verify(&batch)?;
            self.indexes.append(header, batch.position, batch.length, index_interval_bytes);
            self.position = batch.end();
            self.next_offset = header.next_offset();
            found(header, batch.length);
        }
        Ok(())
    }

    /// Cuts off what is invalid, durably: a later crash must not bring it back. Continues with the rest.
    pub(crate) fn into_segment(
        self,
        pool: &Arc<FilePool>,
        now: Timestamp,
        buffer: &mut [u8],
    ) -> io::Result<ActiveSegment> {
        if self.position < self.length {
            self.log.set_length(self.position)?;
            self.log.sync_data()?;
        }
        let from = (0, self.base);
        let first = BatchScanner::new(&*self.log, ReadMode::Blocking, from, self.position, buffer).next();
        let first_timestamp = match first {
            Ok(first) => first.map(|first| first.header.max_timestamp),
            Err(ScanError::Io(error)) => return Err(error),
            Err(_) => None,
        };
        Ok(ActiveSegment::resume(pool, self.indexes, (self.base, self.position), (first_timestamp, now)))
    }
}

/// The bytes of both index files, `None` unless both exist.
fn read_indexes(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let read = |kind| match read_file(disk, &segment_path(directory, base, kind), INDEX_BYTES_MAX) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
        bytes => bytes.map(Some),
    };
    Ok(read(FileKind::OffsetIndex)?.zip(read(FileKind::TimeIndex)?))
}

/// `None` if no batch ends at `start`.
fn skip(
    log: &dyn DiskFile,
    segment: (Offset, u64),
    start: Offset,
    indexes: (Vec<u8>, Vec<u8>),
    buffer: &mut [u8],
) -> io::Result<Option<Skipped>> {
    match Skipped::before(start, log, segment, indexes, buffer) {
        Ok(skipped) => Ok(skipped.filter(|skipped| skipped.next_offset == start)),
        Err(ScanError::Io(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Skipped {
    /// The batches that end at or before `offset`. Trusts the index entries, and reads the headers between the last
    /// of them and `offset`. `None` if the batches contradict them.
    pub(crate) fn before(
        offset: Offset,
        log: &dyn DiskFile,
        (base, length): (Offset, u64),
        (mut offsets, mut times): (Vec<u8>, Vec<u8>),
        buffer: &mut [u8],
    ) -> Result<Option<Self>, ScanError> {
        offsets.truncate(offset_index::sound_length(&offsets, base, offset, length));
        times.truncate(time_index::sound_length(&times, base, offset));
        let mut skipped =
            Self { indexes: SegmentIndexes::resume(base, offsets, times), position: 0, next_offset: base };
        let mut scanner = BatchScanner::new(log, ReadMode::Blocking, (0, base), length, buffer);
        if let Some(entry) = skipped.indexes.last_offset_entry() {
            if !scanner.seek(entry)? {
                return Ok(None);
            }
            skipped.position = scanner.position();
        }
        let note = |indexes: &mut SegmentIndexes, batch: &ScannedBatch| indexes.skip(&batch.header, batch.length);
        skipped.go_on(offset, &mut scanner, note).map(Some)
    }

    /// The same from the batches alone, and indexes made of them.
    pub(crate) fn by_batches(
        offset: Offset,
        log: &dyn DiskFile,
        (base, length): (Offset, u64),
        interval_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<Self, ScanError> {
        let mut scanner = BatchScanner::new(log, ReadMode::Blocking, (0, base), length, buffer);
        Self::none(base).go_on(offset, &mut scanner, |indexes, batch| {
            indexes.append(&batch.header, batch.position, batch.length, interval_bytes);
        })
    }

    fn none(base: Offset) -> Self {
        Self { indexes: SegmentIndexes::new(base), position: 0, next_offset: base }
    }

    fn go_on(
        mut self,
        offset: Offset,
        scanner: &mut BatchScanner<'_>,
        note: impl Fn(&mut SegmentIndexes, &ScannedBatch),
    ) -> Result<Self, ScanError> {
        while self.next_offset < offset
            && let Some(batch) = scanner.next()?
            && batch.header.next_offset() <= offset
        {
            note(&mut self.indexes, &batch);
            self.position = batch.end();
            self.next_offset = batch.header.next_offset();
        }
        Ok(self)
    }
}
