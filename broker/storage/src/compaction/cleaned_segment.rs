//! A segment that compaction writes: `.log.cleaned` and its indexes. It counts only once it is swapped in.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use crate::bugs::{self, Bug};
use crate::closed_segment::ClosedSegment;
use crate::disk::{Disk, DiskFile, OpenMode, length_u64, read_file, remove_if_present, write_all_at};
use crate::files::{CLEANED, FileKind, SWAP, segment_path, with_suffix};
use crate::segment_indexes::{IndexFiles, SegmentIndexes};

const WRITE_BYTES: usize = 1 << 20;
/// In the order in which they are swapped in. There is a transaction index only if transactions were aborted.
const KINDS: [FileKind; 4] = [FileKind::Log, FileKind::TransactionIndex, FileKind::OffsetIndex, FileKind::TimeIndex];

#[derive(Debug)]
pub(super) struct CleanedSegment {
    log: Arc<dyn DiskFile>,
    index_files: IndexFiles,
    indexes: SegmentIndexes,
    interval_bytes: u64,
    size: u64,
    /// Its end, which is not written yet.
    pending: Vec<u8>,
}

impl CleanedSegment {
    pub(super) fn create(disk: &dyn Disk, directory: &Path, base: Offset, interval_bytes: u64) -> io::Result<Self> {
        let open = |kind| {
            let file = disk.open(&path(directory, base, kind, CLEANED), OpenMode::Create)?;
            file.set_length(0)?;
            io::Result::Ok(file)
        };
        let [log, offsets, times] = [open(FileKind::Log)?, open(FileKind::OffsetIndex)?, open(FileKind::TimeIndex)?];
        let index_files = IndexFiles { offsets, times };
        let indexes = SegmentIndexes::new(base);
        Ok(Self { log, index_files, indexes, interval_bytes, size: 0, pending: Vec::new() })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn append(&mut self, header: &BatchHeader, batch: &[u8]) -> io::Result<()> {
        self.indexes.append(header, self.size, length_u64(batch.len()), self.interval_bytes);
        self.size = self.size.saturating_add(length_u64(batch.len()));
        self.pending.extend_from_slice(batch);
        if WRITE_BYTES <= self.pending.len() { self.write_out() } else { Ok(()) }
    }

    /// Durable once this has returned, except for its name. Returns the largest timestamp.
    pub(super) fn finish(&mut self) -> io::Result<Timestamp> {
        self.write_out()?;
        self.indexes.finish();
        self.indexes.write_out(&self.index_files)?;
        let files = [&self.log, &self.index_files.offsets, &self.index_files.times];
        if !bugs::is_planted(Bug::CleanedNotSynced) {
            // A failed sync is fatal, whatever its reason.
            files.into_iter().try_for_each(|file| file.sync_data()).map_err(io::Error::other)?;
        }
        Ok(self.indexes.largest().timestamp)
    }

    /// The age of the replaced segment, which is that of records without timestamps.
    pub(super) fn set_modified(&self, modified: Timestamp) -> io::Result<()> {
        self.log.set_modified(modified)
    }

    fn write_out(&mut self) -> io::Result<()> {
        let position = self.size.saturating_sub(length_u64(self.pending.len()));
        write_all_at(&*self.log, &self.pending, &[], position)?;
        self.pending.clear();
        Ok(())
    }
}

/// Keeps the record of aborted transactions: the entries of all segments, one after the other.
pub(super) fn carry_transactions(disk: &dyn Disk, directory: &Path, segments: &[Arc<ClosedSegment>]) -> io::Result<()> {
    let mut entries = Vec::new();
    for segment in segments {
        match read_file(disk, &segment_path(directory, segment.base, FileKind::TransactionIndex), u64::MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => entries.extend(read?),
        }
    }
    let Some(first) = segments.first().filter(|_| !entries.is_empty()) else { return Ok(()) };
    let file = disk.open(&path(directory, first.base, FileKind::TransactionIndex, CLEANED), OpenMode::Create)?;
    file.set_length(0)?;
    write_all_at(&*file, &entries, &[], 0)?;
    file.sync_data().map_err(io::Error::other)
}

/// From `.cleaned` to `.swap`. A crash before the last rename undoes it.
pub(super) fn rename_to_swap(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    rename_all(disk, |kind| [path(directory, base, kind, CLEANED), path(directory, base, kind, SWAP)])
}

/// From `.swap` to the final names. A crash before the last rename is repaired at the next start.
pub(super) fn rename_into_place(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    rename_all(disk, |kind| [path(directory, base, kind, SWAP), segment_path(directory, base, kind)])
}

fn rename_all(disk: &dyn Disk, names: impl Fn(FileKind) -> [PathBuf; 2]) -> io::Result<()> {
    for kind in KINDS {
        let [from, to] = names(kind);
        match disk.rename(&from, &to) {
            Err(error) if kind == FileKind::TransactionIndex && error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(())
}

/// Removes whatever exists of it: it was not swapped in, and will not be. The `.log.swap` goes after its indexes: a
/// load would adopt a `.swap` index alone as one of the replaced segment.
pub(super) fn remove(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    let suffixes = [SWAP, CLEANED].into_iter();
    suffixes
        .flat_map(|suffix| KINDS.into_iter().rev().map(move |kind| path(directory, base, kind, suffix)))
        .try_for_each(|path| remove_if_present(disk, &path))
}

fn path(directory: &Path, base: Offset, kind: FileKind, suffix: &str) -> PathBuf {
    with_suffix(&segment_path(directory, base, kind), suffix)
}
