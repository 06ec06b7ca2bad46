//! How a cleaned segment replaces those it was made from:
//!
//! 1. Its files are complete and synced, under names that end in `.cleaned`. Until here a crash undoes everything.
//! 2. They are renamed to `.swap`, durably. From the last of them on a crash finishes what was begun.
//! 3. The old files become `.deleted`, and the `.swap` ones take their names.
//!
//! 2 and 3 each hold the log's lock, and check that the segments are still there: there may have been a truncation or
//! a deletion in between. A truncation removes what has not been swapped in, so that no crash brings back what it
//! removed. [`crate::leftovers`] is the counterpart at the start.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use protocol::types::Offset;

use super::{Compaction, CompactionError, CompactionOwner, cleaned_segment};
use crate::closed_segment::ClosedSegment;
use crate::deletion::set_aside;
use crate::disk::Disk;
use crate::files::{FileKind, segment_path};
use crate::log::Log;

const KINDS: [FileKind; 4] = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];

#[derive(Debug)]
pub(super) struct CleanedGroup<'a> {
    pub(super) compaction: &'a Compaction,
    pub(super) replaced: &'a [Arc<ClosedSegment>],
    pub(super) segment: Arc<ClosedSegment>,
}

impl CleanedGroup<'_> {
    pub(super) fn swap_in(&self, disk: &dyn Disk, owner: &impl CompactionOwner) -> Result<(), CompactionError> {
        owner.with_log(|log| log.announce_swap(self, disk)).ok_or(CompactionError::Stopped)??;
        self.sync_names()?;
        let files = owner.with_log(|log| log.swap(self, disk)).ok_or(CompactionError::Stopped)??;
        self.sync_names()?;
        owner.replaced(files);
        Ok(())
    }

    /// A failed sync is fatal, whatever its reason.
    fn sync_names(&self) -> Result<(), CompactionError> {
        let Compaction { directory, .. } = self.compaction;
        self.compaction.in_directory(|disk| disk.sync_directory(directory).map_err(io::Error::other))
    }
}

impl Log {
    fn announce_swap(&self, group: &CleanedGroup<'_>, disk: &dyn Disk) -> Result<(), CompactionError> {
        self.place_of(group)?;
        let renamed = cleaned_segment::rename_to_swap(disk, &self.directory, group.segment.base);
        renamed.map_err(|error| group.compaction.write_error(error))
    }

    /// Returns the new names of the old files.
    fn swap(&mut self, group: &CleanedGroup<'_>, disk: &dyn Disk) -> Result<Vec<PathBuf>, CompactionError> {
        let first = self.place_of(group)?;
        let files = self.rename_swapped(group, disk).map_err(|error| {
            let source = io::Error::other(self.take_offline(error));
            group.compaction.write_error(source)
        })?;
        let end = group.segment.end;
        drop(self.closed.splice(first..first.saturating_add(group.replaced.len()), [group.segment.clone()]));
        self.high_watermark = self.high_watermark.after_swap(end);
        self.flushing.swapped(end);
        self.tail.forget_before(end);
        Ok(files)
    }

    fn rename_swapped(&self, group: &CleanedGroup<'_>, disk: &dyn Disk) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for segment in group.replaced {
            for kind in KINDS {
                files.extend(set_aside(disk, &segment_path(&self.directory, segment.base, kind))?);
            }
        }
        cleaned_segment::rename_into_place(disk, &self.directory, group.segment.base)?;
        Ok(files)
    }

    /// The index of the segments to be replaced: all of them, unchanged.
    fn place_of(&self, group: &CleanedGroup<'_>) -> Result<usize, CompactionError> {
        let (abandoned, base) = (&group.compaction.abandoned, group.segment.base);
        let is_given_up = *abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_offline() || is_given_up {
            return Err(CompactionError::Stopped);
        }
        let first = self.closed.partition_point(|segment| segment.base < base);
        let found = self.closed.get(first..).unwrap_or_default().iter();
        let is_unchanged = found.zip(group.replaced).filter(|(found, known)| Arc::ptr_eq(found, known)).count();
        if is_unchanged == group.replaced.len() { Ok(first) } else { Err(CompactionError::Stopped) }
    }

    /// A pass is about to compact everything before `end`.
    pub(super) fn will_compact(&mut self, compaction: &Compaction, end: Offset) {
        if Arc::ptr_eq(&compaction.abandoned, &self.abandoned) {
            self.compacted_end = self.compacted_end.max(end);
        }
    }

    /// A pass has ended that has compacted everything before `end`.
    pub(super) fn compacted(&mut self, compaction: &Compaction, end: Offset) {
        if Arc::ptr_eq(&compaction.abandoned, &self.abandoned) {
            self.first_dirty = self.first_dirty.max(end);
        }
    }
}

#[cfg(test)]
#[path = "swap_test.rs"]
mod tests;
