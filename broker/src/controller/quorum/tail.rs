//! The last batches of the log, in memory, so that they are sent to followers and replayed without the disk.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use protocol::types::Offset;

/// Earlier batches are read from the disk.
const BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(in crate::controller) struct Tail {
    /// Contiguous batches.
    batches: VecDeque<TailBatch>,
    bytes: usize,
}

#[derive(Debug)]
struct TailBatch {
    base_offset: Offset,
    next_offset: Offset,
    bytes: Bytes,
}

impl Tail {
    /// Adds the next batch of the log.
    pub(in crate::controller) fn push(&mut self, offsets: Range<Offset>, bytes: Bytes) {
        let expected = self.batches.back().map_or(offsets.start, |last| last.next_offset);
        assert_eq!(offsets.start, expected, "the log has no gaps");
        self.bytes += bytes.len();
        self.batches.push_back(TailBatch { base_offset: offsets.start, next_offset: offsets.end, bytes });
        while BYTES_MAX < self.bytes
            && 1 < self.batches.len()
            && let Some(first) = self.batches.pop_front()
        {
            self.bytes -= first.bytes.len();
        }
    }

    pub(in crate::controller) fn truncate(&mut self, end_offset: Offset) {
        while let Some(last) = self.batches.pop_back_if(|last| end_offset < last.next_offset) {
            self.bytes -= last.bytes.len();
        }
    }

    pub(in crate::controller) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whole batches from the start of the range, which must be a batch's, at most to its end: as many as fit into
    /// `bytes_max`, but at least one. `None`: they are not in memory.
    pub(in crate::controller) fn read(&self, range: &Range<Offset>, bytes_max: usize) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let first = self.batches.partition_point(|batch| batch.base_offset < range.start);
        let mut wanted = self.batches.range(first..).take_while(|batch| batch.next_offset <= range.end).peekable();
        if wanted.peek()?.base_offset != range.start {
            return None;
        }
        let mut read = BytesMut::new();
        for batch in wanted {
            if !read.is_empty() && bytes_max < read.len() + batch.bytes.len() {
                break;
            }
            read.extend_from_slice(&batch.bytes);
        }
        Some(read.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> Tail {
        let mut tail = Tail::default();
        for offset in (10..20).step_by(2) {
            let bytes = vec![u8::try_from(offset).unwrap(); 100];
            tail.push(Offset(offset)..Offset(offset + 2), bytes.into());
        }
        tail
    }

    fn read(tail: &Tail, range: Range<i64>, bytes_max: usize) -> Option<Vec<u8>> {
        let read = tail.read(&(Offset(range.start)..Offset(range.end)), bytes_max)?;
        Some(read.chunks(100).map(|batch| batch[0]).collect())
    }

    #[test]
    fn gives_whole_batches_that_it_has() {
        let table = [
            (10..20, 1000, Some(vec![10, 12, 14, 16, 18])),
            (12..17, 1000, Some(vec![12, 14])),
            (12..20, 250, Some(vec![12, 14])),
            (12..20, 1, Some(vec![12])),
            (20..20, 1000, Some(vec![])),
            (8..20, 1000, None),
            (20..22, 1000, None),
        ];
        for (range, bytes_max, expected) in table {
            assert_eq!(read(&tail(), range.clone(), bytes_max), expected, "{range:?} {bytes_max}");
        }
    }

    #[test]
    fn forgets_what_was_truncated_and_what_is_too_much() {
        let mut truncated = tail();
        truncated.truncate(Offset(14));
        assert_eq!((read(&truncated, 10..20, 1000), truncated.bytes), (Some(vec![10, 12]), 200));
        truncated.push(Offset(14)..Offset(15), vec![1; BYTES_MAX].into());
        assert_eq!(truncated.batches.len(), 1, "the last one stays however large it is");
        assert_eq!(truncated.bytes, BYTES_MAX);
    }
}
