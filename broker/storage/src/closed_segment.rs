//! A segment that is no longer written. Its files are opened and mapped when they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::HEADER_LENGTH;
use protocol::types::{Offset, Timestamp};

use crate::disk::{DiskFile, Mapping, OpenMode};
use crate::files::{FileKind, deleted, segment_path};
use crate::offset_index::{self, OffsetEntry};
use crate::pool::{IndexKind, PooledSegment};
use crate::scanner::{BatchScanner, ReadMode, ScanError};
use crate::segment_indexes::SegmentIndexes;
use crate::time_index::{self, TimeEntry};

/// Interval of an index that is rebuilt in memory only.
const INDEX_INTERVAL_BYTES: u64 = 4096;
const SCAN_BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct ClosedSegment {
    pub(crate) files: Arc<PooledSegment>,
    pub(crate) directory: Arc<Path>,
    pub(crate) base: Offset,
    /// Base offset of the next segment.
    pub(crate) end: Offset,
    /// Size of the `.log` in bytes.
    pub(crate) size: u64,
    pub(crate) largest_timestamp: Timestamp,
}

impl ClosedSegment {
    pub(crate) fn path(&self) -> PathBuf {
        segment_path(&self.directory, self.base, FileKind::Log)
    }

    pub(crate) fn log(&self, mode: ReadMode) -> Result<Arc<dyn DiskFile>, ScanError> {
        self.files.log(mode, || self.open_log())
    }

    pub(crate) fn offset_entry(&self, target: Offset, mode: ReadMode) -> Result<Option<OffsetEntry>, ScanError> {
        let index = self.index(IndexKind::Offset, mode)?;
        Ok(offset_index::lookup(&index, self.base, target))
    }

    /// The index entries around `target`.
    pub(crate) fn neighbours(&self, target: Offset, mode: ReadMode) -> Result<[Option<OffsetEntry>; 2], ScanError> {
        let index = self.index(IndexKind::Offset, mode)?;
        Ok([offset_index::lookup(&index, self.base, target), offset_index::lookup_after(&index, self.base, target)])
    }

    pub(crate) fn time_entry(&self, target: Timestamp, mode: ReadMode) -> Result<Option<TimeEntry>, ScanError> {
        let index = self.index(IndexKind::Time, mode)?;
        Ok(time_index::lookup(&index, self.base, target))
    }

    /// The largest timestamp of its records or, without timestamps, when the file was last written.
    pub(crate) fn modified(&self) -> io::Result<Timestamp> {
        if Timestamp(0) <= self.largest_timestamp {
            return Ok(self.largest_timestamp);
        }
        self.open(FileKind::Log)?.modified()
    }

    /// The timestamp of its first batch, if known.
    pub(crate) fn began(&self) -> Option<Timestamp> {
        let log = self.log(ReadMode::Blocking).ok()?;
        let mut buffer = [0; HEADER_LENGTH];
        let mut scanner = BatchScanner::new(&*log, ReadMode::Blocking, (0, self.base), self.size, &mut buffer);
        let first = scanner.next().ok()??.header.max_timestamp;
        if Timestamp(0) <= first { Some(first) } else { self.modified().ok() }
    }

    /// A reader may hold the segment while compaction replaces it.
    fn open_log(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open(FileKind::Log)?;
        if file.length()? == self.size {
            return Ok(file);
        }
        let replaced = self.files.disk().open(&deleted(&self.path()), OpenMode::Read);
        Ok(replaced.unwrap_or(file))
    }

    /// A reader may hold the segment while it is deleted.
    fn open(&self, kind: FileKind) -> io::Result<Arc<dyn DiskFile>> {
        let path = segment_path(&self.directory, self.base, kind);
        let open = |path: &Path| self.files.disk().open(path, OpenMode::Read);
        match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => open(&deleted(&path)),
            file => file,
        }
    }

    pub(crate) fn index(&self, kind: IndexKind, mode: ReadMode) -> Result<Arc<Mapping>, ScanError> {
        if let Some(mapping) = self.files.mapping(kind) {
            return Ok(mapping);
        }
        if mode == ReadMode::NoWait {
            return Err(ScanError::WouldBlock);
        }
        let mapping = Arc::new(self.open_index(kind)?);
        self.files.insert_mapping(kind, mapping.clone());
        Ok(mapping)
    }

    /// An index is only a shortcut: a missing or invalid one is rebuilt from the batches.
    fn open_index(&self, kind: IndexKind) -> Result<Mapping, ScanError> {
        let file_kind = match kind {
            IndexKind::Offset => FileKind::OffsetIndex,
            IndexKind::Time => FileKind::TimeIndex,
        };
        let path = segment_path(&self.directory, self.base, file_kind);
        match self.open(file_kind).and_then(|file| file.map()) {
            Ok(mapping) if self.is_sound(kind, &mapping) => return Ok(mapping),
            Ok(_) => tracing::warn!(path = %path.display(), "corrupt index rebuilt in memory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), "missing index rebuilt in memory");
            }
            Err(error) => return Err(ScanError::Io(error)),
        }
        let indexes = self.scan_indexes()?;
        Ok(Mapping::from(match kind {
            IndexKind::Offset => indexes.offsets().to_vec(),
            IndexKind::Time => indexes.times().to_vec(),
        }))
    }

    fn is_sound(&self, kind: IndexKind, bytes: &[u8]) -> bool {
        let sound = match kind {
            IndexKind::Offset => offset_index::sound_length(bytes, self.base, self.end, self.size),
            IndexKind::Time => time_index::sound_length(bytes, self.base, self.end),
        };
        sound == bytes.len()
    }

    fn scan_indexes(&self) -> Result<SegmentIndexes, ScanError> {
        let log = self.log(ReadMode::Blocking)?;
        let mut indexes = SegmentIndexes::new(self.base);
        let mut buffer = vec![0; SCAN_BUFFER_BYTES];
        let mut scanner = BatchScanner::new(&*log, ReadMode::Blocking, (0, self.base), self.size, &mut buffer);
        while let Some(batch) = scanner.next()? {
            indexes.append(&batch.header, batch.position, batch.length, INDEX_INTERVAL_BYTES);
        }
        indexes.finish();
        Ok(indexes)
    }
}
