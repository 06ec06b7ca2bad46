//! ListPartitionReassignments (KIP-455): the reassignments in progress, by the committed metadata.

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId as WireBrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::{BrokerId, PartitionId};

use super::{Broker, Request, RequestError};
use crate::metadata::{PartitionImage, TopicImage};

impl Broker {
    pub(super) fn list_partition_reassignments(
        &self,
        request: &mut Request<'_>,
    ) -> Result<ListPartitionReassignmentsResponse, RequestError> {
        let body: ListPartitionReassignmentsRequest = request.decode()?;
        let image = self.image.load();
        let topics: Vec<_> = match body.topics {
            None => image.topics.values().filter_map(|topic| ongoing(topic, topic.partitions())).collect(),
            Some(wanted) => wanted
                .iter()
                .filter_map(|wanted| {
                    let topic = image.topic(&wanted.name)?;
                    let ids = wanted.partition_indexes.iter().copied().map(PartitionId);
                    ongoing(topic, ids.filter_map(|id| Some((id, topic.partition(id)?))))
                })
                .collect(),
        };
        Ok(ListPartitionReassignmentsResponse::default().with_topics(topics))
    }
}

/// `None`: none of these partitions is being reassigned.
fn ongoing<'a>(
    topic: &TopicImage,
    partitions: impl Iterator<Item = (PartitionId, &'a PartitionImage)>,
) -> Option<OngoingTopicReassignment> {
    let wire = |brokers: &[BrokerId]| brokers.iter().map(|broker| WireBrokerId(broker.0)).collect();
    let reassigning = partitions.filter(|(_, partition)| partition.is_reassigning()).map(|(id, partition)| {
        OngoingPartitionReassignment::default()
            .with_partition_index(id.0)
            .with_replicas(partition.brokers().map(|broker| WireBrokerId(broker.0)).collect())
            .with_adding_replicas(wire(&partition.adding))
            .with_removing_replicas(wire(&partition.removing))
    });
    let partitions: Vec<_> = reassigning.collect();
    let name = TopicName(StrBytes::from_string(topic.name.clone()));
    (!partitions.is_empty()).then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(partitions))
}
