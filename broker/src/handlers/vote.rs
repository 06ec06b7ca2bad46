//! Vote (KIP-595, KIP-853, and KIP-996 for pre-votes): a candidate asks this node for its vote.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::vote_response::{NodeEndpoint, PartitionData, TopicData};
use kafka_protocol::messages::{VoteRequest, VoteResponse};
use protocol::types::{LeaderEpoch, Offset};

use super::errors::KafkaError as _;
use super::quorum::{key, leader_endpoint, leader_id, only_partition, topic_name};
use super::{Broker, Request, RequestError};
use crate::peer::QuorumAnswer;

/// First version with the leader's endpoints.
const VERSION_WITH_ENDPOINTS: i16 = 1;

impl Broker {
    pub(super) async fn vote(&self, request: &mut Request<'_>) -> Result<VoteResponse, RequestError> {
        let body: VoteRequest = request.decode()?;
        let refused = |error: ResponseError| Ok(VoteResponse::default().with_error_code(error.code()));
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error);
        }
        let found =
            only_partition(&body.topics, |topic| (topic.topic_name.as_str(), &topic.partitions), |p| p.partition_index);
        let Some(partition) = found else { return refused(ResponseError::InvalidRequest) };
        let wanted = raft::Request::Vote(raft::VoteRequest {
            candidate: key(partition.replica_id.0, partition.replica_directory_id),
            voter: self.addressee(body.voter_id.0, partition.voter_directory_id),
            epoch: LeaderEpoch(partition.replica_epoch),
            last_epoch: LeaderEpoch(partition.last_offset_epoch),
            last_offset: Offset(partition.last_offset),
            pre_vote: partition.pre_vote,
        });
        let answer = self.ask_quorum(request, wanted, 0, |answer| match answer {
            QuorumAnswer::Vote(response) => Some(response),
            _ => None,
        });
        Ok(response(&answer.await?, request.version))
    }
}

fn response(answer: &raft::VoteResponse, version: i16) -> VoteResponse {
    let partition = PartitionData::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_leader_id(leader_id(&answer.leader))
        .with_leader_epoch(answer.leader.epoch.0)
        .with_vote_granted(answer.granted);
    let topic = TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
    let endpoints = leader_endpoint(&answer.leader, VERSION_WITH_ENDPOINTS <= version, |id, host, port| {
        NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
    });
    VoteResponse::default().with_topics(vec![topic]).with_node_endpoints(endpoints)
}
