//! Files that a crash left in a partition directory while segments were being deleted, cleaned or replaced.
//!
//! Kafka replaces segments in steps: cleaned data is written to `.cleaned`, renamed to `.swap` in descending order,
//! then the old segments become `.deleted` and the `.swap` ones take their names. So:
//! 1. `.deleted` (and unfinished `.tmp`) files are removed.
//! 2. While there is a `.cleaned` the renaming was not done: every `.swap` from its offset on is removed, and all
//!    `.cleaned`.
//! 3. Otherwise a `.swap` counts: ordinary segments within its offsets are removed, and it takes its name.

use std::io;
use std::path::Path;

use protocol::types::Offset;

use crate::bugs::{self, Bug};
use crate::disk::{Disk, OpenMode, remove_if_present};
use crate::files::{CLEANED, DELETED, FileKind, SWAP, parse_name, segment_path};
use crate::load::LoadError;
use crate::scanner::{BatchScanner, ReadMode};

const SCAN_BUFFER_BYTES: usize = 64 << 10;
const UNFINISHED: &str = ".tmp";
const LEFTOVERS: [&str; 4] = [DELETED, UNFINISHED, CLEANED, SWAP];

/// Returns whether there was anything.
pub(crate) fn settle(disk: &dyn Disk, directory: &Path) -> Result<bool, LoadError> {
    let io_error = |source| LoadError::Io { path: directory.to_owned(), source };
    let names = names(disk, directory).map_err(io_error)?;
    if !names.iter().any(|name| LEFTOVERS.iter().any(|suffix| name.ends_with(suffix))) {
        return Ok(false);
    }
    let unfinished = |name: &&String| [DELETED, UNFINISHED].iter().any(|suffix| name.ends_with(suffix));
    remove(disk, directory, names.iter().filter(unfinished)).map_err(io_error)?;

    let cleaned: Vec<_> = names.iter().filter(|name| base_of(name, CLEANED).is_some()).collect();
    let swapped = names.iter().filter_map(|name| Some((base_of(name, SWAP)?, name)));
    let first_cleaned = cleaned.iter().filter_map(|name| base_of(name, CLEANED)).min();
    let (undone, done): (Vec<_>, Vec<_>) =
        swapped.partition(|(base, _)| first_cleaned.is_some_and(|first| first <= *base));
    remove(disk, directory, undone.iter().map(|(_, name)| *name)).map_err(io_error)?;
    // A `.swap` that came back without its `.cleaned` would count.
    disk.sync_directory(directory).map_err(io_error)?;
    remove(disk, directory, cleaned.into_iter()).map_err(io_error)?;

    let covered = covered_offsets(disk, directory, &done)?;
    let replaced = |name: &&String| {
        parse_name(name).is_some_and(|(base, kind)| {
            kind != FileKind::Snapshot && covered.is_some_and(|(first, end)| first <= base && base < end)
        })
    };
    remove(disk, directory, names.iter().filter(replaced)).map_err(io_error)?;
    for (_, name) in done.iter().filter(|_| !bugs::is_planted(Bug::SwapNotFinished)) {
        let target = directory.join(name.strip_suffix(SWAP).unwrap_or(name));
        disk.rename(&directory.join(name), &target).map_err(io_error)?;
    }
    Ok(true)
}

/// The first offset of the segments that replace others, and the end offset of the last.
fn covered_offsets(
    disk: &dyn Disk,
    directory: &Path,
    swapped: &[(Offset, &String)],
) -> Result<Option<(Offset, Offset)>, LoadError> {
    let mut covered: Option<(Offset, Offset)> = None;
    for (base, name) in swapped {
        let is_log = |name: &str| parse_name(name).is_some_and(|(_, kind)| kind == FileKind::Log);
        if name.strip_suffix(SWAP).is_some_and(is_log) {
            let end = end_offset(disk, &directory.join(name), *base)?;
            let (first, last) = covered.unwrap_or((*base, end));
            covered = Some((first.min(*base), last.max(end)));
        }
    }
    Ok(covered)
}

fn end_offset(disk: &dyn Disk, path: &Path, base: Offset) -> Result<Offset, LoadError> {
    let io_error = |source| LoadError::Io { path: path.to_owned(), source };
    let file = disk.open(path, OpenMode::Read).map_err(io_error)?;
    let length = file.length().map_err(io_error)?;
    let mut buffer = vec![0; SCAN_BUFFER_BYTES];
    let mut scanner = BatchScanner::new(&*file, ReadMode::Blocking, (0, base), length, &mut buffer);
    let mut end = base;
    while let Some(batch) = scanner.next().map_err(|error| LoadError::scan(path, error, Offset(i64::MAX)))? {
        end = batch.header.next_offset();
    }
    Ok(end)
}

fn names(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<String>> {
    let entries = disk.list(directory)?;
    Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
}

fn base_of(name: &str, suffix: &str) -> Option<Offset> {
    parse_name(name.strip_suffix(suffix)?).map(|(base, _)| base)
}

fn remove<'a>(disk: &dyn Disk, directory: &Path, names: impl Iterator<Item = &'a String>) -> io::Result<()> {
    names.into_iter().try_for_each(|name| remove_if_present(disk, &directory.join(name)))
}

/// Removes what an unfinished compaction has left. Nothing of it was swapped in. If a crash interrupts this, the next
/// load undoes the rest while there is a `.cleaned`, and otherwise swaps in a complete `.log.swap`.
pub(crate) fn undo_compaction(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    let mut names = names(disk, directory)?;
    names.retain(|name| [CLEANED, SWAP].iter().any(|suffix| base_of(name, suffix).is_some()));
    names.sort_by_key(|name| (name.ends_with(CLEANED), name.contains(".log.")));
    remove(disk, directory, names.iter())
}

/// Removes the indexes of the segment at `base`: a reader makes missing ones again from the batches.
pub(crate) fn remove_indexes(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    let kinds = [FileKind::OffsetIndex, FileKind::TimeIndex];
    kinds.into_iter().try_for_each(|kind| remove_if_present(disk, &segment_path(directory, base, kind)))
}

/// Removes all files of the segment at `base`, except its snapshot.
pub(crate) fn remove_segment(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    let kinds = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];
    kinds.into_iter().try_for_each(|kind| remove_if_present(disk, &segment_path(directory, base, kind)))
}

#[cfg(test)]
#[path = "leftovers_test.rs"]
mod tests;
