//! What several APIs need of topics. Requests name one, or since KIP-516 carry its id.

use kafka_protocol::ResponseError;
use protocol::types::{BrokerId, TopicId};
use uuid::Uuid;

use crate::metadata::{Image, PartitionImage, Replica, TopicImage};

/// `by_id`: the version of the request carries ids instead of names.
pub(super) fn find<'a>(image: &'a Image, name: &str, id: Uuid, by_id: bool) -> Result<&'a TopicImage, ResponseError> {
    let found = if by_id { image.topics.get(&TopicId(id)) } else { image.topic(name) };
    let unknown = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
    found.map(AsRef::as_ref).ok_or(unknown)
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
