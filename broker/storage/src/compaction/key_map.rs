//! The result of the first half of a pass: the last offset of each key in the part of the log that is new since the
//! last pass, up to where the map was full. Transactional records supersede nothing: they may have been aborted.

use protocol::batch::BatchHeader;
use protocol::records::Records;
use protocol::types::Offset;

use super::key_offsets::KeyOffsets;
use crate::scanner::BatchDefect;

#[derive(Debug)]
pub(super) struct KeyMap {
    pub(super) offsets: KeyOffsets,
    /// Every record before it has been read.
    pub(super) end: Offset,
}

/// Whether there is room for what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    Full,
}

impl KeyMap {
    pub(super) fn new(offsets: KeyOffsets, first_dirty: Offset) -> Self {
        Self { offsets, end: first_dirty }
    }

    /// Passes over a batch that supersedes nothing. Batches come in the order of the log.
    pub(super) fn pass_over(&mut self, header: &BatchHeader) {
        self.end = self.end.max(header.next_offset());
    }

    /// Batches come in the order of the log.
    pub(super) fn add(&mut self, header: &BatchHeader, records: &Records<'_>) -> Result<Room, BatchDefect> {
        for record in records {
            let record = record.map_err(|_| BatchDefect::Records)?;
            let offset = header.base_offset.advance(record.offset_delta.into());
            if offset < self.end {
                continue;
            }
            if record.key.is_some_and(|key| self.offsets.insert(key, offset).is_err()) {
                self.end = offset;
                return Ok(Room::Full);
            }
        }
        self.pass_over(header);
        Ok(Room::Left)
    }
}
