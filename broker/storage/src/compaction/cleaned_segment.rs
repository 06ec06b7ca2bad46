//! A segment that compaction writes: `.log.cleaned` and its indexes. It counts only once it was swapped in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use crate::disk::{Disk, DiskFile, OpenMode, length_u64, remove_if_present, write_all_at};
use crate::files::{CLEANED, FileKind, SWAP, segment_path, with_suffix};
use crate::segment_indexes::{IndexFiles, SegmentIndexes};

const WRITE_BYTES: usize = 1 << 20;
/// In the order in which they are swapped in.
const KINDS: [FileKind; 3] = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex];

#[derive(Debug)]
pub(super) struct CleanedSegment {
    log: Arc<dyn DiskFile>,
    index_files: IndexFiles,
    indexes: SegmentIndexes,
    interval_bytes: u64,
    size: u64,
    /// The end of it, not written yet.
    pending: Vec<u8>,
}

impl CleanedSegment {
    pub(super) fn create(disk: &dyn Disk, directory: &Path, base: Offset, interval_bytes: u64) -> io::Result<Self> {
        let open = |kind| {
            let file = disk.open(&path(directory, base, kind, CLEANED), OpenMode::Create)?;
            file.set_length(0)?;
            io::Result::Ok(file)
        };
        let [log, offsets, times] = [open(KINDS[0])?, open(KINDS[1])?, open(KINDS[2])?];
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

    /// Durable once this returned, but for its name. Returns the largest timestamp.
    pub(super) fn finish(&mut self) -> io::Result<Timestamp> {
        self.write_out()?;
        self.indexes.finish();
        self.indexes.write_out(&self.index_files)?;
        let files = [&self.log, &self.index_files.offsets, &self.index_files.times];
        // A failed sync is fatal, whatever its reason.
        files.into_iter().try_for_each(|file| file.sync_data()).map_err(io::Error::other)?;
        Ok(self.indexes.largest().timestamp)
    }

    /// As old as the segment whose place it takes: that is the age of records without timestamps.
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

/// From `.cleaned` to `.swap`. A crash before the last one undoes it.
pub(super) fn rename_to_swap(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    KINDS
        .into_iter()
        .try_for_each(|kind| disk.rename(&path(directory, base, kind, CLEANED), &path(directory, base, kind, SWAP)))
}

/// From `.swap` to their own names. A crash before the last one is made good at the next start.
pub(super) fn rename_into_place(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    KINDS
        .into_iter()
        .try_for_each(|kind| disk.rename(&path(directory, base, kind, SWAP), &segment_path(directory, base, kind)))
}

/// Whatever is there of it: it was not swapped in, and will not be.
pub(super) fn remove(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    let suffixes = [SWAP, CLEANED].into_iter();
    suffixes
        .flat_map(|suffix| KINDS.map(|kind| path(directory, base, kind, suffix)))
        .try_for_each(|path| remove_if_present(disk, &path))
}

fn path(directory: &Path, base: Offset, kind: FileKind, suffix: &str) -> PathBuf {
    with_suffix(&segment_path(directory, base, kind), suffix)
}
