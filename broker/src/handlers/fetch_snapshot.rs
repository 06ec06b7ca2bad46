//! FetchSnapshot (KIP-630): a follower whose records are no longer in the leader's log starts from a snapshot.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_snapshot_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionSnapshot, SnapshotId, TopicSnapshot,
};
use kafka_protocol::messages::{FetchSnapshotRequest, FetchSnapshotResponse};
use protocol::types::{LeaderEpoch, Offset};

use super::errors::KafkaError as _;
use super::quorum::{key, leader_endpoint, leader_id, only_partition, topic_name};
use super::{Broker, Request, RequestError};
use crate::peer::QuorumAnswer;

/// First version with the leader's endpoints.
const VERSION_WITH_ENDPOINTS: i16 = 1;

impl Broker {
    pub(super) async fn fetch_snapshot(
        &self,
        request: &mut Request<'_>,
    ) -> Result<FetchSnapshotResponse, RequestError> {
        let body: FetchSnapshotRequest = request.decode()?;
        let refused = |error: ResponseError| Ok(FetchSnapshotResponse::default().with_error_code(error.code()));
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error);
        }
        let found = only_partition(&body.topics, |topic| (topic.name.as_str(), &topic.partitions), |p| p.partition);
        let Some(partition) = found else { return refused(ResponseError::InvalidRequest) };
        let id = &partition.snapshot_id;
        let wanted = raft::Request::FetchSnapshot(raft::FetchSnapshotRequest {
            replica: key(body.replica_id.0, partition.replica_directory_id),
            epoch: LeaderEpoch(partition.current_leader_epoch),
            id: raft::SnapshotId { end_offset: Offset(id.end_offset), epoch: LeaderEpoch(id.epoch) },
            position: partition.position,
        });
        let answer = self.ask_quorum(request, wanted, body.max_bytes, |answer| match answer {
            QuorumAnswer::FetchSnapshot { response, size, bytes } => Some((response, size, bytes)),
            _ => None,
        });
        let (answer, size, bytes) = answer.await?;
        Ok(response(&answer, size, bytes, request.version))
    }
}

fn response(answer: &raft::FetchSnapshotResponse, size: i64, bytes: Bytes, version: i16) -> FetchSnapshotResponse {
    let leader =
        LeaderIdAndEpoch::default().with_leader_id(leader_id(&answer.leader)).with_leader_epoch(answer.leader.epoch.0);
    let id = SnapshotId::default().with_end_offset(answer.id.end_offset.0).with_epoch(answer.id.epoch.0);
    let partition = PartitionSnapshot::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_snapshot_id(id)
        .with_current_leader(leader)
        .with_size(size)
        .with_position(answer.position)
        .with_unaligned_records(bytes);
    let topic = TopicSnapshot::default().with_name(topic_name()).with_partitions(vec![partition]);
    let endpoints = leader_endpoint(&answer.leader, VERSION_WITH_ENDPOINTS <= version, |id, host, port| {
        NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
    });
    FetchSnapshotResponse::default().with_topics(vec![topic]).with_node_endpoints(endpoints)
}
