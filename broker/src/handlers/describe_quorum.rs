//! DescribeQuorum (KIP-595, KIP-853): the voters of the metadata quorum and how far they are. This node is the only
//! voter, so it leads, and all that it has is committed.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_quorum_request::TopicData as WantedTopic;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{BrokerId as WireBrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::metadata_records::control::Voter;
use protocol::types::Timestamp;

use super::{Broker, Request, RequestError};
use crate::clock;
use crate::metadata::{Image, METADATA_TOPIC};

/// First version with directories and endpoints (KIP-853).
const VERSION_WITH_DIRECTORIES: i16 = 2;

impl Broker {
    pub(super) fn describe_quorum(&self, request: &mut Request<'_>) -> Result<DescribeQuorumResponse, RequestError> {
        let body: DescribeQuorumRequest = request.decode()?;
        if !asks_for_metadata(&body.topics) {
            return Ok(unknown(body.topics));
        }
        let image = self.image.load();
        let now = clock::wall();
        let voters = image.voters.iter().map(|voter| state(voter, &image, now, request.version));
        let partition = PartitionData::default()
            .with_leader_id(WireBrokerId(self.config.broker_id.0))
            .with_leader_epoch(image.epoch.0)
            .with_high_watermark(image.end_offset.0)
            .with_current_voters(voters.collect());
        let topic = TopicData::default()
            .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
            .with_partitions(vec![partition]);
        let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
        Ok(if request.version < VERSION_WITH_DIRECTORIES {
            response
        } else {
            response.with_nodes(image.voters.iter().map(node).collect())
        })
    }
}

fn asks_for_metadata(topics: &[WantedTopic]) -> bool {
    let [topic] = topics else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

/// The leader is never behind itself.
fn state(voter: &Voter, image: &Image, now: Timestamp, version: i16) -> ReplicaState {
    let state = ReplicaState::default()
        .with_replica_id(WireBrokerId(voter.voter_id.0))
        .with_log_end_offset(image.end_offset.0)
        .with_last_fetch_timestamp(now.0)
        .with_last_caught_up_timestamp(now.0);
    if version < VERSION_WITH_DIRECTORIES { state } else { state.with_replica_directory_id(voter.directory_id.0) }
}

fn node(voter: &Voter) -> Node {
    let listeners = voter.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.name.clone()))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
    });
    Node::default().with_node_id(WireBrokerId(voter.voter_id.0)).with_listeners(listeners.collect())
}

fn unknown(topics: Vec<WantedTopic>) -> DescribeQuorumResponse {
    let error = ResponseError::UnknownTopicOrPartition;
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            PartitionData::default().with_partition_index(partition.partition_index).with_error_code(error.code())
        });
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}
