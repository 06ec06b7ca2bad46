//! DescribeProducers (KIP-664): the idempotent producers that a partition remembers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use kafka_protocol::protocol::StrBytes;
use storage::{ActiveProducer, Log};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::is_legal_topic_name;

impl Broker {
    pub(super) fn describe_producers(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeProducersResponse, RequestError> {
        let body: DescribeProducersRequest = request.decode()?;
        let topics = body.topics.into_iter().map(|topic| {
            let partitions =
                topic.partition_indexes.iter().map(|index| self.producers_of(&topic.name, *index)).collect();
            TopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        Ok(DescribeProducersResponse::default().with_topics(topics.collect()))
    }

    fn producers_of(&self, topic: &str, index: i32) -> PartitionResponse {
        let answer = PartitionResponse::default().with_partition_index(index);
        let refused = |error: ResponseError, message: String| {
            answer.clone().with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(message)))
        };
        if !is_legal_topic_name(topic) {
            return refused(ResponseError::InvalidTopicException, format!("{topic:?} cannot be the name of a topic"));
        }
        match self.named_partition(topic, index).map(|partition| partition.with_log(Log::active_producers)) {
            Ok(Ok(producers)) => answer.with_active_producers(producers.iter().map(state).collect()),
            Ok(Err(error)) => refused(error.kafka_error(), error.to_string()),
            Err(error) => refused(error, error.to_string()),
        }
    }
}

fn state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.producer_id.0))
        .with_producer_epoch(producer.epoch.0.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp.0)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.transaction_first_offset.map_or(-1, |offset| offset.0))
}
