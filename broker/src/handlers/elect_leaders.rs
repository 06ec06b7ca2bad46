//! ElectLeaders (KIP-460): elects preferred leaders, or uncleanly any replica of a leaderless partition.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::PartitionId;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::Election;

/// First version with an error for the whole request.
const VERSION_WITH_ERROR: i16 = 1;

impl Broker {
    pub(super) async fn elect_leaders(&self, request: &mut Request<'_>) -> Result<ElectLeadersResponse, RequestError> {
        let body: ElectLeadersRequest = request.decode()?;
        let wanted = body.topic_partitions.map(|topics| {
            let ids = |partitions: Vec<i32>| partitions.into_iter().map(PartitionId).collect();
            topics.into_iter().map(|topic| (topic.topic.to_string(), ids(topic.partitions))).collect::<Vec<_>>()
        });
        let election = match body.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            other => {
                let message = format!("election type {other}: 0 is preferred, 1 is unclean");
                return Ok(refused(wanted, ResponseError::InvalidRequest, &message, request.version));
            }
        };
        match self.controller.elect_leaders(election, wanted.clone()).await {
            Ok(results) => {
                let topics = results.into_iter().map(|(topic, partitions)| {
                    let elected = partitions.into_iter().map(|(id, result)| match result {
                        Ok(()) => PartitionResult::default().with_partition_id(id.0),
                        Err(error) => failed(id, error.kafka_error(), &error.to_string()),
                    });
                    topic_result(topic, elected)
                });
                Ok(ElectLeadersResponse::default().with_replica_election_results(topics.collect()))
            }
            Err(error) => Ok(refused(wanted, error.kafka_error(), &error.to_string(), request.version)),
        }
    }
}

fn refused(
    wanted: Option<Vec<(String, Vec<PartitionId>)>>,
    error: ResponseError,
    message: &str,
    version: i16,
) -> ElectLeadersResponse {
    let topics = wanted
        .into_iter()
        .flatten()
        .map(|(topic, partitions)| topic_result(topic, partitions.into_iter().map(|id| failed(id, error, message))));
    ElectLeadersResponse::default()
        .with_error_code(if version < VERSION_WITH_ERROR { 0 } else { error.code() })
        .with_replica_election_results(topics.collect())
}

fn topic_result(topic: String, partitions: impl Iterator<Item = PartitionResult>) -> ReplicaElectionResult {
    ReplicaElectionResult::default()
        .with_topic(TopicName(StrBytes::from_string(topic)))
        .with_partition_result(partitions.collect())
}

fn failed(id: PartitionId, error: ResponseError, message: &str) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(id.0)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message.to_owned())))
}
