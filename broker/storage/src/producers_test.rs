use protocol::batch::{Attributes, MAGIC};
use protocol::types::LeaderEpoch;

use super::*;

fn batch(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base_offset),
        batch_length: 49,
        leader_epoch: LeaderEpoch(0),
        magic: MAGIC,
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: count - 1,
        base_timestamp: Timestamp(base_offset),
        max_timestamp: Timestamp(base_offset),
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        records_count: count,
    }
}

fn producers(batches: &[BatchHeader]) -> Producers {
    let mut producers = Producers::default();
    for batch in batches {
        producers.record(batch);
    }
    producers
}

#[derive(Debug, PartialEq)]
enum Expected {
    Written,
    Duplicate { first: i64, last: i64 },
    Fenced,
    OutOfOrder { expected: i32 },
}

fn check(producers: &Producers, epoch: i16, sequence: i32, count: i32, expected: &Expected) {
    let found = match producers.check(&batch(epoch, sequence, count, 0)) {
        Ok(SequenceCheck::InOrder) => Expected::Written,
        Ok(SequenceCheck::Duplicate(old)) => {
            Expected::Duplicate { first: old.first_offset().0, last: old.last_offset.0 }
        }
        Err(ProducerError::Fenced { .. }) => Expected::Fenced,
        Err(ProducerError::OutOfOrderSequence { expected, .. }) => Expected::OutOfOrder { expected },
    };
    assert_eq!(found, *expected, "epoch {epoch}, sequence {sequence}, {count} records");
}

#[test]
fn sequences_follow_each_other_and_a_retry_gets_its_first_offsets() {
    let six: Vec<_> = (0..6).map(|index| batch(1, index * 10, 10, 100 + i64::from(index) * 10)).collect();
    let known = producers(&six);
    check(&known, 1, 60, 5, &Expected::Written);
    check(&known, 1, 61, 5, &Expected::OutOfOrder { expected: 60 });
    check(&known, 1, 0, 10, &Expected::OutOfOrder { expected: 60 }); // the sixth last is forgotten
    check(&known, 1, 10, 10, &Expected::Duplicate { first: 110, last: 119 });
    check(&known, 1, 50, 10, &Expected::Duplicate { first: 150, last: 159 });
    check(&known, 1, 50, 9, &Expected::OutOfOrder { expected: 60 }); // not the same batch
    check(&known, 0, 60, 1, &Expected::Fenced);
    check(&known, 2, 0, 1, &Expected::Written);
    check(&known, 2, 60, 1, &Expected::OutOfOrder { expected: 0 });
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    check(&producers(&[]), 3, 1234, 1, &Expected::Written);
}

#[test]
fn sequences_wrap_after_the_highest() {
    let known = producers(&[batch(0, i32::MAX - 1, 4, 50)]);
    check(&known, 0, i32::MAX - 1, 4, &Expected::Duplicate { first: 50, last: 53 });
    check(&known, 0, 2, 1, &Expected::Written);
    check(&producers(&[batch(0, i32::MAX, 1, 0)]), 0, 0, 1, &Expected::Written);
}

#[test]
fn a_new_epoch_forgets_the_batches_of_the_old_one() {
    let known = producers(&[batch(1, 0, 10, 100), batch(2, 0, 1, 110)]);
    check(&known, 2, 0, 10, &Expected::OutOfOrder { expected: 1 });
    check(&known, 1, 10, 1, &Expected::Fenced);
}

#[test]
fn a_marker_ends_the_transaction_and_keeps_the_sequence() {
    let transactional = BatchHeader { attributes: Attributes(1 << 4), ..batch(1, 0, 10, 100) };
    let marker = BatchHeader { attributes: Attributes(1 << 4).with_control(), ..batch(1, -1, 1, 110) };
    let open = producers(&[transactional]);
    assert_eq!(open.by_id[&ProducerId(7)].transaction_first_offset, Some(Offset(100)));
    let ended = producers(&[transactional, marker]);
    assert_eq!(ended.by_id[&ProducerId(7)].transaction_first_offset, None);
    check(&ended, 1, 10, 1, &Expected::Written);
}

#[test]
fn idle_producers_expire() {
    let mut known = producers(&[batch(1, 0, 1, 1000)]);
    known.expire(Timestamp(1499), 500);
    check(&known, 1, 5, 1, &Expected::OutOfOrder { expected: 1 });
    known.expire(Timestamp(1500), 500);
    check(&known, 1, 5, 1, &Expected::Written);
}
