//! Clients are directed to a replica in their rack (KIP-392), and to the leader (KIP-951).

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;

use crate::cluster::{Cluster, Node};
use crate::harness::calls::{fetch_partition, name};
use crate::harness::eventually;
use crate::harness::wire::{Wire, batch};

const TOPIC: &str = "read";
const BY_RACK: &str = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Creates a topic of one partition on these brokers, led by the first. Returns when all of them are in sync.
fn create(cluster: &Cluster, replicas: &[i32]) {
    let assignment = CreatableReplicaAssignment::default();
    let assignment = assignment.with_broker_ids(replicas.iter().map(|id| (*id).into()).collect());
    let topic = CreatableTopic::default()
        .with_name(name(TOPIC))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment]);
    let node = &cluster.nodes[0];
    let created = Wire::connect(node.port).call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
    let expected: BTreeSet<i32> = replicas.iter().copied().collect();
    for node in &cluster.nodes {
        eventually("all are in sync", || {
            let topic = node.described(TOPIC);
            let isr = topic.partitions.first()?.isr_nodes.iter().map(|broker| broker.0).collect::<BTreeSet<_>>();
            (isr == expected).then_some(())
        });
    }
}

fn fetch(node: &Node, rack: &str) -> PartitionData {
    fetch_from(node, rack, 0)
}

fn fetch_from(node: &Node, rack: &str, offset: i64) -> PartitionData {
    let topic = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(vec![fetch_partition(offset)]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_rack_id(StrBytes::from_string(rack.to_owned()))
        .with_topics(vec![topic]);
    Wire::connect(node.port).call(12, &request).responses.remove(0).partitions.remove(0)
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack_and_served_there() {
    let cluster = Cluster::with(&[BY_RACK]);
    let _brokers = cluster.start_all();
    create(&cluster, &[1, 2]);
    let [leader, follower, _] = cluster.nodes.as_slice() else { panic!("three nodes") };
    let records = batch(&[b"value"], Timestamp(1));
    eventually("it is committed", || {
        let data = PartitionProduceData::default().with_records(Some(records.clone()));
        (Wire::connect(leader.port).produce_data(9, name(TOPIC), -1, data).error_code == 0).then_some(())
    });
    for (rack, sent_to) in [("rack-2", 2), ("rack-1", -1), ("rack-3", -1), ("", -1)] {
        // Consumers are only sent to a follower once the leader knows that it has the records.
        let answer = eventually("the reader is sent on, or served", || {
            Some(fetch(leader, rack)).filter(|answer| answer.preferred_read_replica.0 == sent_to)
        });
        let has_records = answer.records.is_some_and(|records| !records.is_empty());
        assert_eq!((answer.error_code, has_records), (0, sent_to == -1), "{rack}");
    }
    let served = eventually("the follower knows that it is committed", || {
        Some(fetch(follower, "rack-2")).filter(|answer| 0 < answer.high_watermark)
    });
    assert_eq!((served.error_code, served.preferred_read_replica.0), (0, -1));
    assert!(served.records.is_some_and(|records| !records.is_empty()));
    // Only the leader can say that there is nothing at all beyond an offset.
    let beyond = [follower, leader].map(|node| fetch_from(node, "rack-2", served.high_watermark + 1).error_code);
    let expected = [ResponseError::NotLeaderOrFollower, ResponseError::OffsetOutOfRange];
    assert_eq!(beyond, expected.map(|error| error.code()));
}

#[test]
fn who_asks_the_wrong_broker_is_told_who_leads_and_where() {
    let cluster = Cluster::new();
    let _brokers = cluster.start_all();
    create(&cluster, &[2]);
    let [wrong, leader, _] = cluster.nodes.as_slice() else { panic!("three nodes") };
    let found = leader.described(TOPIC);
    let epoch = found.partitions[0].leader_epoch;
    let not_leader = ResponseError::NotLeaderOrFollower.code();
    let expected = (not_leader, 2, epoch, vec![(2, "127.0.0.1".to_owned(), i32::from(leader.port))]);

    let topic = FetchTopic::default().with_topic_id(found.topic_id).with_partitions(vec![fetch_partition(0)]);
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
    let answer = Wire::connect(wrong.port).call(16, &request);
    let nodes = answer.node_endpoints.iter();
    let nodes = nodes.map(|node| (node.node_id.0, node.host.to_string(), node.port)).collect();
    let partition = &answer.responses[0].partitions[0];
    let current = &partition.current_leader;
    assert_eq!((partition.error_code, current.leader_id.0, current.leader_epoch, nodes), expected);

    let data = PartitionProduceData::default().with_records(Some(batch(&[b"value"], Timestamp(1))));
    let topic = TopicProduceData::default().with_name(name(TOPIC)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    let answer = Wire::connect(wrong.port).call(10, &request);
    let nodes = answer.node_endpoints.iter();
    let nodes = nodes.map(|node| (node.node_id.0, node.host.to_string(), node.port)).collect();
    let partition = &answer.responses[0].partition_responses[0];
    let current = &partition.current_leader;
    assert_eq!((partition.error_code, current.leader_id.0, current.leader_epoch, nodes), expected);
}
