//! Which records of the new part are the last of their key, a bit for each offset: the second half of a pass asks for
//! every record, and the map of keys is scattered in memory.

use protocol::types::Offset;

use super::key_map::KeyMap;

/// Beyond this size, when earlier passes have left few records, they are looked up in the map.
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct LastOffsets {
    first: Offset,
    bits: Vec<u8>,
}

impl LastOffsets {
    /// For offsets from `first` on; the map has none before.
    pub(super) fn of(map: &KeyMap, first: Offset) -> Self {
        let bytes = map.end.0.saturating_sub(first.0).checked_div(8).and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.map_or(0, |bytes| bytes.saturating_add(1));
        let mut found = Self { first, bits: vec![0; if bytes <= BYTES_MAX { bytes } else { 0 }] };
        for offset in map.offsets.iter() {
            if let Some((byte, bit)) = found.place(offset)
                && let Some(byte) = found.bits.get_mut(byte)
            {
                *byte |= bit;
            }
        }
        found
    }

    /// `None`: unknown, look it up in the map.
    pub(super) fn contains(&self, offset: Offset) -> Option<bool> {
        let (byte, bit) = self.place(offset)?;
        Some(self.bits.get(byte)? & bit != 0)
    }

    fn place(&self, offset: Offset) -> Option<(usize, u8)> {
        let distance = usize::try_from(offset.0.checked_sub(self.first.0)?).ok()?;
        Some((distance / 8, 1_u8.rotate_left(u32::try_from(distance % 8).ok()?)))
    }
}
