//! Partitions on three brokers: acknowledged records survive the broker that acknowledged them.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::{CreateTopicsRequest, DeleteRecordsRequest, FetchRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::cluster::{Cluster, Node};
use crate::harness::calls::{fetch_partition, name};
use crate::harness::wire::{self, Wire};
use crate::harness::{Broker, DEADLINE, Site, eventually, free_port};

const TOPIC: &str = "kept";
const RECORDS: u32 = 600;

/// Leader and ISR, as `node` reports them to clients.
fn state(node: &Node) -> (i32, BTreeSet<i32>) {
    let topic = &node.metadata(TOPIC, false).topics[0];
    let partition = topic.partitions.first();
    let isr = partition.iter().flat_map(|partition| partition.isr_nodes.iter().map(|broker| broker.0));
    (partition.map_or(-1, |partition| partition.leader_id.0), isr.collect())
}

fn create(node: &Node) {
    let config = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("min.insync.replicas"))
        .with_value(Some(StrBytes::from_static_str("2")));
    let topic = CreatableTopic::default()
        .with_name(name(TOPIC))
        .with_num_partitions(1)
        .with_replication_factor(3)
        .with_configs(vec![config]);
    let created = Wire::connect(node.port).call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
}

fn bootstrap(cluster: &Cluster) -> String {
    let servers: Vec<_> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    servers.join(",")
}

fn producer(cluster: &Cluster) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap(cluster))
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "60000")
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "10")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .create()
        .unwrap()
}

fn consume(cluster: &Cluster) -> Vec<u32> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap(cluster))
        .set("group.id", "assigned")
        .set("check.crcs", "true")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut values = Vec::new();
    eventually("all records are read", || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            values.push(u32::from_be_bytes(message.payload().unwrap().try_into().unwrap()));
        }
        (RECORDS as usize <= values.len()).then_some(())
    });
    values
}

#[tokio::test]
async fn what_was_acknowledged_outlives_its_leader_and_replicas_are_the_same() {
    let cluster = Cluster::new();
    let mut brokers: Vec<Option<Broker>> = cluster.start_all().into_iter().map(Some).collect();
    create(&cluster.nodes[0]);
    let all = BTreeSet::from([1, 2, 3]);
    for node in &cluster.nodes {
        eventually("all are in sync", || (state(node).1 == all).then_some(()));
    }
    let (leader, _) = state(&cluster.nodes[0]);
    let place = cluster.nodes.iter().position(|node| node.id == leader).unwrap();

    let producer = producer(&cluster);
    let mut longest = Duration::ZERO;
    for value in 0..RECORDS {
        if value == RECORDS / 2 {
            brokers[place].take().unwrap().kill();
        }
        let began = Instant::now();
        let payload = value.to_be_bytes();
        let record = FutureRecord::<(), _>::to(TOPIC).partition(0).payload(&payload);
        producer.send(record, DEADLINE).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    println!("longest acknowledgement {longest:?}");
    let survivor = cluster.nodes.iter().find(|node| node.id != leader).unwrap();
    assert_ne!(state(survivor).0, leader);

    brokers[place] = Some(cluster.start(&cluster.nodes[place]));
    eventually("who was killed is in sync again", || (state(survivor).1 == all).then_some(()));
    assert_eq!(consume(&cluster), (0..RECORDS).collect::<Vec<_>>(), "each once, in order");
    delete(&cluster, 100);

    brokers.clear();
    let log = |node: &Node| {
        let directory = cluster.directory.path().join(node.id.to_string()).join(format!("{TOPIC}-0"));
        fs::read(directory.join("00000000000000000000.log")).unwrap()
    };
    let expected = log(survivor);
    assert!(!expected.is_empty());
    for node in &cluster.nodes {
        assert!(log(node) == expected, "replica {} is not the same byte for byte", node.id);
    }
}

/// When the client gets the answer, no replica has the records any more.
fn delete(cluster: &Cluster, offset: i64) {
    let (leader, _) = state(&cluster.nodes[0]);
    let leader = cluster.nodes.iter().find(|node| node.id == leader).unwrap();
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_timeout_ms(60_000).with_topics(vec![topic]);
    let answer = Wire::connect(leader.port).call(2, &request).topics.remove(0).partitions.remove(0);
    assert_eq!((answer.error_code, answer.low_watermark), (0, offset));
    for node in &cluster.nodes {
        let read = Wire::connect(node.port).fetch(TOPIC, fetch_partition(offset - 1));
        assert_eq!(read.error_code, ResponseError::OffsetOutOfRange.code(), "broker {}", node.id);
    }
}

/// Versions in which a follower identifies itself in either way.
#[test]
fn a_fetch_is_a_followers_only_on_the_listener_of_brokers() {
    const VERSIONS: [i16; 2] = [12, 17];
    let brokers_port = free_port();
    let site = Site::new(&[]);
    let listeners = format!(
        "listeners=PLAINTEXT://127.0.0.1:{},BROKERS://127.0.0.1:{brokers_port},CONTROLLER://127.0.0.1:{}",
        site.port, site.controller_port
    );
    let map = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT";
    let site = site.with(&[&listeners, map, "inter.broker.listener.name=BROKERS"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    wire::create(&mut wire, TOPIC, &[]);
    let id = wire.call(13, &MetadataRequest::default().with_topics(None)).topics[0].topic_id;
    let fetch = |version: i16| {
        let partition = FetchPartition::default().with_current_leader_epoch(0);
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        let request = FetchRequest::default();
        let (request, topic) = if version < 15 {
            (request.with_replica_id(1.into()), topic.with_topic(name(TOPIC)))
        } else {
            let state = ReplicaState::default().with_replica_id(1.into()).with_replica_epoch(i64::MAX);
            (request.with_replica_state(state), topic.with_topic_id(id))
        };
        request.with_topics(vec![topic])
    };
    for (port, error) in [
        (site.port, ResponseError::TopicAuthorizationFailed),
        // It is accepted as a follower, but is not a replica of this partition.
        (brokers_port, ResponseError::NotLeaderOrFollower),
    ] {
        for version in VERSIONS {
            let answer = Wire::connect(port).call(version, &fetch(version));
            assert_eq!(answer.responses[0].partitions[0].error_code, error.code(), "{port} {version}");
        }
    }
}
