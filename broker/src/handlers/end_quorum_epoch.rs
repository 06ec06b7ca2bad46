//! EndQuorumEpoch (KIP-595, KIP-853): a leader that stops names its preferred successors.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::end_quorum_epoch_response::{NodeEndpoint, PartitionData, TopicData};
use kafka_protocol::messages::{EndQuorumEpochRequest, EndQuorumEpochResponse, end_quorum_epoch_request};
use protocol::types::{BrokerId, LeaderEpoch};
use raft::ReplicaKey;
use uuid::Uuid;

use super::errors::KafkaError as _;
use super::quorum::{endpoint, key, leader_endpoint, leader_id, only_partition, topic_name};
use super::{Broker, Request, RequestError};
use crate::peer::QuorumAnswer;

/// First version with the leader's endpoints.
const VERSION_WITH_ENDPOINTS: i16 = 1;

impl Broker {
    pub(super) async fn end_quorum_epoch(
        &self,
        request: &mut Request<'_>,
    ) -> Result<EndQuorumEpochResponse, RequestError> {
        let body: EndQuorumEpochRequest = request.decode()?;
        let refused = |error: ResponseError| Ok(EndQuorumEpochResponse::default().with_error_code(error.code()));
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error);
        }
        let found =
            only_partition(&body.topics, |topic| (topic.topic_name.as_str(), &topic.partitions), |p| p.partition_index);
        let Some(partition) = found else { return refused(ResponseError::InvalidRequest) };
        let endpoints = body.leader_endpoints.iter();
        let wanted = raft::Request::EndQuorumEpoch(raft::EndQuorumEpochRequest {
            leader: BrokerId(partition.leader_id.0),
            epoch: LeaderEpoch(partition.leader_epoch),
            preferred_candidates: self.candidates(partition),
            endpoints: endpoints.map(|told| endpoint(&told.name, &told.host, told.port)).collect(),
        });
        let answer = self.ask_quorum(request, wanted, 0, |answer| match answer {
            QuorumAnswer::EndQuorumEpoch(response) => Some(response),
            _ => None,
        });
        Ok(response(&answer.await?, request.version))
    }

    /// Best first. Version 0 names nodes without directory ids: this node can add its own.
    fn candidates(&self, partition: &end_quorum_epoch_request::PartitionData) -> Vec<ReplicaKey> {
        let old = partition.preferred_successors.iter();
        let old = old.map(|id| {
            if *id == self.config.broker_id.0 { self.addressee(*id, Uuid::nil()) } else { key(*id, Uuid::nil()) }
        });
        let named = partition.preferred_candidates.iter();
        old.chain(named.map(|found| key(found.candidate_id.0, found.candidate_directory_id))).collect()
    }
}

fn response(answer: &raft::QuorumResponse, version: i16) -> EndQuorumEpochResponse {
    let partition = PartitionData::default()
        .with_error_code(answer.error.map_or(0, |error| error.code()))
        .with_leader_id(leader_id(&answer.leader))
        .with_leader_epoch(answer.leader.epoch.0);
    let topic = TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
    let endpoints = leader_endpoint(&answer.leader, VERSION_WITH_ENDPOINTS <= version, |id, host, port| {
        NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
    });
    EndQuorumEpochResponse::default().with_topics(vec![topic]).with_node_endpoints(endpoints)
}
