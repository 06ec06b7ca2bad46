//! Groups on three brokers: whichever coordinates them, they continue with their generation and committed offsets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::cluster::{Cluster, Node};
use crate::harness::wire::Wire;
use crate::harness::{Broker, DEADLINE, eventually};

const TOPIC: &str = "topic";
const GROUP: &str = "group";
const PARTITIONS: i32 = 4;
const POLL: Duration = Duration::from_millis(20);
const SETTINGS: [&str; 5] = [
    "num.partitions=4",
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "group.initial.rebalance.delay.ms=100",
];
const REBALANCES: &str = "kafka_server_group_coordinator_metrics_group_completed_rebalance_total";
/// Logged when it has loaded the groups that it now coordinates.
const TAKEN_UP: &str = "became coordinator of groups";

struct World {
    cluster: Cluster,
    /// By node.
    brokers: Vec<Option<Broker>>,
    bootstrap: String,
}

impl World {
    fn start() -> Self {
        let cluster = Cluster::with(&SETTINGS);
        let brokers = cluster.start_all().into_iter().map(Some).collect();
        let servers: Vec<_> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        Self { cluster, brokers, bootstrap: servers.join(",") }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.cluster.nodes.iter().zip(&self.brokers).filter(|(_, broker)| broker.is_some()).map(|(node, _)| node)
    }

    /// The index of the coordinator, as the running nodes report it.
    fn coordinator(&self) -> usize {
        let asked = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str(GROUP));
        eventually("the group has a coordinator that runs", || {
            let node = self.running().next().unwrap();
            let found = Wire::connect(node.port).call(0, &asked);
            let place = self.cluster.nodes.iter().position(|node| node.id == found.node_id.0)?;
            (found.error_code == 0 && self.brokers[place].is_some()).then_some(place)
        })
    }

    fn consumer(&self) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", GROUP)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("heartbeat.interval.ms", "100")
            .set("session.timeout.ms", "30000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("retry.backoff.ms", "10")
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "50")
            .create()
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        consumer
    }

    async fn produce(&self, records: usize) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("acks", "all")
            .set("message.timeout.ms", "60000")
            .create()
            .unwrap();
        for number in 0..records {
            for partition in 0..PARTITIONS {
                let value = number.to_string();
                let record = FutureRecord::<(), _>::to(TOPIC).payload(&value).partition(partition);
                producer.send(record, DEADLINE).await.unwrap();
            }
        }
    }

    /// Rebalances that the running brokers have counted.
    fn rebalances(&self) -> u64 {
        let value = |line: &str| line.strip_prefix(REBALANCES)?.trim().parse::<u64>().ok();
        self.running().filter_map(|node| node.metrics().lines().find_map(value)).sum()
    }

    /// The committed offsets, from the current coordinator.
    fn committed(&self) -> BTreeMap<i32, i64> {
        let group = GroupId(StrBytes::from_static_str(GROUP));
        let asked = OffsetFetchRequest::default().with_group_id(group).with_topics(None);
        eventually("the coordinator answers", || {
            let fetched = Wire::connect(self.cluster.nodes[self.coordinator()].port).call(7, &asked);
            let partitions = fetched.topics.into_iter().flat_map(|topic| topic.partitions);
            let offsets = partitions.map(|partition| (partition.partition_index, partition.committed_offset));
            (fetched.error_code == 0).then(|| offsets.collect())
        })
    }
}

/// Offsets that were read, and the ends that were committed.
#[derive(Default)]
struct Progress {
    read: BTreeMap<i32, Vec<i64>>,
    committed: BTreeMap<i32, i64>,
    longest_commit: Duration,
}

impl Progress {
    /// Reads and commits so many records, one at a time.
    fn consume(&mut self, consumers: &[BaseConsumer], records: usize) {
        let mut left = records;
        eventually("so many records are read and committed", || {
            for consumer in consumers {
                let Some(Ok(record)) = consumer.poll(POLL) else { continue };
                let (partition, offset) = (record.partition(), record.offset());
                self.read.entry(partition).or_default().push(offset);
                let began = Instant::now();
                eventually("the commit is acknowledged", || consumer.commit_message(&record, CommitMode::Sync).ok());
                self.longest_commit = self.longest_commit.max(began.elapsed());
                self.committed.insert(partition, offset + 1);
                left -= 1;
                if left == 0 {
                    return Some(());
                }
            }
            None
        });
    }

    /// Checks that nothing was read twice or skipped.
    fn check(&self) {
        for (partition, read) in &self.read {
            assert!(read.iter().copied().eq(0..i64::try_from(read.len()).unwrap()), "partition {partition}: {read:?}");
        }
    }
}

#[tokio::test]
async fn a_group_goes_on_where_it_has_committed_when_its_coordinator_is_killed_or_leaves() {
    let mut world = World::start();
    eventually("there is a topic", || {
        (world.cluster.nodes[0].metadata(TOPIC, true).topics[0].error_code == 0).then_some(())
    });
    let members = vec![world.consumer(), world.consumer()];
    let shares = || -> Vec<_> { members.iter().map(|member| member.assignment().unwrap().count()).collect() };
    eventually("each has its share", || {
        assert!(members.iter().all(|member| member.poll(POLL).is_none_or(|polled| polled.is_err())));
        (shares() == [2, 2]).then_some(())
    });
    world.produce(50).await;
    let mut progress = Progress::default();
    progress.consume(&members, 40);

    let killed = world.coordinator();
    world.brokers[killed].take().unwrap().kill();
    let began = Instant::now();
    progress.consume(&members, 1);
    println!("the first commit came {:?} after the kill", began.elapsed());
    progress.consume(&members, 39);
    assert_eq!((shares(), world.rebalances()), (vec![2, 2], 0), "its members are in the same generation");
    assert_eq!(world.committed(), progress.committed);
    progress.check();
    for broker in world.brokers.iter().flatten() {
        let taken_up: Vec<_> = broker.log().lines().filter(|line| line.contains(TAKEN_UP)).map(str::to_owned).collect();
        assert!((1..=3).contains(&taken_up.len()), "a line for each time, not for each partition: {taken_up:#?}");
    }

    let again = world.cluster.start(&world.cluster.nodes[killed]);
    world.brokers[killed] = Some(again);
    drop(members);
    let members = vec![world.consumer()];
    progress.consume(&members, 20);
    progress.check();

    let leaving = world.coordinator();
    assert!(world.brokers[leaving].take().unwrap().stop().success());
    progress.consume(&members, 40);
    progress.check();
    assert_eq!(world.committed(), progress.committed);
    println!("the longest commit took {:?}", progress.longest_commit);
}
