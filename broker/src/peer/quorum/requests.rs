//! Encodes the quorum's requests for Kafka's protocol, always about the only partition of the metadata topic.

use kafka_protocol::messages::begin_quorum_epoch_request::{self, LeaderEndpoint};
use kafka_protocol::messages::end_quorum_epoch_request::{self, ReplicaInfo};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::fetch_snapshot_request::{PartitionSnapshot, SnapshotId, TopicSnapshot};
use kafka_protocol::messages::update_raft_voter_request::{KRaftVersionFeature, Listener};
use kafka_protocol::messages::vote_request;
use kafka_protocol::messages::{
    BeginQuorumEpochRequest, BrokerId as WireBrokerId, EndQuorumEpochRequest, FetchRequest, FetchSnapshotRequest,
    UpdateRaftVoterRequest, VoteRequest,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::BrokerId;

use super::{METADATA_TOPIC_ID, topic_name};

/// Most bytes of one answer.
const FETCH_BYTES_MAX: i32 = 1 << 20;

pub(super) fn vote(cluster: Option<StrBytes>, request: &raft::VoteRequest) -> VoteRequest {
    let partition = vote_request::PartitionData::default()
        .with_replica_epoch(request.epoch.0)
        .with_replica_id(node(request.candidate.id))
        .with_replica_directory_id(request.candidate.directory_id.0)
        .with_voter_directory_id(request.voter.directory_id.0)
        .with_last_offset_epoch(request.last_epoch.0)
        .with_last_offset(request.last_offset.0)
        .with_pre_vote(request.pre_vote);
    let topic = vote_request::TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
    VoteRequest::default().with_cluster_id(cluster).with_voter_id(node(request.voter.id)).with_topics(vec![topic])
}

pub(super) fn begin_quorum_epoch(
    cluster: Option<StrBytes>,
    request: &raft::BeginQuorumEpochRequest,
) -> BeginQuorumEpochRequest {
    let partition = begin_quorum_epoch_request::PartitionData::default()
        .with_voter_directory_id(request.voter.directory_id.0)
        .with_leader_id(node(request.leader))
        .with_leader_epoch(request.epoch.0);
    let topic =
        begin_quorum_epoch_request::TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
    let endpoint = |endpoint: &raft::Endpoint| {
        let (name, host, port) = parts(endpoint);
        LeaderEndpoint::default().with_name(name).with_host(host).with_port(port)
    };
    BeginQuorumEpochRequest::default()
        .with_cluster_id(cluster)
        .with_voter_id(node(request.voter.id))
        .with_topics(vec![topic])
        .with_leader_endpoints(request.endpoints.iter().map(endpoint).collect())
}

pub(super) fn end_quorum_epoch(
    cluster: Option<StrBytes>,
    request: &raft::EndQuorumEpochRequest,
) -> EndQuorumEpochRequest {
    let candidate = |key: &raft::ReplicaKey| {
        ReplicaInfo::default().with_candidate_id(node(key.id)).with_candidate_directory_id(key.directory_id.0)
    };
    let partition = end_quorum_epoch_request::PartitionData::default()
        .with_leader_id(node(request.leader))
        .with_leader_epoch(request.epoch.0)
        .with_preferred_candidates(request.preferred_candidates.iter().map(candidate).collect());
    let topic =
        end_quorum_epoch_request::TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
    let endpoint = |endpoint: &raft::Endpoint| {
        let (name, host, port) = parts(endpoint);
        end_quorum_epoch_request::LeaderEndpoint::default().with_name(name).with_host(host).with_port(port)
    };
    EndQuorumEpochRequest::default()
        .with_cluster_id(cluster)
        .with_topics(vec![topic])
        .with_leader_endpoints(request.endpoints.iter().map(endpoint).collect())
}

pub(super) fn fetch(cluster: Option<StrBytes>, request: &raft::FetchRequest) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(request.epoch.0)
        .with_fetch_offset(request.offset.0)
        .with_last_fetched_epoch(request.last_fetched_epoch.0)
        .with_partition_max_bytes(FETCH_BYTES_MAX)
        .with_replica_directory_id(request.replica.directory_id.0)
        .with_high_watermark(request.high_watermark.map_or(-1, |offset| offset.0));
    let topic = FetchTopic::default().with_topic_id(METADATA_TOPIC_ID.0).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_cluster_id(cluster)
        .with_replica_state(ReplicaState::default().with_replica_id(node(request.replica.id)))
        .with_max_wait_ms(i32::try_from(request.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_topics(vec![topic])
}

pub(super) fn fetch_snapshot(cluster: Option<StrBytes>, request: &raft::FetchSnapshotRequest) -> FetchSnapshotRequest {
    let id = SnapshotId::default().with_end_offset(request.id.end_offset.0).with_epoch(request.id.epoch.0);
    let partition = PartitionSnapshot::default()
        .with_current_leader_epoch(request.epoch.0)
        .with_snapshot_id(id)
        .with_position(request.position)
        .with_replica_directory_id(request.replica.directory_id.0);
    let topic = TopicSnapshot::default().with_name(topic_name()).with_partitions(vec![partition]);
    FetchSnapshotRequest::default()
        .with_cluster_id(cluster)
        .with_replica_id(node(request.replica.id))
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_topics(vec![topic])
}

pub(super) fn update_voter(cluster: Option<StrBytes>, request: &raft::UpdateVoterRequest) -> UpdateRaftVoterRequest {
    let voter = &request.voter;
    let endpoint = |endpoint: &raft::Endpoint| {
        let (name, host, port) = parts(endpoint);
        Listener::default().with_name(name).with_host(host).with_port(port)
    };
    let levels = KRaftVersionFeature::default()
        .with_min_supported_version(voter.kraft_version_min.0)
        .with_max_supported_version(voter.kraft_version_max.0);
    UpdateRaftVoterRequest::default()
        .with_cluster_id(cluster)
        .with_current_leader_epoch(request.epoch.0)
        .with_voter_id(voter.key.id.0)
        .with_voter_directory_id(voter.key.directory_id.0)
        .with_listeners(voter.endpoints.iter().map(endpoint).collect())
        .with_k_raft_version_feature(levels)
}

fn node(id: BrokerId) -> WireBrokerId {
    WireBrokerId(id.0)
}

fn parts(endpoint: &raft::Endpoint) -> (StrBytes, StrBytes, u16) {
    let raft::Endpoint { name, address } = endpoint;
    (StrBytes::from_string(name.clone()), StrBytes::from_string(address.host.clone()), address.port)
}
