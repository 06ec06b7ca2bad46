//! Decommissioning a broker for good: it gets no new replicas (`cordoned.log.dirs=*`, KIP-1066), and those it has are
//! reassigned. Both are in the metadata, so a change of controller does not interrupt it. Pure.

use std::collections::BTreeMap;

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerId, TopicPartition};

use super::brokers::{BrokerEpochError, registered};
use super::configs;
use super::policy::Policy;
use super::reassignments::{back, move_to};
use crate::metadata::{ConfigResource, Image, PartitionImage};

pub(super) const CORDONED: &str = "cordoned.log.dirs";
const ALL: &str = "*";
/// Kafka's limit of records per request. Repeating the call continues.
const MOVES_MAX: usize = 10_000;

/// Progress of a decommission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decommission {
    pub(crate) broker: BrokerId,
    /// Replicas still on the broker; at 0 it may be unregistered.
    pub(crate) replicas_left: usize,
    /// How many of them are being reassigned.
    pub(crate) moving: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecommissionError {
    #[error(transparent)]
    NotRegistered(#[from] BrokerEpochError),
    #[error("partition {partition} has {replicas} replicas, and without broker {broker} there are {available} brokers")]
    TooFewBrokers { broker: BrokerId, partition: TopicPartition, replicas: usize, available: usize },
    #[error("broker {broker} is not being decommissioned")]
    NotBegun { broker: BrokerId },
}

/// Whether the broker gets no new replicas.
pub(super) fn is_cordoned(image: &Image, broker: BrokerId) -> bool {
    let stored = image.configs.get(&ConfigResource::broker(broker)).and_then(|stored| stored.get(CORDONED));
    stored.is_some_and(|directories| !directories.trim().is_empty())
}

/// Cordons the broker and reassigns every replica that is not yet leaving.
pub(super) fn decommission(policy: &Policy<'_>, broker: BrokerId) -> Result<Vec<MetadataRecord>, DecommissionError> {
    let image = policy.image();
    registered(image, broker)?;
    let mut room = Room::new(image, broker);
    let mut records = Vec::new();
    if !is_cordoned(image, broker) {
        records.push(configs::record(&ConfigResource::broker(broker), CORDONED, Some(ALL.to_owned())));
    }
    let staying = policy.partitions_on(broker).filter(|(_, _, state, _)| !state.removing.contains(&broker));
    for (topic, id, state, _) in staying.take(MOVES_MAX) {
        let Some(target) = room.without(state, broker) else {
            let (replicas, available) = (targets(state).count(), room.replicas.len());
            let partition = TopicPartition { topic: topic.name.clone(), partition: id };
            return Err(DecommissionError::TooFewBrokers { broker, partition, replicas, available });
        };
        records.extend(move_to(policy, (topic, id, state), &target));
    }
    Ok(records)
}

/// `None`: the broker is not being decommissioned.
pub(crate) fn decommission_progress(image: &Image, broker: BrokerId) -> Option<Decommission> {
    if !is_cordoned(image, broker) {
        return None;
    }
    let (mut replicas_left, mut moving) = (0, 0);
    for (_, _, state) in image.partitions().filter(|(_, _, state)| state.replica_on(broker).is_some()) {
        replicas_left += 1;
        moving += usize::from(state.removing.contains(&broker));
    }
    Some(Decommission { broker, replicas_left, moving })
}

/// Cancels the reassignments in progress; finished ones are not undone.
pub(super) fn cancel(policy: &Policy<'_>, broker: BrokerId) -> Result<Vec<MetadataRecord>, DecommissionError> {
    let image = policy.image();
    registered(image, broker)?;
    if !is_cordoned(image, broker) {
        return Err(DecommissionError::NotBegun { broker });
    }
    let mut records = vec![configs::record(&ConfigResource::broker(broker), CORDONED, None)];
    let leaving = policy.partitions_on(broker).filter(|(_, _, state, _)| state.removing.contains(&broker));
    for (topic, id, state, _) in leaving.take(MOVES_MAX) {
        records.extend(back(policy, (topic, id, state)));
    }
    Ok(records)
}

/// The replicas once the reassignment in progress, if any, is finished.
fn targets(partition: &PartitionImage) -> impl Iterator<Item = BrokerId> {
    partition.brokers().filter(|id| !partition.removing.contains(id))
}

/// Brokers that can take replicas, with the number that each has.
struct Room<'a> {
    image: &'a Image,
    replicas: BTreeMap<BrokerId, usize>,
}

impl<'a> Room<'a> {
    fn new(image: &'a Image, leaving: BrokerId) -> Self {
        let takes = |id: &BrokerId| *id != leaving && image.is_active(*id) && !is_cordoned(image, *id);
        let mut replicas: BTreeMap<_, _> = image.brokers.keys().copied().filter(takes).map(|id| (id, 0)).collect();
        for broker in image.partitions().flat_map(|(_, _, partition)| targets(partition)) {
            if let Some(count) = replicas.get_mut(&broker) {
                *count += 1;
            }
        }
        Self { image, replicas }
    }

    /// Replaces the leaving replica by one on a broker with few replicas, preferably in a rack that the others are
    /// not in.
    fn without(&mut self, partition: &PartitionImage, leaving: BrokerId) -> Option<Vec<BrokerId>> {
        let rack = |id: BrokerId| self.image.brokers.get(&id).and_then(|broker| broker.rack.as_deref());
        let current: Vec<_> = targets(partition).collect();
        let is_in_rack = |id: BrokerId| {
            let mut others = current.iter().filter(|other| **other != leaving);
            rack(id).is_some() && others.any(|other| rack(*other) == rack(id))
        };
        let others = self.replicas.iter().filter(|(id, _)| !current.contains(id));
        let (taker, _) = others.min_by_key(|(id, count)| (is_in_rack(**id), **count))?;
        let taker = *taker;
        *self.replicas.entry(taker).or_default() += 1;
        Some(current.into_iter().map(|id| if id == leaving { taker } else { id }).collect())
    }
}

#[cfg(test)]
#[path = "decommission_test.rs"]
mod tests;
