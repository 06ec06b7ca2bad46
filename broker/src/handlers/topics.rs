//! Shared by APIs about topics. Requests name a topic, or since KIP-516 carry its id.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use protocol::types::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use uuid::Uuid;

use super::Broker;
use crate::metadata::{Image, PartitionImage, Replica, TopicImage};
use crate::replica::{Partition, RequiredAcks};

/// `by_id`: the version of the request has ids instead of names.
pub(super) fn find<'a>(image: &'a Image, name: &str, id: Uuid, by_id: bool) -> Result<&'a TopicImage, ResponseError> {
    let found = if by_id { image.topics.get(&TopicId(id)) } else { image.topic(name) };
    let unknown = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
    found.map(AsRef::as_ref).ok_or(unknown)
}

/// Partitions that a request names more than once, each with its topic's name.
pub(super) fn repeated<'a>(named: impl Iterator<Item = (&'a str, i32)>) -> HashSet<(&'a str, i32)> {
    let mut seen = HashSet::new();
    named.filter(|name| !seen.insert(*name)).collect()
}

/// −1 stands for an unknown epoch.
pub(super) fn known_epoch(epoch: i32) -> Option<LeaderEpoch> {
    (0 <= epoch).then_some(LeaderEpoch(epoch))
}

/// Replicas that clients of this listener cannot reach, or whose volume is gone.
pub(super) fn offline_replicas(
    image: &Image,
    partition: &PartitionImage,
    listener: &str,
) -> impl Iterator<Item = BrokerId> {
    let is_online = move |replica: &&Replica| {
        image.brokers.get(&replica.broker).is_some_and(|broker| {
            !broker.fenced
                && broker.directories.contains(&replica.directory)
                && broker.endpoints.iter().any(|endpoint| endpoint.name == listener)
        })
    };
    partition.replicas.iter().filter(move |replica| !is_online(replica)).map(|replica| replica.broker)
}

/// Whether the controller could elect another leader.
fn has_successor(partition: &PartitionImage, own: BrokerId) -> bool {
    partition.isr.iter().any(|member| *member != own)
}

impl Broker {
    /// As [`Self::hosted`], for writing with these acknowledgements.
    pub(super) fn hosted_for(
        &self,
        topic: &TopicImage,
        index: i32,
        acks: RequiredAcks,
    ) -> Result<Arc<Partition>, ResponseError> {
        let hosted = self.hosted(topic, index)?;
        let waits = acks == RequiredAcks::All;
        if !waits && self.may_be_superseded(topic, index) {
            Err(ResponseError::NotLeaderOrFollower)
        } else {
            Ok(hosted)
        }
    }

    /// A leader whose session no controller has renewed may have been replaced by another member of its ISR. Writes
    /// that wait for those are safe. Others could be lost, and only the new leader knows the log end.
    pub(super) fn may_be_superseded(&self, topic: &TopicImage, index: i32) -> bool {
        let state = topic.partition(PartitionId(index));
        !self.contact.is_alive() && state.is_some_and(|state| has_successor(state, self.config.broker_id))
    }

    /// A partition that this broker hosts. If only others host it the client must go to its leader.
    pub(super) fn hosted(&self, topic: &TopicImage, index: i32) -> Result<Arc<Partition>, ResponseError> {
        let id = PartitionId(index);
        topic.partition(id).ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.replicas.partition(topic.id, id).ok_or(ResponseError::NotLeaderOrFollower)
    }

    /// The partition, and whether another broker may be its leader by now.
    pub(super) fn leader_of(&self, topic: &str, index: i32) -> Result<(Arc<Partition>, bool), ResponseError> {
        let image = self.image.load();
        let topic = find(&image, topic, Uuid::nil(), false)?;
        Ok((self.hosted(topic, index)?, self.may_be_superseded(topic, index)))
    }

    pub(super) fn named_partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ResponseError> {
        let image = self.image.load();
        self.hosted(find(&image, topic, Uuid::nil(), false)?, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{add_topic, cluster};

    #[test]
    fn only_a_leader_with_others_in_its_isr_has_a_successor() {
        let mut image = cluster(3);
        for (replicas, own, expected) in [(&[0, 1, 2][..], 0, true), (&[0], 0, false), (&[1], 0, true)] {
            let id = add_topic(&mut image, &format!("t{replicas:?}"), replicas);
            let partition = image.topics[&id].partition(PartitionId(0)).unwrap();
            assert_eq!(has_successor(partition, BrokerId(own)), expected, "{replicas:?}");
        }
    }
}
