//! Voters, and the metadata when a voter is lost or added, with real processes.

use std::fs;
use std::net::TcpStream;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData as WantedPartition, TopicData as WantedTopic};
use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState};
use kafka_protocol::messages::{
    AddRaftVoterRequest, CreateTopicsRequest, DescribeQuorumRequest, add_raft_voter_request,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::DirectoryId;

use crate::cluster::{Cluster, Node};
use crate::harness::calls::name;
use crate::harness::wire::Wire;
use crate::harness::{Broker, eventually};
use crate::quorum::topic_names;

/// Its description of the quorum, if it leads.
fn describe(node: &Node) -> Option<PartitionData> {
    TcpStream::connect(("127.0.0.1", node.controller_port)).ok()?;
    let wanted = WantedTopic::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![WantedPartition::default()]);
    let request = DescribeQuorumRequest::default().with_topics(vec![wanted]);
    let mut response = Wire::connect(node.controller_port).call(2, &request);
    let partition = response.topics.remove(0).partitions.remove(0);
    (partition.error_code == 0 && partition.leader_id.0 == node.id).then_some(partition)
}

fn leader<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Option<(&'a Node, PartitionData)> {
    nodes.into_iter().find_map(|node| Some((node, describe(node)?)))
}

/// The leader of a quorum of so many voters, all of which have what is committed.
fn settled(nodes: &[Node], voters: usize) -> (&Node, PartitionData) {
    eventually("all voters have caught up", || {
        leader(nodes).filter(|(_, described)| {
            let has_all = |voter: &ReplicaState| described.high_watermark <= voter.log_end_offset;
            described.current_voters.len() == voters && described.current_voters.iter().all(has_all)
        })
    })
}

fn create(node: &Node, topic: &str, factor: i16) {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(factor);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    eventually("the topic is created", || {
        let response = Wire::connect(node.port).call(7, &request);
        // 36: the topic exists, after an answer that was lost.
        [0, 36].contains(&response.topics[0].error_code).then_some(())
    });
}

fn knows(node: &Node, topic: &str) {
    eventually("the topic is known", || topic_names(node.port).contains(topic).then_some(()));
}

fn take(cluster: &Cluster, processes: &mut Vec<Broker>, node: &Node) -> Broker {
    processes.remove(cluster.nodes.iter().position(|other| other.id == node.id).unwrap())
}

#[test]
fn a_follower_takes_over_with_nothing_but_the_log_and_the_old_leader_comes_back() {
    let cluster = Cluster::with(&[]);
    let mut processes = cluster.start_all();
    let (old, before) = settled(&cluster.nodes, 3);
    assert!(before.observers.is_empty());
    create(old, "before", 3);
    cluster.nodes.iter().for_each(|node| knows(node, "before"));

    take(&cluster, &mut processes, old).kill();
    let others = || cluster.nodes.iter().filter(|node| node.id != old.id);
    let (next, after) = eventually("another node leads", || leader(others()));
    assert!(before.leader_epoch < after.leader_epoch, "{} then {}", before.leader_epoch, after.leader_epoch);
    create(next, "after", 2);
    knows(next, "before");

    let mut again = cluster.start(old);
    again.wait_until_serving();
    settled(&cluster.nodes, 3);
    knows(old, "before");
    knows(old, "after");
}

#[test]
fn a_node_that_joins_begins_with_a_snapshot_and_can_be_given_a_vote() {
    let settings = ["metadata.log.max.record.bytes.between.snapshots=500", "metadata.max.retention.bytes=1"];
    let mut cluster = Cluster::with(&settings);
    let mut processes = cluster.start_all();
    let (old, _) = settled(&cluster.nodes, 3);
    let first = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    let first = cluster.directory.path().join(old.id.to_string()).join(first);
    let mut topics = 0;
    eventually("the log begins behind a snapshot", || {
        create(old, &format!("t{topics}"), 1);
        topics += 1;
        (!first.exists()).then_some(())
    });

    let joining = cluster.joining(4);
    let mut joined = cluster.start(&joining);
    joined.wait_until_serving();
    eventually("it knows all topics", || (topic_names(joining.port).len() == topics).then_some(()));
    let properties = fs::read_to_string(cluster.directory.path().join("4/meta.properties")).unwrap();
    let directory = properties.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap();
    let directory: DirectoryId = directory.parse().unwrap();
    let (leading, described) = settled(&cluster.nodes, 3);
    assert!(described.observers.iter().any(|observer| observer.replica_id.0 == joining.id), "{described:?}");

    let listener = add_raft_voter_request::Listener::default()
        .with_name(StrBytes::from_static_str("CONTROLLER"))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(joining.controller_port);
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(30_000)
        .with_voter_id(joining.id)
        .with_voter_directory_id(directory.0)
        .with_listeners(vec![listener]);
    let added = Wire::connect(leading.controller_port).call(0, &request);
    assert_eq!(added.error_code, 0, "{:?}", added.error_message);
    cluster.nodes.push(joining);
    let (old, _) = settled(&cluster.nodes, 4);
    take(&cluster, &mut processes, old).kill();
    let others = || cluster.nodes.iter().filter(|node| node.id != old.id);
    eventually("three of four elect", || leader(others()));
}
