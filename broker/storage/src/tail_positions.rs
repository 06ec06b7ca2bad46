//! Positions of the last batches of a log, in memory: the high watermark advances to one of them, and should not need
//! the file for that.

use std::collections::VecDeque;

use protocol::types::Offset;

use crate::log::LogPosition;

const POSITIONS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct TailPositions {
    /// Positions of batches, in the order of the log.
    positions: VecDeque<LogPosition>,
}

impl TailPositions {
    pub(crate) fn push(&mut self, position: LogPosition) {
        if self.positions.len() == POSITIONS_MAX {
            self.positions.pop_front();
        }
        self.positions.push_back(position);
    }

    /// The position of the batch that begins at `offset`.
    pub(crate) fn find(&self, offset: Offset) -> Option<LogPosition> {
        let index = self.positions.binary_search_by_key(&offset, |position| position.offset).ok()?;
        self.positions.get(index).copied()
    }

    /// Segments before `base` were replaced.
    pub(crate) fn forget_before(&mut self, base: Offset) {
        self.positions.drain(..self.positions.partition_point(|position| position.segment_base < base));
    }

    pub(crate) fn truncate(&mut self, end: Offset) {
        self.positions.truncate(self.positions.partition_point(|position| position.offset < end));
    }
}
