//! `.timeindex`: the offset after which a segment has records with a larger timestamp. Entries of 12 bytes,
//! big-endian:
//!
//! ```text
//! i64 timestamp        the highest so far in the segment
//! i32 offset − base    last offset of the first batch that reached it
//! ```
//!
//! Timestamps strictly increase, offsets never decrease.

use protocol::types::{Offset, Timestamp};

pub(crate) const ENTRY_LENGTH: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: Offset,
}

impl TimeEntry {
    fn none(base: Offset) -> Self {
        Self { timestamp: Timestamp::NONE, offset: base }
    }

    /// `None` if the offset is more than 2³¹ away from the base.
    pub(crate) fn encode(self, base: Offset) -> Option<[u8; ENTRY_LENGTH]> {
        let relative = i32::try_from(self.offset.0.checked_sub(base.0)?).ok().filter(|relative| 0 <= *relative)?;
        let mut entry = [0; ENTRY_LENGTH];
        let (left, right) = entry.split_at_mut(8);
        left.copy_from_slice(&self.timestamp.0.to_be_bytes());
        right.copy_from_slice(&relative.to_be_bytes());
        Some(entry)
    }

    fn decode(entry: [u8; ENTRY_LENGTH], base: Offset) -> Self {
        let timestamp = i64::from_be_bytes(entry.first_chunk().copied().unwrap_or_default());
        let relative = i32::from_be_bytes(entry.last_chunk().copied().unwrap_or_default());
        Self { timestamp: Timestamp(timestamp), offset: base.advance(i64::from(relative)) }
    }
}

/// The last entry whose timestamp is at most `target`: younger records come after its offset.
pub(crate) fn lookup(bytes: &[u8], base: Offset, target: Timestamp) -> Option<TimeEntry> {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    let after = entries.partition_point(|entry| TimeEntry::decode(*entry, base).timestamp <= target);
    entries.get(after.checked_sub(1)?).map(|entry| TimeEntry::decode(*entry, base))
}

/// The last entry, or that of a segment without timestamps.
pub(crate) fn last(bytes: &[u8], base: Offset) -> TimeEntry {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    entries.last().map_or_else(|| TimeEntry::none(base), |entry| TimeEntry::decode(*entry, base))
}

/// Length in bytes of the longest valid prefix: entries that increase and lie before `end`.
pub(crate) fn sound_length(bytes: &[u8], base: Offset, end: Offset) -> usize {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    let mut previous = TimeEntry::none(base);
    let sound = entries.iter().take_while(|entry| {
        let entry = TimeEntry::decode(**entry, base);
        let grows = previous.timestamp < entry.timestamp && previous.offset <= entry.offset;
        previous = entry;
        grows && entry.offset < end
    });
    sound.count().saturating_mul(ENTRY_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset(1000);

    fn index(entries: &[(i64, i64)]) -> Vec<u8> {
        let entry = |&(timestamp, offset)| {
            TimeEntry { timestamp: Timestamp(timestamp), offset: Offset(offset) }.encode(BASE).unwrap()
        };
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn entries_lie_as_kafka_writes_them() {
        assert_eq!(index(&[(0x0102, 1009)]), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9]);
        assert_eq!(TimeEntry { timestamp: Timestamp(1), offset: Offset(999) }.encode(BASE), None);
    }

    #[test]
    fn finds_the_last_entry_at_or_before_a_timestamp() {
        let bytes = index(&[(10, 1001), (20, 1002), (30, 1003)]);
        for (target, offset) in [(9, None), (10, Some(1001)), (29, Some(1002)), (99, Some(1003))] {
            let found = lookup(&bytes, BASE, Timestamp(target)).map(|entry| entry.offset.0);
            assert_eq!(found, offset, "{target}");
        }
        assert_eq!(last(&bytes, BASE), TimeEntry { timestamp: Timestamp(30), offset: Offset(1003) });
    }

    #[test]
    fn only_the_sound_beginning_counts() {
        let table: [(&[(i64, i64)], usize); 5] = [
            (&[(10, 1001), (20, 1001)], 24),
            (&[(10, 1001), (10, 1002)], 12),
            (&[(10, 1001), (20, 1000)], 12),
            (&[(10, 1001), (20, 1050)], 12),
            (&[(-1, 1001)], 0),
        ];
        for (entries, expected) in table {
            assert_eq!(sound_length(&index(entries), BASE, Offset(1050)), expected, "{entries:?}");
        }
    }
}
