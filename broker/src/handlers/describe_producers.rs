//! DescribeProducers (KIP-664): the idempotent producers that a partition remembers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use kafka_protocol::protocol::StrBytes;
use storage::{ActiveProducer, Log};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError, topics};
use crate::controller::is_legal_topic_name;

impl Broker {
    pub(super) fn describe_producers(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeProducersResponse, RequestError> {
        let body: DescribeProducersRequest = request.decode()?;
        let named = body.topics.iter().flat_map(|topic| {
            let name = topic.name.as_str();
            topic.partition_indexes.iter().map(move |index| (name, *index))
        });
        let repeated = topics::repeated(named);
        let topics = body.topics.iter().map(|topic| {
            let partitions =
                topic.partition_indexes.iter().map(|index| match repeated.get(&(topic.name.as_str(), *index)) {
                    Some(_) => {
                        refused(*index, ResponseError::InvalidRequest, "the partition is in the request more than once")
                    }
                    None => self.producers_of(&topic.name, *index),
                });
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        Ok(DescribeProducersResponse::default().with_topics(topics.collect()))
    }

    fn producers_of(&self, topic: &str, index: i32) -> PartitionResponse {
        if !is_legal_topic_name(topic) {
            return refused(index, ResponseError::InvalidTopicException, "no topic can have this name");
        }
        match self.named_partition(topic, index).map(|partition| partition.with_log(Log::active_producers)) {
            Ok(Ok(producers)) => PartitionResponse::default()
                .with_partition_index(index)
                .with_active_producers(producers.iter().map(state).collect()),
            Ok(Err(error)) => refused(index, error.kafka_error(), &error.to_string()),
            Err(error) => refused(index, error, &error.to_string()),
        }
    }
}

fn refused(index: i32, error: ResponseError, message: &str) -> PartitionResponse {
    PartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message.to_owned())))
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
