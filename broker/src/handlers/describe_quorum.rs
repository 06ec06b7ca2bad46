//! DescribeQuorum (KIP-595, KIP-853): voters and observers of the metadata quorum with their progress. Answered by
//! the leader.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_quorum_request::TopicData as WantedTopic;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{BrokerId as WireBrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use raft::{ReplicaProgress, Voter};

use super::quorum::topic_name;
use super::{Broker, Request, RequestError};
use crate::clock;
use crate::controller::QuorumDescription;
use crate::metadata::METADATA_TOPIC;

/// First version with directories and endpoints (KIP-853).
const VERSION_WITH_DIRECTORIES: i16 = 2;
const UNKNOWN: i64 = -1;

impl Broker {
    pub(super) async fn describe_quorum(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeQuorumResponse, RequestError> {
        let body: DescribeQuorumRequest = request.decode()?;
        if !asks_for_metadata(&body.topics) {
            return Ok(refused(body.topics, ResponseError::UnknownTopicOrPartition));
        }
        let described = self.raft.describe().await;
        match described.map_err(|_| RequestError::QuorumStopped { api: request.api.name })? {
            Some(quorum) => Ok(self.described(&quorum, request.version)),
            None => Ok(refused(body.topics, ResponseError::NotLeaderOrFollower)),
        }
    }

    fn described(&self, quorum: &QuorumDescription, version: i16) -> DescribeQuorumResponse {
        let states = |is_voter: bool| {
            let replicas = quorum.replicas.iter().filter(move |replica| replica.is_voter == is_voter);
            replicas.map(|replica| self.state(replica, version)).collect()
        };
        let partition = PartitionData::default()
            .with_leader_id(WireBrokerId(self.config.broker_id.0))
            .with_leader_epoch(quorum.epoch.0)
            .with_high_watermark(quorum.high_watermark.0)
            .with_current_voters(states(true))
            .with_observers(states(false));
        let topic = TopicData::default().with_topic_name(topic_name()).with_partitions(vec![partition]);
        let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
        if version < VERSION_WITH_DIRECTORIES {
            return response;
        }
        response.with_nodes(quorum.voters.iter().map(node).collect())
    }

    /// The leader is never behind itself.
    fn state(&self, replica: &ReplicaProgress, version: i16) -> ReplicaState {
        let is_leader = replica.key.id == self.config.broker_id;
        let time = |seen: Option<Duration>| if is_leader { clock::wall().0 } else { seen.map_or(UNKNOWN, wall) };
        let state = ReplicaState::default()
            .with_replica_id(WireBrokerId(replica.key.id.0))
            .with_log_end_offset(replica.log_end_offset.map_or(UNKNOWN, |offset| offset.0))
            .with_last_fetch_timestamp(time(replica.last_fetch))
            .with_last_caught_up_timestamp(time(replica.last_caught_up));
        if version < VERSION_WITH_DIRECTORIES {
            return state;
        }
        state.with_replica_directory_id(replica.key.directory_id.0)
    }
}

/// Converts a monotonic time to the wall clock.
fn wall(moment: Duration) -> i64 {
    let ago = clock::monotonic().saturating_sub(moment);
    clock::wall().0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

fn asks_for_metadata(topics: &[WantedTopic]) -> bool {
    let [topic] = topics else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

fn node(voter: &Voter) -> Node {
    let listeners = voter.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.name.clone()))
            .with_host(StrBytes::from_string(endpoint.address.host.clone()))
            .with_port(endpoint.address.port)
    });
    Node::default().with_node_id(WireBrokerId(voter.key.id.0)).with_listeners(listeners.collect())
}

fn refused(topics: Vec<WantedTopic>, error: ResponseError) -> DescribeQuorumResponse {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            PartitionData::default().with_partition_index(partition.partition_index).with_error_code(error.code())
        });
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}
