//! Fetch as a follower sends it: with its broker epoch (KIP-903), its volume, and how far it knows the log to be
//! committed, so that the leader tells at once when it is further.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId as WireBrokerId, FetchRequest};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionId, TopicId};
use tokio::time::Instant;

use super::connection::Connection;
use super::error::PeerError;

const VERSION: i16 = 18;
/// Without a session (KIP-227).
const NO_SESSION: i32 = -1;

#[derive(Debug, Clone)]
pub(crate) struct ReplicaFetch {
    pub(crate) broker: BrokerId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) directory: DirectoryId,
    /// How long the leader may hold it back.
    pub(crate) wait_max: Duration,
    pub(crate) bytes_min: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    pub(crate) positions: Vec<ReplicaPosition>,
}

/// Where a follower reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplicaPosition {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) offset: Offset,
    /// Of the last record.
    pub(crate) last_epoch: Option<LeaderEpoch>,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
}

/// What the leader says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaAnswer {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) outcome: FetchOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    Read { records: Bytes, high_watermark: Offset, log_start: Offset },
    Diverged { epoch: LeaderEpoch, end: Offset },
    OutOfRange { log_start: Offset },
    Fenced,
    Failed { error_code: i16 },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaFetchError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the leader refuses the whole fetch with error {0}")]
    Refused(i16),
}

/// Records are slices of the answer's frame.
pub(crate) async fn fetch_replicas(
    connection: &Connection,
    fetch: &ReplicaFetch,
    deadline: Instant,
) -> Result<Vec<ReplicaAnswer>, ReplicaFetchError> {
    let response = connection.call(VERSION, &request(fetch), deadline).await?;
    if response.error_code != 0 {
        return Err(ReplicaFetchError::Refused(response.error_code));
    }
    let answers = response.responses.into_iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        topic.partitions.into_iter().map(move |data| ReplicaAnswer {
            topic: id,
            partition: PartitionId(data.partition_index),
            outcome: outcome(data),
        })
    });
    Ok(answers.collect())
}

/// Partitions keep their order: the leader fills its answer with the first ones.
fn request(fetch: &ReplicaFetch) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for position in &fetch.positions {
        let partition = FetchPartition::default()
            .with_partition(position.partition.0)
            .with_current_leader_epoch(position.leader_epoch.0)
            .with_fetch_offset(position.offset.0)
            .with_last_fetched_epoch(position.last_epoch.map_or(-1, |epoch| epoch.0))
            .with_log_start_offset(position.log_start.0)
            .with_partition_max_bytes(fetch.partition_bytes_max)
            .with_replica_directory_id(fetch.directory.0)
            .with_high_watermark(position.high_watermark.0);
        match topics.last_mut().filter(|topic| topic.topic_id == position.topic.0) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(FetchTopic::default().with_topic_id(position.topic.0).with_partitions(vec![partition]));
            }
        }
    }
    let replica =
        ReplicaState::default().with_replica_id(WireBrokerId(fetch.broker.0)).with_replica_epoch(fetch.broker_epoch.0);
    FetchRequest::default()
        .with_replica_state(replica)
        .with_max_wait_ms(i32::try_from(fetch.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(fetch.bytes_min)
        .with_max_bytes(fetch.bytes_max)
        .with_session_epoch(NO_SESSION)
        .with_topics(topics)
}

fn outcome(data: PartitionData) -> FetchOutcome {
    match ResponseError::try_from_code(data.error_code) {
        None if data.error_code == 0 && 0 <= data.diverging_epoch.end_offset => FetchOutcome::Diverged {
            epoch: LeaderEpoch(data.diverging_epoch.epoch),
            end: Offset(data.diverging_epoch.end_offset),
        },
        None if data.error_code == 0 => FetchOutcome::Read {
            records: data.records.unwrap_or_default(),
            high_watermark: Offset(data.high_watermark),
            log_start: Offset(data.log_start_offset),
        },
        Some(ResponseError::OffsetOutOfRange) => FetchOutcome::OutOfRange { log_start: Offset(data.log_start_offset) },
        Some(ResponseError::FencedLeaderEpoch) => FetchOutcome::Fenced,
        _ => FetchOutcome::Failed { error_code: data.error_code },
    }
}
