//! Administrative requests to a cluster, on one connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AddRaftVoterRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeQuorumRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    RemoveRaftVoterRequest, TopicName, add_raft_voter_request,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::connection::Connection;

const CREATE_TOPICS_VERSION: i16 = 4;
const DELETE_TOPICS_VERSION: i16 = 4;
const DESCRIBE_CLUSTER_VERSION: i16 = 0;
const DESCRIBE_QUORUM_VERSION: i16 = 2;
const FIND_COORDINATOR_VERSION: i16 = 2;
const LATEST: i64 = -1;
const LIST_OFFSETS_VERSION: i16 = 5;
const METADATA_VERSION: i16 = 8;
const RAFT_VOTER_VERSION: i16 = 0;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const METADATA_TOPIC: &str = "__cluster_metadata";

#[derive(Debug)]
pub struct Admin {
    connection: Connection,
    patience: Duration,
}

/// The metadata of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: BTreeSet<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    pub leader: Option<i32>,
    pub epoch: i32,
    pub high_watermark: i64,
    pub voters: Vec<Replica>,
    pub observers: Vec<Replica>,
}

/// A replica of the metadata log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    pub id: i32,
    pub directory_id: Uuid,
    pub log_end_offset: i64,
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

impl Admin {
    /// `patience` limits connecting and every answer.
    pub fn open(address: impl Into<SocketAddr>, patience: Duration) -> Result<Self> {
        Ok(Self { connection: Connection::open_within(address, patience)?, patience })
    }

    /// The brokers that are not fenced.
    pub fn brokers(&mut self) -> Result<BTreeSet<i32>> {
        let answer = self.connection.call(DESCRIBE_CLUSTER_VERSION, &DescribeClusterRequest::default())?;
        refused("DescribeCluster", answer.error_code, answer.error_message.as_ref())?;
        Ok(answer.brokers.iter().map(|broker| broker.broker_id.0).collect())
    }

    /// The racks of the brokers.
    pub fn racks(&mut self) -> Result<BTreeMap<i32, Option<String>>> {
        let brokers = self.metadata(&[])?.brokers.into_iter();
        Ok(brokers.map(|broker| (broker.node_id.0, broker.rack.map(|rack| rack.to_string()))).collect())
    }

    /// The coordinator of a group.
    pub fn coordinator(&mut self, group: &str) -> Result<i32> {
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let answer = self.connection.call(FIND_COORDINATOR_VERSION, &request)?;
        refused("FindCoordinator", answer.error_code, answer.error_message.as_ref())?;
        Ok(answer.node_id.0)
    }

    /// By partition index; none for an unknown topic.
    pub fn partitions(&mut self, topic: &str) -> Result<Vec<Partition>> {
        let ids = |ids: Vec<BrokerId>| ids.into_iter().map(|id| id.0);
        let described = self.metadata(&[topic])?.topics.into_iter().flat_map(|topic| topic.partitions);
        let mut partitions: Vec<_> = described
            .map(|found| Partition {
                index: found.partition_index,
                leader: Some(found.leader_id.0).filter(|id| 0 <= *id),
                replicas: ids(found.replica_nodes).collect(),
                in_sync: ids(found.isr_nodes).collect(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Ok(partitions)
    }

    /// The log end of partition 0, from its leader, which this broker must be.
    pub fn end(&mut self, topic: &str) -> Result<i64> {
        let latest = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(LATEST);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![latest]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.connection.call(LIST_OFFSETS_VERSION, &request)?;
        let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let found = found.context("a ListOffsets response without a partition")?;
        ensure!(found.error_code == 0, "ListOffsets failed with error {}", found.error_code);
        Ok(found.offset)
    }

    pub fn quorum(&mut self) -> Result<Quorum> {
        let partition = PartitionData::default().with_partition_index(0);
        let topic = TopicData::default().with_topic_name(topic_name(METADATA_TOPIC)).with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let answer = self.connection.call(DESCRIBE_QUORUM_VERSION, &request)?;
        ensure!(answer.error_code == 0, "DescribeQuorum failed with error {}", answer.error_code);
        let described = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let described = described.context("a DescribeQuorum response without a partition")?;
        ensure!(described.error_code == 0, "DescribeQuorum failed with error {}", described.error_code);
        let replica = |replica: &kafka_protocol::messages::describe_quorum_response::ReplicaState| Replica {
            id: replica.replica_id.0,
            directory_id: replica.replica_directory_id,
            log_end_offset: replica.log_end_offset,
        };
        Ok(Quorum {
            leader: Some(described.leader_id.0).filter(|id| 0 <= *id),
            epoch: described.leader_epoch,
            high_watermark: described.high_watermark,
            voters: described.current_voters.iter().map(replica).collect(),
            observers: described.observers.iter().map(replica).collect(),
        })
    }

    /// Creates a topic whose partitions have these replicas, the preferred leader first. An existing one is left
    /// alone.
    pub fn create_topic(&mut self, name: &str, replicas: &[Vec<i32>]) -> Result<()> {
        let assignment = |(index, ids): (i32, &Vec<i32>)| {
            let ids = ids.iter().copied().map(BrokerId).collect();
            CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(ids)
        };
        let topic = CreatableTopic::default()
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments((0..).zip(replicas).map(assignment).collect());
        self.create(name, topic)
    }

    /// Creates a topic of so many partitions with so many replicas each. An existing one is left alone.
    pub fn create_topic_of(&mut self, name: &str, partitions: i32, replicas: i16) -> Result<()> {
        self.create(name, CreatableTopic::default().with_num_partitions(partitions).with_replication_factor(replicas))
    }

    /// Creates a topic of one partition with so many replicas and these options. An existing one is left alone.
    pub fn create_topic_with(
        &mut self,
        name: &str,
        replicas: i16,
        options: &[(&'static str, &'static str)],
    ) -> Result<()> {
        let option = |(name, value): &(&'static str, &'static str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        let topic = CreatableTopic::default().with_num_partitions(1).with_replication_factor(replicas);
        self.create(name, topic.with_configs(options.iter().map(option).collect()))
    }

    fn create(&mut self, name: &str, topic: CreatableTopic) -> Result<()> {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic.with_name(topic_name(name))])
            .with_timeout_ms(i32::try_from(self.patience.as_millis())?);
        let answer = self.connection.call(CREATE_TOPICS_VERSION, &request)?;
        let created = answer.topics.first().context("a CreateTopics response without a topic")?;
        let why = created.error_message.as_ref().map(ToString::to_string).unwrap_or_default();
        let is_there = [0, TOPIC_ALREADY_EXISTS].contains(&created.error_code);
        ensure!(is_there, "{name} was not created: error {} {why}", created.error_code);
        Ok(())
    }

    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(i32::try_from(self.patience.as_millis())?);
        let answer = self.connection.call(DELETE_TOPICS_VERSION, &request)?;
        let code = answer.responses.first().context("a DeleteTopics response without a topic")?.error_code;
        ensure!(code == 0, "{name} was not deleted: error {code}");
        Ok(())
    }

    pub fn remove_voter(&mut self, id: i32, directory_id: Uuid) -> Result<()> {
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(id)
            .with_voter_directory_id(directory_id);
        let answer = self.connection.call(RAFT_VOTER_VERSION, &request)?;
        refused("RemoveRaftVoter", answer.error_code, answer.error_message.as_ref())
    }

    pub fn add_voter(&mut self, id: i32, directory_id: Uuid, controller: SocketAddr) -> Result<()> {
        let listener = add_raft_voter_request::Listener::default()
            .with_name(StrBytes::from_static_str("CONTROLLER"))
            .with_host(StrBytes::from_string(controller.ip().to_string()))
            .with_port(controller.port());
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_timeout_ms(i32::try_from(self.patience.as_millis())?)
            .with_voter_id(id)
            .with_voter_directory_id(directory_id)
            .with_listeners(vec![listener]);
        let answer = self.connection.call(RAFT_VOTER_VERSION, &request)?;
        refused("AddRaftVoter", answer.error_code, answer.error_message.as_ref())
    }

    fn metadata(&mut self, topics: &[&str]) -> Result<MetadataResponse> {
        let asked = topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request =
            MetadataRequest::default().with_topics(Some(asked.collect())).with_allow_auto_topic_creation(false);
        self.connection.call(METADATA_VERSION, &request)
    }
}

fn refused(api: &str, code: i16, message: Option<&StrBytes>) -> Result<()> {
    match code {
        0 => Ok(()),
        code => {
            Err(anyhow!("{api} failed with error {code}: {}", message.map(ToString::to_string).unwrap_or_default()))
        }
    }
}
