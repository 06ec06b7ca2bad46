//! Fetch of the metadata log, on the controller listener (KIP-595): voters and observers use it to follow the leader.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use protocol::types::{LeaderEpoch, Offset};
use raft::FetchContent;

use super::errors::KafkaError as _;
use super::fetch::VERSION_WITH_TOPIC_IDS;
use super::quorum::{key, leader_endpoint, leader_id, topic_name};
use super::{Broker, Request, RequestError, fetch_read};
use crate::metadata::METADATA_TOPIC;
use crate::peer::{METADATA_TOPIC_ID, QuorumAnswer};

/// First version with which a node can follow: it has the epoch of the last record.
const FIRST_VERSION: i16 = 12;
/// First version with the leader's endpoints.
const VERSION_WITH_ENDPOINTS: i16 = 16;

impl Broker {
    pub(super) async fn fetch_metadata(&self, request: &mut Request<'_>) -> Result<FetchResponse, RequestError> {
        let body: FetchRequest = request.decode()?;
        let version = request.version;
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return Ok(FetchResponse::default().with_error_code(error.code()));
        }
        let partition = match wanted_partition(&body, version) {
            Ok(partition) => partition,
            Err(error) => return Ok(refused(&body, version, error)),
        };
        let (replica_id, _) = fetch_read::replica(&body, version);
        let wanted = raft::Request::Fetch(raft::FetchRequest {
            replica: key(replica_id, partition.replica_directory_id),
            epoch: LeaderEpoch(partition.current_leader_epoch),
            offset: Offset(partition.fetch_offset),
            last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            // A version without the field claims the highest possible high watermark.
            high_watermark: (0 <= partition.high_watermark).then_some(Offset(partition.high_watermark)),
            wait_max: Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0)),
        });
        let bytes_max = partition.partition_max_bytes.min(body.max_bytes);
        let answer = self.ask_quorum(request, wanted, bytes_max, |answer| match answer {
            QuorumAnswer::Fetch { response, records } => Some((response, records)),
            _ => None,
        });
        let (answer, records) = answer.await?;
        Ok(response(&answer, records, version))
    }
}

fn wanted_partition(body: &FetchRequest, version: i16) -> Result<&FetchPartition, ResponseError> {
    if version < FIRST_VERSION {
        return Err(ResponseError::UnsupportedVersion);
    }
    let [topic] = body.topics.as_slice() else { return Err(ResponseError::InvalidRequest) };
    if VERSION_WITH_TOPIC_IDS <= version && topic.topic_id != METADATA_TOPIC_ID.0 {
        return Err(ResponseError::UnknownTopicId);
    }
    if version < VERSION_WITH_TOPIC_IDS && topic.topic.as_str() != METADATA_TOPIC {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    match topic.partitions.as_slice() {
        [partition] if partition.partition == 0 => Ok(partition),
        _ => Err(ResponseError::UnknownTopicOrPartition),
    }
}

/// The same error for everything that was asked for.
fn refused(body: &FetchRequest, version: i16, error: ResponseError) -> FetchResponse {
    let topics = body.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition)
                .with_error_code(error.code())
                .with_high_watermark(-1)
                .with_records(Some(Bytes::new()))
        });
        let response = FetchableTopicResponse::default().with_partitions(partitions.collect());
        if version < VERSION_WITH_TOPIC_IDS {
            response.with_topic(topic.topic.clone())
        } else {
            response.with_topic_id(topic.topic_id)
        }
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn response(answer: &raft::FetchResponse, records: Bytes, version: i16) -> FetchResponse {
    let high_watermark = answer.high_watermark.map_or(-1, |offset| offset.0);
    let leader =
        LeaderIdAndEpoch::default().with_leader_id(leader_id(&answer.leader)).with_leader_epoch(answer.leader.epoch.0);
    let partition = PartitionData::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_high_watermark(high_watermark)
        .with_last_stable_offset(high_watermark)
        .with_log_start_offset(answer.log_start.0)
        .with_current_leader(leader)
        .with_records(Some(records));
    let partition =
        match answer.content {
            FetchContent::Records => partition,
            FetchContent::Diverging { epoch, end_offset } => partition
                .with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end_offset.0)),
            FetchContent::Snapshot(id) => partition
                .with_snapshot_id(SnapshotId::default().with_end_offset(id.end_offset.0).with_epoch(id.epoch.0)),
        };
    let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    let topic = if version < VERSION_WITH_TOPIC_IDS {
        topic.with_topic(topic_name())
    } else {
        topic.with_topic_id(METADATA_TOPIC_ID.0)
    };
    let endpoints = leader_endpoint(&answer.leader, VERSION_WITH_ENDPOINTS <= version, |id, host, port| {
        NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port.into())
    });
    FetchResponse::default().with_responses(vec![topic]).with_node_endpoints(endpoints)
}
