//! Fetch as sent by a follower: with its broker epoch (KIP-903), its directory id, and the high watermark it knows,
//! so that the leader answers at once when it has advanced.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId as WireBrokerId, FetchRequest};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionId, TopicId};
use tokio::time::Instant;

use super::connection::Connection;
use super::error::PeerError;

const VERSION: i16 = 18;

pub(crate) type ReplicaKey = (TopicId, PartitionId);

/// The id of a fetch session (KIP-227), given by the leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FetchSessionId(pub(crate) i32);

impl FetchSessionId {
    pub(crate) const NONE: Self = Self(0);
}

/// What a request changes in the session, and its session epoch.
#[derive(Debug, Clone)]
pub(crate) struct FetchChanges {
    pub(crate) session: (FetchSessionId, i32),
    pub(crate) positions: Vec<ReplicaPosition>,
    pub(crate) forgotten: Vec<ReplicaKey>,
}

#[derive(Debug, Clone)]
pub(crate) struct ReplicaFetch {
    pub(crate) broker: BrokerId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) directory: DirectoryId,
    /// How long the leader may hold back the answer.
    pub(crate) wait_max: Duration,
    pub(crate) bytes_min: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    pub(crate) changes: FetchChanges,
}

/// A follower's position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplicaPosition {
    pub(crate) key: ReplicaKey,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) offset: Offset,
    /// The epoch of the last record.
    pub(crate) last_epoch: Option<LeaderEpoch>,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
}

/// The leader's answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaAnswer {
    pub(crate) key: ReplicaKey,
    pub(crate) outcome: FetchOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    Read {
        records: Bytes,
        high_watermark: Offset,
        log_start: Offset,
    },
    Diverged {
        epoch: LeaderEpoch,
        end: Offset,
    },
    OutOfRange {
        log_start: Offset,
    },
    Fenced,
    /// The leader does not accept followers on this listener.
    Denied,
    Failed {
        error_code: i16,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaFetchError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the leader does not know the fetch session, or not at that epoch: error {0}")]
    UnknownSession(i16),
    #[error("the leader refuses the whole fetch with error {0}")]
    Refused(i16),
}

/// Returns the session to continue, and the partitions with news. Records are slices of the answer's frame.
pub(crate) async fn fetch_replicas(
    connection: &Connection,
    fetch: &ReplicaFetch,
    deadline: Instant,
) -> Result<(FetchSessionId, Vec<ReplicaAnswer>), ReplicaFetchError> {
    let response = connection.call(VERSION, &request(fetch), deadline).await?;
    match ResponseError::try_from_code(response.error_code) {
        None => {}
        Some(
            ResponseError::FetchSessionIdNotFound
            | ResponseError::InvalidFetchSessionEpoch
            | ResponseError::FetchSessionTopicIdError,
        ) => return Err(ReplicaFetchError::UnknownSession(response.error_code)),
        Some(_) => return Err(ReplicaFetchError::Refused(response.error_code)),
    }
    let session = FetchSessionId(response.session_id);
    let answers = response.responses.into_iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        topic
            .partitions
            .into_iter()
            .map(move |data| ReplicaAnswer { key: (id, PartitionId(data.partition_index)), outcome: outcome(data) })
    });
    Ok((session, answers.collect()))
}

/// The order of the partitions is kept: the leader fills its answer with the first ones.
fn request(fetch: &ReplicaFetch) -> FetchRequest {
    let (session, session_epoch) = fetch.changes.session;
    let mut topics: Vec<FetchTopic> = Vec::new();
    for position in &fetch.changes.positions {
        let (topic, partition) = position.key;
        let partition = FetchPartition::default()
            .with_partition(partition.0)
            .with_current_leader_epoch(position.leader_epoch.0)
            .with_fetch_offset(position.offset.0)
            .with_last_fetched_epoch(position.last_epoch.map_or(-1, |epoch| epoch.0))
            .with_log_start_offset(position.log_start.0)
            .with_partition_max_bytes(fetch.partition_bytes_max)
            .with_replica_directory_id(fetch.directory.0)
            .with_high_watermark(position.high_watermark.0);
        match topics.last_mut().filter(|last| last.topic_id == topic.0) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(FetchTopic::default().with_topic_id(topic.0).with_partitions(vec![partition])),
        }
    }
    let replica =
        ReplicaState::default().with_replica_id(WireBrokerId(fetch.broker.0)).with_replica_epoch(fetch.broker_epoch.0);
    FetchRequest::default()
        .with_replica_state(replica)
        .with_max_wait_ms(i32::try_from(fetch.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(fetch.bytes_min)
        .with_max_bytes(fetch.bytes_max)
        .with_session_id(session.0)
        .with_session_epoch(session_epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten(&fetch.changes.forgotten))
}

/// The partitions of a topic are adjacent.
fn forgotten(keys: &[ReplicaKey]) -> Vec<ForgottenTopic> {
    let topics = keys.chunk_by(|one, other| one.0 == other.0).filter_map(|keys| {
        let (topic, _) = keys.first()?;
        let partitions = keys.iter().map(|(_, partition)| partition.0).collect();
        Some(ForgottenTopic::default().with_topic_id(topic.0).with_partitions(partitions))
    });
    topics.collect()
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
        Some(ResponseError::TopicAuthorizationFailed) => FetchOutcome::Denied,
        _ => FetchOutcome::Failed { error_code: data.error_code },
    }
}
