//! The walk over all segments by a pass.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use protocol::batch::{CRC_START, crc32c};
use protocol::records::{self, RecordError, Records};
use protocol::types::{Offset, Timestamp};

use super::cleaned_segment::{self, CleanedSegment};
use super::key_map::{KeyMap, Room};
use super::key_offsets::KeyOffsets;
use super::last_offsets::LastOffsets;
use super::record_filter::{Outcome, RecordFilter};
use super::swap::CleanedGroup;
use super::{Compacted, Compaction, CompactionError, CompactionLimits, CompactionOwner};
use crate::closed_segment::ClosedSegment;
use crate::disk::Disk;
use crate::leftovers::undo_compaction;
use crate::read::ResolveError;
use crate::scanner::{BatchDefect, BatchScanner, ReadMode, ScannedBatch};

/// Bytes read at a time; a larger batch takes what it needs.
const READ_BYTES: usize = 1 << 20;

impl Compaction {
    /// Waits for the disk, for long.
    pub fn run(
        mut self,
        limits: &CompactionLimits,
        owner: &impl CompactionOwner,
    ) -> Result<Compacted, CompactionError> {
        // Leftovers of another pass would undo this one after a crash.
        self.in_directory(|disk| undo_compaction(disk, &self.directory))?;
        let map = self.map_keys(limits, owner)?;
        owner.with_log(|log| log.will_compact(&self, map.end)).ok_or(CompactionError::Stopped)?;
        if owner.begins().is_break() {
            return Err(CompactionError::Stopped);
        }
        let mut segments = std::mem::take(&mut self.segments);
        segments.truncate(segments.partition_point(|segment| segment.base < map.end));
        let filter = RecordFilter {
            map: &map,
            lasts: LastOffsets::of(&map, self.first_dirty),
            remembered_from: &self.remembered_from,
            delete_retention_ms: self.rules.delete_retention_ms,
            now: self.now,
        };
        let mut done = Compacted { bytes_before: 0, bytes_after: 0, end: map.end };
        while !segments.is_empty() {
            // Dropped once it is replaced, so that its space is freed.
            let group: Vec<_> = segments.drain(..self.group_length(&segments)).collect();
            let before = group.iter().map(|segment| segment.size).fold(0, u64::saturating_add);
            let after = self.replace(&group, &filter, limits, owner)?;
            done.bytes_before = done.bytes_before.saturating_add(before);
            done.bytes_after = done.bytes_after.saturating_add(after);
        }
        owner.with_log(|log| log.compacted(&self, map.end)).ok_or(CompactionError::Stopped)?;
        Ok(done)
    }

    fn map_keys(&self, limits: &CompactionLimits, owner: &impl CompactionOwner) -> Result<KeyMap, CompactionError> {
        let offsets = KeyOffsets::new(limits.hasher.clone(), limits.map_bytes_max, limits.load_factor);
        let mut map = KeyMap::new(offsets, self.first_dirty);
        let mut buffer = vec![0; READ_BYTES];
        for segment in self.segments.iter().filter(|segment| self.first_dirty < segment.end) {
            let mut room = Room::Left;
            each_batch(segment, &mut buffer, |batch, bytes| {
                if is_of_transaction(batch) {
                    map.pass_over(&batch.header);
                } else if self.first_dirty < batch.header.next_offset() {
                    let records = open(segment, batch, bytes, limits)?;
                    room = map.add(&batch.header, &records).map_err(|defect| unreadable(segment, batch, defect))?;
                }
                if room == Room::Full {
                    return Ok(ControlFlow::Break(()));
                }
                go_on(owner.used(batch.length, 0))
            })?;
            if room == Room::Full {
                return Ok(map);
            }
            map.end = map.end.max(segment.end);
        }
        Ok(map)
    }

    /// How many segments become one: at least the first.
    fn group_length(&self, segments: &[Arc<ClosedSegment>]) -> usize {
        let base = segments.first().map_or(0, |first| first.base.0);
        let mut size: u64 = 0;
        let fits = |segment: &&Arc<ClosedSegment>| {
            size = size.saturating_add(segment.size);
            size <= self.config.segment_bytes && i32::try_from(segment.end.0.saturating_sub(base)).is_ok()
        };
        segments.iter().take_while(fits).count().max(1).min(segments.len())
    }

    /// Returns the number of bytes afterwards.
    fn replace(
        &self,
        group: &[Arc<ClosedSegment>],
        filter: &RecordFilter<'_>,
        limits: &CompactionLimits,
        owner: &impl CompactionOwner,
    ) -> Result<u64, CompactionError> {
        let Some((first, last)) = group.first().zip(group.last()) else { return Ok(0) };
        let outcome = match self.write(group, filter, limits, owner) {
            Ok(None) => Ok(first.size),
            Ok(Some((size, largest_timestamp))) => {
                let segment = ClosedSegment {
                    files: Arc::new(self.pool.new_segment()),
                    directory: self.directory.clone(),
                    base: first.base,
                    end: last.end,
                    size,
                    largest_timestamp,
                };
                CleanedGroup { replaced: group, segment: Arc::new(segment), compaction: self }
                    .swap_in(&*limits.disk, owner)
                    .map(|()| size)
            }
            Err(error) => Err(error),
        };
        // Half-way through the swap the files are for the next start to repair.
        if !outcome.as_ref().is_err_and(CompactionError::is_fatal) {
            self.discard(first.base)?;
        }
        outcome
    }

    /// Size and largest timestamp. `None`: a single segment that stays unchanged.
    fn write(
        &self,
        group: &[Arc<ClosedSegment>],
        filter: &RecordFilter<'_>,
        limits: &CompactionLimits,
        owner: &impl CompactionOwner,
    ) -> Result<Option<(u64, Timestamp)>, CompactionError> {
        let Some((first, last)) = group.first().zip(group.last()) else { return Ok(None) };
        let write_error = |error| self.write_error(error);
        let mut cleaned = self.in_directory(|disk| {
            CleanedSegment::create(disk, &self.directory, first.base, self.config.index_interval_bytes)
        })?;
        let mut is_changed = group.len() != 1;
        let mut buffer = vec![0; READ_BYTES];
        for segment in group {
            each_batch(segment, &mut buffer, |batch, bytes| {
                let is_last = Arc::ptr_eq(segment, last) && batch.end() == segment.size;
                let outcome = filter.apply(&open(segment, batch, bytes, limits)?, is_last);
                let outcome = outcome.map_err(|defect| unreadable(segment, batch, defect))?;
                let before = cleaned.size();
                let appended = match &outcome {
                    Outcome::Unchanged => cleaned.append(&batch.header, bytes),
                    Outcome::Changed(left) => cleaned.append(&left.header, &left.bytes),
                    Outcome::Gone => Ok(()),
                };
                appended.map_err(write_error)?;
                is_changed |= !matches!(outcome, Outcome::Unchanged);
                go_on(owner.used(batch.length, cleaned.size().saturating_sub(before)))
            })?;
        }
        if !is_changed {
            return Ok(None);
        }
        self.in_directory(|disk| cleaned_segment::carry_transactions(disk, &self.directory, group))?;
        let largest_timestamp = cleaned.finish().map_err(write_error)?;
        if largest_timestamp < Timestamp(0)
            && let Ok(modified) = last.modified()
        {
            cleaned.set_modified(modified).map_err(write_error)?;
        }
        Ok(Some((cleaned.size(), largest_timestamp)))
    }

    /// Removes what was written and not swapped in.
    fn discard(&self, base: Offset) -> Result<(), CompactionError> {
        match self.in_directory(|disk| cleaned_segment::remove(disk, &self.directory, base)) {
            // If the log was truncated that has removed it, too.
            Err(CompactionError::Stopped) => Ok(()),
            removed => removed,
        }
    }

    /// Works on files by name, while the directory is still the log's and nothing was truncated.
    pub(super) fn in_directory<T>(&self, work: impl FnOnce(&dyn Disk) -> io::Result<T>) -> Result<T, CompactionError> {
        let abandoned = self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if *abandoned {
            return Err(CompactionError::Stopped);
        }
        work(&**self.pool.disk()).map_err(|error| self.write_error(error))
    }

    pub(super) fn write_error(&self, source: io::Error) -> CompactionError {
        CompactionError::Write { directory: self.directory.to_path_buf(), source }
    }
}

fn go_on(flow: ControlFlow<()>) -> Result<ControlFlow<()>, CompactionError> {
    if flow.is_break() { Err(CompactionError::Stopped) } else { Ok(flow) }
}

/// Visits every batch of a segment with all its bytes, intact, until `visit` breaks off. `buffer` grows for a larger
/// batch, once its checksum was verified: the length is outside of the checksum, and may be anything.
fn each_batch(
    segment: &ClosedSegment,
    buffer: &mut Vec<u8>,
    mut visit: impl FnMut(&ScannedBatch, &[u8]) -> Result<ControlFlow<()>, CompactionError>,
) -> Result<(), CompactionError> {
    let scan_error = |error| ResolveError::new(segment.path(), error);
    let log = segment.log(ReadMode::Blocking).map_err(scan_error)?;
    let mut from = (0, segment.base);
    loop {
        let mut scanner = BatchScanner::new(&*log, ReadMode::Blocking, from, segment.size, buffer);
        let too_long = loop {
            let Some(batch) = scanner.next().map_err(scan_error)? else { return Ok(()) };
            let Some(bytes) = scanner.bytes_of(&batch).map_err(scan_error)? else {
                scanner.verify(&batch).map_err(scan_error)?;
                break batch.length;
            };
            if segment.end <= batch.header.last_offset() {
                return Err(unreadable(segment, &batch, BatchDefect::Offsets));
            }
            if crc32c(bytes.get(CRC_START..).unwrap_or_default()) != batch.header.crc {
                return Err(unreadable(segment, &batch, BatchDefect::Checksum));
            }
            if visit(&batch, bytes)?.is_break() {
                return Ok(());
            }
            from = (batch.end(), batch.header.next_offset());
        };
        buffer.resize(usize::try_from(too_long).unwrap_or(usize::MAX), 0);
    }
}

fn open<'a>(
    segment: &ClosedSegment,
    batch: &ScannedBatch,
    bytes: &'a [u8],
    limits: &CompactionLimits,
) -> Result<Records<'a>, CompactionError> {
    records::walk(bytes, limits.decompressed_bytes_max).map_err(|error| match error {
        RecordError::TooLarge { output_max, .. } => unreadable(segment, batch, BatchDefect::Oversized(output_max)),
        _ => unreadable(segment, batch, BatchDefect::Records),
    })
}

/// Whether it has records of a transaction, or its end marker.
fn is_of_transaction(batch: &ScannedBatch) -> bool {
    batch.header.attributes.is_transactional() || batch.header.attributes.is_control()
}

fn unreadable(segment: &ClosedSegment, batch: &ScannedBatch, defect: BatchDefect) -> CompactionError {
    ResolveError::new(segment.path(), batch.defect(defect)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogConfig;
    use crate::testing::*;

    #[test]
    fn no_memory_is_taken_for_a_length_that_is_none() {
        let bench = Bench::new(LogConfig::default());
        let mut log = bench.create();
        append(&mut log, &batch(1, 10, 5));
        append(&mut log, &batch(1, 100_000, 5));
        log.roll(NOW).unwrap();
        let name = "00000000000000000000.log";
        let mut bytes = bench.contents(name).unwrap();
        bytes[8..12].copy_from_slice(&50_000_i32.to_be_bytes());
        bench.disk.put(&path(name), bytes);
        let mut buffer = vec![0; 1000];
        let error = each_batch(&log.closed[0], &mut buffer, |_, _| panic!("it is no batch")).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
        assert_eq!(buffer.len(), 1000);
    }
}
