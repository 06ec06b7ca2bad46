//! AlterPartition: leaders propose ISRs to the active controller.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::{AlterPartitionRequest, BrokerId as WireBrokerId, alter_partition_response};
use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};
use tokio::time::Instant;

use super::controller_channel::{ChannelError, ControllerChannel};

const VERSION: i16 = 3;
/// The epoch of a broker that the controller shall look up itself.
const UNKNOWN_EPOCH: i64 = -1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrRequest {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    pub(crate) isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    pub(crate) recovery_state: LeaderRecoveryState,
}

/// The controller's answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IsrAnswer {
    Committed {
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: Vec<BrokerId>,
    },
    /// It was not and will not be carried out.
    Refused {
        error_code: i16,
    },
    /// The controller's state is newer than the one it was to replace.
    Superseded {
        error_code: i16,
    },
    /// It may have been carried out: ask again.
    Unknown {
        error_code: i16,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AlterPartitionError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the controller refuses every change of in-sync replicas with error {0}")]
    Refused(i16),
}

/// The answers are in the order of the requests; `Unknown` if one is missing.
pub(crate) async fn alter_partitions(
    channel: &ControllerChannel,
    (broker, epoch): (BrokerId, BrokerEpoch),
    requests: &[IsrRequest],
    deadline: Instant,
) -> Result<Vec<IsrAnswer>, AlterPartitionError> {
    let topics = requests
        .iter()
        .map(|request| TopicData::default().with_topic_id(request.topic.0).with_partitions(vec![partition(request)]));
    let body = AlterPartitionRequest::default()
        .with_broker_id(WireBrokerId(broker.0))
        .with_broker_epoch(epoch.0)
        .with_topics(topics.collect());
    let response = channel.call(VERSION, &body, deadline).await?;
    if response.error_code != 0 {
        return Err(AlterPartitionError::Refused(response.error_code));
    }
    let find = |request: &IsrRequest| {
        let topics = response.topics.iter().filter(|topic| topic.topic_id == request.topic.0);
        let mut partitions = topics.flat_map(|topic| &topic.partitions);
        partitions.find(|found| found.partition_index == request.partition.0)
    };
    let unknown = IsrAnswer::Unknown { error_code: ResponseError::UnknownServerError.code() };
    Ok(requests.iter().map(|request| find(request).map_or_else(|| unknown.clone(), answer)).collect())
}

fn partition(request: &IsrRequest) -> PartitionData {
    let member = |(broker, epoch): &(BrokerId, Option<BrokerEpoch>)| {
        BrokerState::default()
            .with_broker_id(WireBrokerId(broker.0))
            .with_broker_epoch(epoch.map_or(UNKNOWN_EPOCH, |epoch| epoch.0))
    };
    PartitionData::default()
        .with_partition_index(request.partition.0)
        .with_leader_epoch(request.leader_epoch.0)
        .with_new_isr_with_epochs(request.isr.iter().map(member).collect())
        .with_leader_recovery_state(request.recovery_state as i8)
        .with_partition_epoch(request.partition_epoch.0)
}

fn answer(data: &alter_partition_response::PartitionData) -> IsrAnswer {
    let error_code = data.error_code;
    if error_code == 0 {
        return IsrAnswer::Committed {
            leader_epoch: LeaderEpoch(data.leader_epoch),
            partition_epoch: PartitionEpoch(data.partition_epoch),
            isr: data.isr.iter().map(|broker| BrokerId(broker.0)).collect(),
        };
    }
    match ResponseError::try_from_code(error_code) {
        Some(
            ResponseError::IneligibleReplica | ResponseError::OperationNotAttempted | ResponseError::InvalidRequest,
        ) => IsrAnswer::Refused { error_code },
        Some(
            ResponseError::UnknownTopicOrPartition
            | ResponseError::UnknownTopicId
            | ResponseError::FencedLeaderEpoch
            | ResponseError::InvalidUpdateVersion
            | ResponseError::NewLeaderElected,
        ) => IsrAnswer::Superseded { error_code },
        _ => IsrAnswer::Unknown { error_code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_whether_it_was_carried_out() {
        let table = [
            (ResponseError::IneligibleReplica, "Refused"),
            (ResponseError::OperationNotAttempted, "Refused"),
            (ResponseError::InvalidRequest, "Refused"),
            (ResponseError::UnknownTopicOrPartition, "Superseded"),
            (ResponseError::UnknownTopicId, "Superseded"),
            (ResponseError::FencedLeaderEpoch, "Superseded"),
            (ResponseError::InvalidUpdateVersion, "Superseded"),
            (ResponseError::NewLeaderElected, "Superseded"),
            (ResponseError::NotController, "Unknown"),
            (ResponseError::RequestTimedOut, "Unknown"),
            (ResponseError::UnknownServerError, "Unknown"),
        ];
        for (error, expected) in table {
            let data = alter_partition_response::PartitionData::default().with_error_code(error.code());
            let name = format!("{:?}", answer(&data));
            assert!(name.starts_with(expected), "{error:?}: {name}");
        }
    }
}
