//! Idempotent producers (KIP-98): the last five batches per producer id, so that a retry is answered with the offsets
//! of the first attempt instead of being written again.

use std::collections::{HashMap, VecDeque};

use protocol::batch::BatchHeader;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::bugs::{self, Bug};

/// Batches remembered per producer: as many as Kafka's clients keep in flight.
const BATCHES_MAX: usize = 5;
/// No data since the epoch began.
pub(crate) const NO_SEQUENCE: i32 = -1;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<ProducerId, Producer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: ProducerEpoch,
    /// Oldest first.
    pub(crate) batches: VecDeque<ProducedBatch>,
    pub(crate) last_timestamp: Timestamp,
    /// Epoch of the transaction coordinator that wrote the last marker, −1 without one.
    pub(crate) coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub(crate) transaction_first_offset: Option<Offset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducedBatch {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    /// Last offset − first offset, which is also last sequence − first sequence.
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    InOrder,
    Duplicate(ProducedBatch),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    #[error("producer {producer_id} was fenced: it writes with epoch {}, epoch {} is known", epoch.0, known.0)]
    Fenced { producer_id: ProducerId, epoch: ProducerEpoch, known: ProducerEpoch },
    #[error("producer {producer_id}: sequence {sequence} out of order, expected {expected}")]
    OutOfOrderSequence { producer_id: ProducerId, sequence: i32, expected: i32 },
}

/// A producer as returned by DescribeProducers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// −1: none since the epoch began.
    pub last_sequence: i32,
    pub last_timestamp: Timestamp,
    /// −1: none.
    pub coordinator_epoch: i32,
    pub transaction_first_offset: Option<Offset>,
}

impl ProducedBatch {
    pub(crate) fn first_offset(&self) -> Offset {
        self.last_offset.advance(i64::from(self.offset_delta).saturating_neg())
    }

    fn first_sequence(&self) -> i32 {
        // Sequences are in 0..=i32::MAX, so they wrap modulo 2^31.
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }
}

impl Producers {
    /// Whether a batch without assigned offsets may be written, or is a retry.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<SequenceCheck, ProducerError> {
        let Some(producer) = self.by_id.get(&batch.producer_id).filter(|_| batch.has_producer()) else {
            return Ok(SequenceCheck::InOrder);
        };
        let (producer_id, epoch, known) = (batch.producer_id, batch.producer_epoch, producer.epoch);
        if epoch < known {
            return Err(ProducerError::Fenced { producer_id, epoch, known });
        }
        if batch.attributes.is_control() {
            return Ok(SequenceCheck::InOrder);
        }
        let sequence = batch.base_sequence;
        if epoch == known {
            let last = last_sequence(batch);
            let same = |old: &&ProducedBatch| old.first_sequence() == sequence && old.last_sequence == last;
            let known = producer.batches.iter().rev();
            let known = known.take(if bugs::is_planted(Bug::LastBatchOnly) { 1 } else { BATCHES_MAX });
            if let Some(duplicate) = known.into_iter().find(same) {
                return Ok(SequenceCheck::Duplicate(*duplicate));
            }
        }
        let last = producer.batches.back().filter(|_| epoch == known).map_or(NO_SEQUENCE, |last| last.last_sequence);
        let expected = next_sequence(last);
        if sequence != expected {
            return Err(ProducerError::OutOfOrderSequence { producer_id, sequence, expected });
        }
        Ok(SequenceCheck::InOrder)
    }

    /// Records a batch that is in the log.
    pub(crate) fn record(&mut self, batch: &BatchHeader) {
        if !batch.has_producer() {
            return;
        }
        let producer = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            batches: VecDeque::with_capacity(BATCHES_MAX),
            last_timestamp: batch.max_timestamp,
            coordinator_epoch: -1,
            transaction_first_offset: None,
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.last_timestamp = batch.max_timestamp;
        if batch.attributes.is_control() {
            producer.transaction_first_offset = None;
            return;
        }
        if batch.attributes.is_transactional() {
            producer.transaction_first_offset.get_or_insert(batch.base_offset);
        }
        if producer.batches.len() == BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(ProducedBatch {
            last_sequence: last_sequence(batch),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no open transaction.
    pub(crate) fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction_first_offset.is_some()
                || now.0.saturating_sub(producer.last_timestamp.0) < expiration_ms
        });
    }

    /// End of the oldest remembered batch of each producer.
    pub(crate) fn remembered_from(&self) -> HashMap<ProducerId, Offset> {
        let oldest = |producer: &Producer| producer.batches.front().map(|batch| batch.last_offset);
        self.by_id.iter().filter_map(|(id, producer)| Some((*id, oldest(producer)?))).collect()
    }

    /// First offset of the oldest open transaction.
    pub(crate) fn first_open_offset(&self) -> Option<Offset> {
        self.by_id.values().filter_map(|producer| producer.transaction_first_offset).min()
    }

    /// Restores an entry of a snapshot. Earlier entries of the same producer are of earlier batches.
    pub(crate) fn restore(&mut self, producer_id: ProducerId, producer: Producer) {
        let earlier = self.by_id.remove(&producer_id).filter(|earlier| earlier.epoch == producer.epoch);
        let mut batches = earlier.map(|earlier| earlier.batches).unwrap_or_default();
        batches.extend(producer.batches);
        batches.drain(..batches.len().saturating_sub(BATCHES_MAX));
        self.by_id.insert(producer_id, Producer { batches, ..producer });
    }

    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let producers = self.iter().map(|(producer_id, producer)| ActiveProducer {
            producer_id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(NO_SEQUENCE, |batch| batch.last_sequence),
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_first_offset: producer.transaction_first_offset,
        });
        producers.collect()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }
}

fn last_sequence(batch: &BatchHeader) -> i32 {
    batch.base_sequence.wrapping_add(batch.last_offset_delta) & i32::MAX
}

fn next_sequence(last: i32) -> i32 {
    last.wrapping_add(1) & i32::MAX
}

#[cfg(test)]
#[path = "producers_test.rs"]
mod tests;
