//! CreatePartitions: answered once the controller has committed the partitions and this broker serves them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::BrokerId;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::PartitionsSpec;

impl Broker {
    pub(super) async fn create_partitions(
        &self,
        request: &mut Request<'_>,
    ) -> Result<CreatePartitionsResponse, RequestError> {
        let body: CreatePartitionsRequest = request.decode()?;
        let specs: Vec<_> = body.topics.iter().map(spec).collect();
        let results = match self.controller.create_partitions(specs, body.validate_only).await {
            Ok(results) => results
                .into_iter()
                .map(|(topic, result)| {
                    let error = result.err().map(|error| (error.kafka_error(), error.to_string()));
                    answer(TopicName(StrBytes::from_string(topic)), error)
                })
                .collect(),
            Err(error) => {
                let failed =
                    |topic: CreatePartitionsTopic| answer(topic.name, Some((error.kafka_error(), error.to_string())));
                body.topics.into_iter().map(failed).collect()
            }
        };
        Ok(CreatePartitionsResponse::default().with_results(results))
    }
}

fn spec(topic: &CreatePartitionsTopic) -> PartitionsSpec {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        assignments.iter().map(|given| given.broker_ids.iter().map(|id| BrokerId(id.0)).collect()).collect()
    });
    PartitionsSpec { topic: topic.name.to_string(), count: topic.count, assignments }
}

fn answer(name: TopicName, error: Option<(ResponseError, String)>) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(name);
    match error {
        None => result,
        Some((error, message)) => {
            result.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(message)))
        }
    }
}
