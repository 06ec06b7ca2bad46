//! `.index`: the positions of offsets in a segment's `.log`. Entries of 8 bytes, big-endian:
//!
//! ```text
//! i32 offset − base    the last offset of a batch
//! i32 position         where that batch starts in the .log
//! ```
//!
//! Both strictly increase. Everything here is pure and works on the bytes themselves, mapped or in memory.

use protocol::types::Offset;

pub(crate) const ENTRY_LENGTH: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: Offset,
    pub(crate) position: u32,
}

impl OffsetEntry {
    /// `None` if the entry cannot be encoded: more than 2³¹ away from the base, in offsets or bytes.
    pub(crate) fn encode(self, base: Offset) -> Option<[u8; ENTRY_LENGTH]> {
        let relative = i32::try_from(self.offset.0.checked_sub(base.0)?).ok().filter(|relative| 0 <= *relative)?;
        let position = i32::try_from(self.position).ok()?;
        let mut entry = [0; ENTRY_LENGTH];
        let (left, right) = entry.split_at_mut(4);
        left.copy_from_slice(&relative.to_be_bytes());
        right.copy_from_slice(&position.to_be_bytes());
        Some(entry)
    }

    fn decode(entry: [u8; ENTRY_LENGTH], base: Offset) -> Self {
        let relative = i32::from_be_bytes(entry.first_chunk().copied().unwrap_or_default());
        let position = u32::from_be_bytes(entry.last_chunk().copied().unwrap_or_default());
        Self { offset: base.advance(i64::from(relative)), position }
    }
}

/// The last entry at or before `target`.
pub(crate) fn lookup(bytes: &[u8], base: Offset, target: Offset) -> Option<OffsetEntry> {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    let after = entries.partition_point(|entry| OffsetEntry::decode(*entry, base).offset <= target);
    entries.get(after.checked_sub(1)?).map(|entry| OffsetEntry::decode(*entry, base))
}

/// The first entry after `target`.
pub(crate) fn lookup_after(bytes: &[u8], base: Offset, target: Offset) -> Option<OffsetEntry> {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    let after = entries.partition_point(|entry| OffsetEntry::decode(*entry, base).offset <= target);
    entries.get(after).map(|entry| OffsetEntry::decode(*entry, base))
}

/// Length in bytes of the longest valid prefix: entries that increase, lie before `end` and start before byte
/// `log_length`.
pub(crate) fn sound_length(bytes: &[u8], base: Offset, end: Offset, log_length: u64) -> usize {
    let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
    // The first batch of a segment has no entry.
    let mut previous = OffsetEntry { offset: base, position: 0 };
    let sound = entries.iter().take_while(|entry| {
        let entry = OffsetEntry::decode(**entry, base);
        let grows = previous.offset < entry.offset && previous.position < entry.position;
        previous = entry;
        grows && entry.offset < end && u64::from(entry.position) < log_length
    });
    sound.count().saturating_mul(ENTRY_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset(1000);

    fn index(entries: &[(i64, u32)]) -> Vec<u8> {
        let entry = |&(offset, position)| OffsetEntry { offset: Offset(offset), position }.encode(BASE).unwrap();
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn entries_lie_as_kafka_writes_them() {
        assert_eq!(index(&[(1009, 0x0102_0304)]), [0, 0, 0, 9, 1, 2, 3, 4]);
        let unwritable = [(999, 0), (BASE.0 + (1 << 31), 0), (1000, 1 << 31)];
        for (offset, position) in unwritable {
            assert_eq!(OffsetEntry { offset: Offset(offset), position }.encode(BASE), None, "{offset} {position}");
        }
    }

    #[test]
    fn finds_the_last_entry_at_or_before_an_offset() {
        let bytes = index(&[(1010, 100), (1020, 200), (1030, 300)]);
        let table =
            [(1000, None), (1009, None), (1010, Some(100)), (1019, Some(100)), (1020, Some(200)), (9999, Some(300))];
        for (target, position) in table {
            assert_eq!(lookup(&bytes, BASE, Offset(target)).map(|entry| entry.position), position, "{target}");
        }
        assert_eq!(lookup(&[], BASE, Offset(1000)), None);
    }

    #[test]
    fn only_the_sound_beginning_counts() {
        let table: [(&[(i64, u32)], usize); 7] = [
            (&[(1000, 0)], 0),
            (&[(1010, 100), (1020, 200)], 16),
            (&[(1010, 100), (1010, 200)], 8),
            (&[(1010, 100), (1020, 100)], 8),
            (&[(1010, 100), (1050, 200)], 8),
            (&[(1010, 100), (1020, 999)], 8),
            (&[(1010, 100), (1000, 0), (1030, 300)], 8),
        ];
        for (entries, expected) in table {
            assert_eq!(sound_length(&index(entries), BASE, Offset(1050), 900), expected, "{entries:?}");
        }
        assert_eq!(
            sound_length(&[0, 0, 0, 9, 0, 0, 0, 9, 0, 0], BASE, Offset(1050), 900),
            8,
            "a torn entry does not count"
        );
    }
}
