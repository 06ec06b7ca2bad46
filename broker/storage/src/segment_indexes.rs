//! The two indexes of a segment that is being written, in memory, including the tail that its files lack.
//!
//! Kafka's rule, for each batch: once more than `index.interval.bytes` were written since the last indexed batch's
//! start, the next batch gets an entry in `.index`, and one in `.timeindex` if the highest timestamp grew. The first
//! batch never does. Closing the segment adds a last time entry.

use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use crate::disk::{Disk, DiskFile, OpenMode, length_u64, write_all_at};
use crate::files::{FileKind, segment_path};
use crate::offset_index::{self, OffsetEntry};
use crate::time_index::{self, TimeEntry};

/// Entries are written once they are this many bytes.
const WRITE_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct SegmentIndexes {
    base: Offset,
    offsets: Tail,
    times: Tail,
    bytes_since_entry: u64,
    /// The highest timestamp so far and the last offset of the first batch that reached it.
    largest: TimeEntry,
}

/// The index files of one segment, open.
#[derive(Debug, Clone)]
pub(crate) struct IndexFiles {
    pub(crate) offsets: Arc<dyn DiskFile>,
    pub(crate) times: Arc<dyn DiskFile>,
}

impl IndexFiles {
    pub(crate) fn open(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<Self> {
        let open = |kind| disk.open(&segment_path(directory, base, kind), OpenMode::Create);
        Ok(Self { offsets: open(FileKind::OffsetIndex)?, times: open(FileKind::TimeIndex)? })
    }
}

impl SegmentIndexes {
    pub(crate) fn new(base: Offset) -> Self {
        Self::resume(base, Vec::new(), Vec::new())
    }

    /// Continues from valid entries that the files begin with.
    pub(crate) fn resume(base: Offset, offsets: Vec<u8>, times: Vec<u8>) -> Self {
        let largest = time_index::last(&times, base);
        Self { base, offsets: Tail::of_file(offsets), times: Tail::of_file(times), bytes_since_entry: 0, largest }
    }

    /// The same entries, for files that have none yet.
    #[must_use]
    pub(crate) fn for_new_files(mut self) -> Self {
        self.offsets.written = 0;
        self.times.written = 0;
        self
    }

    pub(crate) fn largest(&self) -> TimeEntry {
        self.largest
    }

    pub(crate) fn last_offset_entry(&self) -> Option<OffsetEntry> {
        self.lookup(Offset(i64::MAX))
    }

    pub(crate) fn lookup(&self, target: Offset) -> Option<OffsetEntry> {
        offset_index::lookup(&self.offsets.bytes, self.base, target)
    }

    pub(crate) fn lookup_after(&self, target: Offset) -> Option<OffsetEntry> {
        offset_index::lookup_after(&self.offsets.bytes, self.base, target)
    }

    pub(crate) fn lookup_time(&self, target: Timestamp) -> Option<TimeEntry> {
        time_index::lookup(&self.times.bytes, self.base, target)
    }

    pub(crate) fn offsets(&self) -> &[u8] {
        &self.offsets.bytes
    }

    pub(crate) fn times(&self) -> &[u8] {
        &self.times.bytes
    }

    /// Records a batch that starts at byte `position`.
    pub(crate) fn append(&mut self, batch: &BatchHeader, position: u64, length: u64, interval_bytes: u64) {
        self.observe_timestamp(batch);
        if interval_bytes < self.bytes_since_entry {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            if let Some(entry) = (OffsetEntry { offset: batch.last_offset(), position }).encode(self.base) {
                self.offsets.bytes.extend_from_slice(&entry);
                self.bytes_since_entry = 0;
                self.append_time_entry();
            }
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(length);
    }

    /// As `append`, for a batch that the entries already cover.
    pub(crate) fn skip(&mut self, batch: &BatchHeader, length: u64) {
        self.observe_timestamp(batch);
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(length);
    }

    /// Adds the last time entry of a segment, which retention reads.
    pub(crate) fn finish(&mut self) {
        self.append_time_entry();
    }

    /// One time entry is reserved for `finish`.
    pub(crate) fn is_full(&self, index_bytes_max: usize) -> bool {
        index_bytes_max < self.offsets.bytes.len().saturating_add(offset_index::ENTRY_LENGTH)
            || index_bytes_max < self.times.bytes.len().saturating_add(time_index::ENTRY_LENGTH.saturating_mul(2))
    }

    pub(crate) fn has_much_to_write(&self) -> bool {
        WRITE_BYTES <= self.offsets.pending().len() || WRITE_BYTES <= self.times.pending().len()
    }

    pub(crate) fn write_out(&mut self, files: &IndexFiles) -> io::Result<()> {
        self.offsets.write_out(&*files.offsets)?;
        self.times.write_out(&*files.times)
    }

    /// Cuts off whatever the files hold after the entries known here.
    pub(crate) fn truncate_files(&self, files: &IndexFiles) -> io::Result<()> {
        self.offsets.truncate_file(&*files.offsets)?;
        self.times.truncate_file(&*files.times)
    }

    fn observe_timestamp(&mut self, batch: &BatchHeader) {
        if self.largest.timestamp < batch.max_timestamp {
            self.largest = TimeEntry { timestamp: batch.max_timestamp, offset: batch.last_offset() };
        }
    }

    fn append_time_entry(&mut self) {
        let last = time_index::last(&self.times.bytes, self.base);
        if last.timestamp < self.largest.timestamp
            && let Some(entry) = self.largest.encode(self.base)
        {
            self.times.bytes.extend_from_slice(&entry);
        }
    }
}

/// All entries of an index; the file has the first `written` bytes of them.
#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    written: usize,
}

impl Tail {
    fn of_file(bytes: Vec<u8>) -> Self {
        Self { written: bytes.len(), bytes }
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Does not touch a file that is right: a change would have to reach the disk at the next sync.
    fn truncate_file(&self, file: &dyn DiskFile) -> io::Result<()> {
        let length = length_u64(self.written);
        if file.length()? == length { Ok(()) } else { file.set_length(length) }
    }

    fn write_out(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        if !self.pending().is_empty() {
            write_all_at(file, self.pending(), &[], length_u64(self.written))?;
            self.written = self.bytes.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::batch::HEADER_LENGTH;

    use super::*;

    /// Batches of one record: (timestamp, length).
    fn index(batches: &[(i64, u64)]) -> SegmentIndexes {
        let mut indexes = SegmentIndexes::new(Offset(100));
        let mut position = 0;
        for (offset, (timestamp, length)) in (100..).zip(batches) {
            let mut header = BatchHeader::decode(&[0; HEADER_LENGTH]);
            header.base_offset = Offset(offset);
            header.max_timestamp = Timestamp(*timestamp);
            indexes.append(&header, position, *length, 4096);
            position += length;
        }
        indexes
    }

    fn offset_entries(indexes: &SegmentIndexes) -> Vec<(i64, u32)> {
        let entries = (100..200).filter_map(|target| indexes.lookup(Offset(target)));
        let mut entries: Vec<_> = entries.map(|entry| (entry.offset.0, entry.position)).collect();
        entries.dedup();
        entries
    }

    #[test]
    fn a_batch_is_indexed_once_more_than_the_interval_lies_behind() {
        assert_eq!(offset_entries(&index(&[(1, 4096), (2, 10)])), [], "4096 is not more than 4096");
        assert_eq!(offset_entries(&index(&[(1, 4097), (2, 10)])), [(101, 4097)]);
        let third = index(&[(1, 4000), (2, 97), (3, 4097), (4, 1)]);
        assert_eq!(offset_entries(&third), [(102, 4097), (103, 8194)], "an indexed batch counts towards the next");
    }

    #[test]
    fn time_entries_hold_the_first_batch_that_reached_the_highest_timestamp() {
        let mut indexes = index(&[(5, 5000), (5, 5000), (3, 5000), (9, 5000), (9, 5000), (9, 5000), (11, 10)]);
        let entry = |timestamp, offset| {
            TimeEntry { timestamp: Timestamp(timestamp), offset: Offset(offset) }.encode(Offset(100)).unwrap()
        };
        assert_eq!(indexes.times(), [entry(5, 100), entry(9, 103), entry(11, 106)].concat());
        indexes.finish();
        assert_eq!(indexes.times().len(), 36, "nothing younger than the last entry");
        let mut short = index(&[(5, 10), (7, 10)]);
        short.finish();
        assert_eq!(short.times(), entry(7, 101));
    }

    #[test]
    fn is_full_one_time_entry_early() {
        let indexes = index(&[(1, 5000), (2, 5000), (3, 5000)]);
        assert_eq!((indexes.offsets().len(), indexes.times().len()), (16, 24));
        assert!(indexes.is_full(47));
        assert!(!indexes.is_full(48));
    }
}
