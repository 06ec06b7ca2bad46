//! Requests name a topic, or since KIP-516 carry its id.

use kafka_protocol::ResponseError;
use protocol::types::TopicId;
use uuid::Uuid;

use crate::metadata::{Image, TopicImage};

/// `by_id`: the version of the request carries ids instead of names.
pub(super) fn find<'a>(image: &'a Image, name: &str, id: Uuid, by_id: bool) -> Result<&'a TopicImage, ResponseError> {
    let found = if by_id { image.topics.get(&TopicId(id)) } else { image.topic(name) };
    let unknown = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
    found.map(AsRef::as_ref).ok_or(unknown)
}
