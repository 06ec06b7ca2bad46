//! Partitions on three brokers: what was acknowledged outlives whoever acknowledged it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::protocol::StrBytes;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::cluster::{Cluster, Node};
use crate::harness::calls::name;
use crate::harness::wire::Wire;
use crate::harness::{Broker, DEADLINE, eventually};

const TOPIC: &str = "kept";
const RECORDS: u32 = 600;

/// The leader and who is in sync, as `node` tells clients.
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
