//! OffsetDelete (KIP-496).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::types::PartitionId;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn offset_delete(&self, request: &mut Request<'_>) -> Result<OffsetDeleteResponse, RequestError> {
        let body: OffsetDeleteRequest = request.decode()?;
        let image = self.image.load_full();
        let exists = |topic: &str, index: i32| {
            image.topic(topic).is_some_and(|topic| topic.partition(PartitionId(index)).is_some())
        };
        let named = body.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.name.to_string(), partition.partition_index))
        });
        let known = named.filter(|(topic, index)| exists(topic, *index));
        let wanted = known.map(|(topic, index)| (topic, PartitionId(index))).collect();
        let deleted = match request.answer_of(self.groups.delete_offsets(&body.group_id, wanted)).await {
            Ok(deleted) => deleted,
            Err(error) => return Ok(OffsetDeleteResponse::default().with_error_code(error.code())),
        };
        let mut deleted = deleted.into_iter();
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let code = if exists(&topic.name, index) {
                    deleted.next().and_then(Result::err).map_or(0, |error| error.code())
                } else {
                    ResponseError::UnknownTopicOrPartition.code()
                };
                OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic::default().with_partitions(partitions).with_name(topic.name)
        });
        Ok(OffsetDeleteResponse::default().with_topics(topics.collect()))
    }
}
