//! AlterPartitionReassignments (KIP-455): moves a partition to other brokers, or cancels a reassignment in progress.

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId as WireBrokerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::{BrokerId, PartitionId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::{FactorChange, ReassignmentError};

impl Broker {
    pub(super) async fn alter_partition_reassignments(
        &self,
        request: &mut Request<'_>,
    ) -> Result<AlterPartitionReassignmentsResponse, RequestError> {
        let body: AlterPartitionReassignmentsRequest = request.decode()?;
        let brokers = |ids: Vec<WireBrokerId>| ids.into_iter().map(|id| BrokerId(id.0)).collect();
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter();
            let wanted = partitions.map(|wanted| (PartitionId(wanted.partition_index), wanted.replicas.map(brokers)));
            (topic.name.to_string(), wanted.collect())
        });
        let allowed = body.allow_replication_factor_change;
        let factor_change = if allowed { FactorChange::Allowed } else { FactorChange::Refused };
        let response = AlterPartitionReassignmentsResponse::default().with_allow_replication_factor_change(allowed);
        Ok(match self.controller.alter_reassignments(topics.collect(), factor_change).await {
            Ok(results) => {
                let topics = results.into_iter().map(|(topic, partitions)| {
                    ReassignableTopicResponse::default()
                        .with_name(TopicName(StrBytes::from_string(topic)))
                        .with_partitions(partitions.into_iter().map(answer).collect())
                });
                response.with_responses(topics.collect())
            }
            Err(error) => response
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        })
    }
}

fn answer((id, result): (PartitionId, Result<(), ReassignmentError>)) -> ReassignablePartitionResponse {
    let response = ReassignablePartitionResponse::default().with_partition_index(id.0);
    match result {
        Ok(()) => response,
        Err(error) => {
            response.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(error.to_string())))
        }
    }
}
