//! AlterPartition (KIP-497): a leader proposes an ISR.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_request::PartitionData as Proposed;
use kafka_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId as WireBrokerId};
use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::{AlterPartition, AlterPartitionError, AlteredPartition, ProposedIsr};

impl Broker {
    pub(super) async fn alter_partition(
        &self,
        request: &mut Request<'_>,
    ) -> Result<AlterPartitionResponse, RequestError> {
        let body: AlterPartitionRequest = request.decode()?;
        let topics = body.topics.into_iter().map(|topic| {
            let partitions: Option<Vec<_>> = topic.partitions.iter().map(proposed).collect();
            partitions.map(|partitions| (TopicId(topic.topic_id), partitions))
        });
        let refused = |code: i16| AlterPartitionResponse::default().with_error_code(code);
        let Some(topics) = topics.collect() else { return Ok(refused(ResponseError::InvalidRequest.code())) };
        let wanted =
            AlterPartition { broker: BrokerId(body.broker_id.0), epoch: BrokerEpoch(body.broker_epoch), topics };
        Ok(match self.controller.alter_partition(wanted).await {
            Ok(Ok(altered)) => {
                let topics = altered.into_iter().map(|(topic, partitions)| {
                    let partitions = partitions.into_iter().map(answer).collect();
                    TopicData::default().with_topic_id(topic.0).with_partitions(partitions)
                });
                AlterPartitionResponse::default().with_topics(topics.collect())
            }
            Ok(Err(error)) => refused(error.code()),
            Err(error) => refused(error.code()),
        })
    }
}

/// `None`: there is no such recovery state.
fn proposed(data: &Proposed) -> Option<ProposedIsr> {
    let members = data.new_isr_with_epochs.iter();
    Some(ProposedIsr {
        partition: PartitionId(data.partition_index),
        leader_epoch: LeaderEpoch(data.leader_epoch),
        partition_epoch: PartitionEpoch(data.partition_epoch),
        recovery_state: match data.leader_recovery_state {
            0 => LeaderRecoveryState::Recovered,
            1 => LeaderRecoveryState::Recovering,
            _ => return None,
        },
        isr: members.map(|member| (BrokerId(member.broker_id.0), BrokerEpoch(member.broker_epoch))).collect(),
    })
}

fn answer((id, altered): (PartitionId, Result<AlteredPartition, AlterPartitionError>)) -> PartitionData {
    let response = PartitionData::default().with_partition_index(id.0);
    match altered {
        Ok(altered) => response
            .with_leader_id(WireBrokerId(altered.leader.0))
            .with_leader_epoch(altered.leader_epoch.0)
            .with_isr(altered.isr.into_iter().map(|member| WireBrokerId(member.0)).collect())
            .with_leader_recovery_state(altered.recovery_state as i8)
            .with_partition_epoch(altered.partition_epoch.0),
        Err(error) => response.with_error_code(error.code()),
    }
}
