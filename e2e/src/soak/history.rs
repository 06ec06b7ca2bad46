//! What producers and readers have seen of one partition, and its invariants: acknowledged records stay, at their
//! offsets; the value at an offset never changes; the high watermark never decreases, and no answer about the end is
//! below what was acknowledged; an idempotent producer's records exist once and in order; a reader gets every record,
//! in order. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const HEAD_BYTES: usize = 12;
/// Values are between the head and this much longer.
const FILLER_BYTES_MAX: usize = 1500;

/// A record that names its producer, and its number among that producer's records for the partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub producer: u32,
    pub number: u64,
}

impl Record {
    /// Different for every record, to the last byte.
    pub fn value(self) -> Vec<u8> {
        let mut state = self.number << 8 | u64::from(self.producer) << 1 | 1;
        let filler = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()
        });
        let length = usize::try_from(self.number * 37).unwrap_or_default() % FILLER_BYTES_MAX;
        let mut value = [&self.producer.to_be_bytes()[..], &self.number.to_be_bytes()].concat();
        value.extend(filler.flatten().take(length));
        value
    }

    /// `None`: no producer has sent this.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (producer, rest) = value.split_first_chunk()?;
        let record = Self { producer: u32::from_be_bytes(*producer), number: u64::from_be_bytes(*rest.first_chunk()?) };
        debug_assert!(HEAD_BYTES <= value.len(), "both numbers were there");
        (record.value() == value).then_some(record)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("offset {offset} held {before:?} and now holds {now:?}")]
    Changed { offset: i64, before: Record, now: Record },
    #[error("the high watermark was {before} and is now {now}")]
    WentBack { before: i64, now: i64 },
    #[error("{record:?} was acknowledged at offset {offset}, which holds {found:?}")]
    Lost { offset: i64, record: Record, found: Option<Record> },
    #[error("nothing is at offset {offset}, below the end {end}")]
    Gap { offset: i64, end: i64 },
    #[error("producer {producer} sent {sent} records, all acknowledged, but record {number} is not there")]
    Missing { producer: u32, sent: u64, number: u64 },
    #[error("{record:?} of an idempotent producer is at offset {first} and again at {second}")]
    Duplicate { record: Record, first: i64, second: i64 },
    #[error("offset {offset}: {found:?} in place of record {expected} of its idempotent producer")]
    OutOfOrder { offset: i64, found: Record, expected: u64 },
    #[error("a reader got offset {offset} after {expected} was due")]
    Skipped { offset: i64, expected: i64 },
    #[error("a reader got offset {offset} once more when {expected} was due")]
    Repeated { offset: i64, expected: i64 },
}

/// Whether a producer may write duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

/// The position of a reader that was assigned the partition, and gets every record.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    next: i64,
}

impl Position {
    pub const fn at(offset: i64) -> Self {
        Self { next: offset }
    }

    pub fn advance(&mut self, offset: i64) -> Result<(), Violation> {
        let expected = self.next;
        self.next = offset + 1;
        match offset.cmp(&expected) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Violation::Skipped { offset, expected }),
            Ordering::Less => Err(Violation::Repeated { offset, expected }),
        }
    }
}

#[derive(Debug, Default)]
pub struct History {
    read: BTreeMap<i64, Record>,
    acknowledged: BTreeMap<i64, Record>,
    /// By producer.
    sent: BTreeMap<u32, u64>,
    high_watermark: i64,
}

impl History {
    /// The next record that a producer sends.
    pub fn send(&mut self, producer: u32) -> Record {
        let sent = self.sent.entry(producer).or_default();
        let record = Record { producer, number: *sent };
        *sent += 1;
        record
    }

    pub fn acknowledge(&mut self, offset: i64, record: Record) -> Result<(), Violation> {
        match self.acknowledged.insert(offset, record) {
            Some(before) if before != record => return Err(Violation::Changed { offset, before, now: record }),
            _ => self.high_watermark = self.high_watermark.max(offset + 1),
        }
        Ok(())
    }

    pub fn read(&mut self, offset: i64, record: Record) -> Result<(), Violation> {
        match self.read.insert(offset, record) {
            Some(before) if before != record => return Err(Violation::Changed { offset, before, now: record }),
            _ => self.high_watermark = self.high_watermark.max(offset + 1),
        }
        Ok(())
    }

    /// An answer, and the high watermark known when the request was sent.
    pub fn see_high_watermark(&mut self, before: i64, now: i64) -> Result<(), Violation> {
        if now < before {
            return Err(Violation::WentBack { before, now });
        }
        self.high_watermark = self.high_watermark.max(now);
        Ok(())
    }

    /// No answer may be below it, because a broker has reported it, or has acknowledged or served the record before
    /// it.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Records acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Called once everything sent is acknowledged, and has been read up to the high watermark.
    pub fn conclude(&self, delivery: Delivery) -> Result<(), Violation> {
        let end = self.high_watermark;
        if let Some(offset) = (0..end).find(|offset| !self.read.contains_key(offset)) {
            return Err(Violation::Gap { offset, end });
        }
        for (&offset, &record) in &self.acknowledged {
            let found = self.read.get(&offset).copied();
            if found != Some(record) {
                return Err(Violation::Lost { offset, record, found });
            }
        }
        match delivery {
            Delivery::ExactlyOnce => self.check_order(),
            Delivery::AtLeastOnce => Ok(()),
        }?;
        self.check_presence()
    }

    fn check_order(&self) -> Result<(), Violation> {
        // The offsets of each producer's records, which are numbered from 0 on.
        let mut offsets: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for (&offset, &found) in &self.read {
            let offsets = offsets.entry(found.producer).or_default();
            let expected = u64::try_from(offsets.len()).unwrap_or(u64::MAX);
            if found.number != expected {
                let before = usize::try_from(found.number).ok().and_then(|number| offsets.get(number));
                return Err(match before {
                    Some(&first) => Violation::Duplicate { record: found, first, second: offset },
                    None => Violation::OutOfOrder { offset, found, expected },
                });
            }
            offsets.push(offset);
        }
        Ok(())
    }

    fn check_presence(&self) -> Result<(), Violation> {
        for (&producer, &sent) in &self.sent {
            let numbers = self.read.values().filter(|record| record.producer == producer).map(|record| record.number);
            let there: BTreeSet<u64> = numbers.collect();
            if let Some(number) = (0..sent).find(|number| !there.contains(number)) {
                return Err(Violation::Missing { producer, sent, number });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_record_and_no_other_bytes_do() {
        for number in [0, 1, 39, 40, 1_000_000] {
            let record = Record { producer: 7, number };
            let value = record.value();
            assert_eq!(Record::parse(&value), Some(record));
            for position in [0, HEAD_BYTES - 1, value.len() - 1] {
                let mut other = value.clone();
                other[position] ^= 1;
                assert_ne!(Record::parse(&other), Some(record));
            }
            assert_eq!(Record::parse(&value[..value.len() - 1]), None);
        }
    }

    /// Records 0, 1 and 2 of producer 1, sent, acknowledged and read at the offsets of the same number.
    fn sound() -> History {
        let mut history = History::default();
        for offset in 0..3 {
            let record = history.send(1);
            history.acknowledge(offset, record).unwrap();
            history.read(offset, record).unwrap();
        }
        assert_eq!(history.high_watermark(), 3, "as far as records were served");
        history
    }

    const fn record(number: u64) -> Record {
        Record { producer: 1, number }
    }

    #[test]
    fn what_may_not_happen_is_named() {
        assert_eq!(sound().conclude(Delivery::ExactlyOnce), Ok(()));
        let changed = Violation::Changed { offset: 1, before: record(1), now: record(2) };
        assert_eq!(sound().read(1, record(2)), Err(changed));
        assert_eq!(sound().see_high_watermark(3, 2), Err(Violation::WentBack { before: 3, now: 2 }));

        // What a replica that was behind and became leader would do.
        let mut truncated = sound();
        truncated.read.remove(&2);
        truncated.high_watermark = 2;
        let lost = Violation::Lost { offset: 2, record: record(2), found: None };
        assert_eq!(truncated.conclude(Delivery::ExactlyOnce), Err(lost));

        let mut gap = sound();
        gap.read.remove(&1);
        assert_eq!(gap.conclude(Delivery::AtLeastOnce), Err(Violation::Gap { offset: 1, end: 3 }));

        let mut missing = sound();
        missing.send(1);
        let violation = Violation::Missing { producer: 1, sent: 4, number: 3 };
        assert_eq!(missing.conclude(Delivery::AtLeastOnce), Err(violation));
    }

    #[test]
    fn only_idempotent_producers_must_not_repeat_themselves() {
        let mut repeated = sound();
        repeated.read(3, record(1)).unwrap();
        assert_eq!(repeated.conclude(Delivery::AtLeastOnce), Ok(()));
        let violation = Violation::Duplicate { record: record(1), first: 1, second: 3 };
        assert_eq!(repeated.conclude(Delivery::ExactlyOnce), Err(violation));

        let mut swapped = History::default();
        let sent = [swapped.send(1), swapped.send(1)];
        for (offset, record) in [(0, sent[1]), (1, sent[0])] {
            swapped.acknowledge(offset, record).unwrap();
            swapped.read(offset, record).unwrap();
        }
        assert_eq!(swapped.conclude(Delivery::AtLeastOnce), Ok(()));
        let violation = Violation::OutOfOrder { offset: 0, found: record(1), expected: 0 };
        assert_eq!(swapped.conclude(Delivery::ExactlyOnce), Err(violation));
    }

    #[test]
    fn the_end_is_never_told_below_what_was_acknowledged() {
        let mut history = History::default();
        let record = history.send(1);
        history.acknowledge(0, record).unwrap();
        let asked_at = history.high_watermark();
        assert_eq!(history.see_high_watermark(asked_at, 0), Err(Violation::WentBack { before: 1, now: 0 }));
        assert_eq!(history.see_high_watermark(asked_at, 1), Ok(()));
    }

    #[test]
    fn acknowledgements_of_two_records_at_one_offset_are_found() {
        let mut history = sound();
        let other = history.send(1);
        let changed = Violation::Changed { offset: 2, before: record(2), now: other };
        assert_eq!(history.acknowledge(2, other), Err(changed));
    }

    #[test]
    fn a_reader_gets_every_record_in_order() {
        let mut position = Position::at(5);
        assert_eq!([5, 6].map(|offset| position.advance(offset)), [Ok(()), Ok(())]);
        assert_eq!(position.advance(8), Err(Violation::Skipped { offset: 8, expected: 7 }));
        assert_eq!(position.advance(8), Err(Violation::Repeated { offset: 8, expected: 9 }));
    }
}
