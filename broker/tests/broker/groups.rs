//! Groups of librdkafka's consumers, and many groups at once.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, JoinGroupRequest, JoinGroupResponse, ResponseHeader, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use protocol::types::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::harness::wire::{Wire, batch};
use crate::harness::{Broker, DEADLINE, Site, eventually, http};

const PARTITIONS: i32 = 6;
const POLL: Duration = Duration::from_millis(20);

fn consumer(site: &Site, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", site.bootstrap())
        .set("group.id", "group")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("heartbeat.interval.ms", "100")
        .set("session.timeout.ms", "6000")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&["topic"]).unwrap();
    consumer
}

/// Produces so many records to each partition.
async fn produce(site: &Site, records: usize) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", site.bootstrap()).create().unwrap();
    for number in 0..records {
        for partition in 0..PARTITIONS {
            let value = number.to_string();
            producer
                .send(FutureRecord::<(), _>::to("topic").payload(&value).partition(partition), DEADLINE)
                .await
                .unwrap();
        }
    }
}

fn assigned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    let assignment = consumer.assignment().unwrap();
    assignment.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

/// Polls all of them until every partition has exactly one owner, and each consumer some.
fn balanced(consumers: &[&BaseConsumer]) -> Vec<BTreeSet<i32>> {
    eventually("every partition has one owner", || {
        for consumer in consumers {
            let _record = consumer.poll(POLL);
        }
        let owned: Vec<_> = consumers.iter().map(|consumer| assigned(consumer)).collect();
        let all: BTreeSet<_> = owned.iter().flatten().copied().collect();
        let total: usize = owned.iter().map(BTreeSet::len).sum();
        let is_fair = owned.iter().all(|owned| !owned.is_empty());
        (is_fair && total == all.len() && all.iter().copied().eq(0..PARTITIONS)).then_some(owned)
    })
}

fn metric(site: &Site, name: &str) -> u64 {
    let metrics = http::get(site.management_port, "/metrics", None).body;
    let value =
        |line: &str| line.strip_prefix("kafka_server_group_coordinator_metrics_")?.strip_prefix(name)?.parse().ok();
    metrics.lines().find_map(|line| value(&line.replace(' ', ""))).unwrap()
}

fn rebalances(site: &Site) -> u64 {
    metric(site, "group_completed_rebalance_total")
}

/// The number of lag series, of all groups and partitions.
fn lag(site: &Site) -> usize {
    let metrics = http::get(site.management_port, "/metrics", None).body;
    let lags = metrics.lines().filter(|line| line.starts_with("millrace_coordinator_group_lag{"));
    lags.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test]
async fn consumers_share_a_topic_and_take_over_from_each_other() {
    for strategy in ["range", "cooperative-sticky"] {
        let site = Site::new(&["num.partitions=6"]);
        let broker = site.start();
        produce(&site, 1).await;
        let settings = [("partition.assignment.strategy", strategy)];
        let first = consumer(&site, &settings);
        assert_eq!(balanced(&[&first])[0].len(), 6, "{strategy}");
        let second = consumer(&site, &settings);
        balanced(&[&first, &second]);
        let third = consumer(&site, &settings);
        balanced(&[&first, &second, &third]);
        // One leaves, another is killed: its session expires.
        drop(second);
        balanced(&[&first, &third]);
        assert!(broker.stop().success());
        let _broker = site.start();
        balanced(&[&first, &third]);
    }
}

#[tokio::test]
async fn a_group_goes_on_where_it_has_committed_after_every_kind_of_stop() {
    let site = Site::new(&["num.partitions=6"]);
    let mut broker: Broker = site.start();
    produce(&site, 30).await;
    let mut read: Vec<(i32, i64)> = Vec::new();
    for round in 0..3 {
        let consumer = consumer(&site, &[]);
        let wanted = read.len() + 40;
        eventually("forty records more", || {
            let record = consumer.poll(POLL)?.unwrap();
            read.push((record.partition(), record.offset()));
            consumer.commit_message(&record, CommitMode::Sync).unwrap();
            (wanted <= read.len()).then_some(())
        });
        drop(consumer);
        let partitions: BTreeSet<_> = read.iter().map(|(partition, _)| *partition).collect();
        assert_eq!(lag(&site), 30 * partitions.len() - read.len(), "of partitions with a committed offset");
        match round {
            0 => assert!(broker.stop().success()),
            _ => broker.kill(),
        }
        broker = site.start();
    }
    let mut distinct = read.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), read.len(), "nothing was read twice");
    for partition in 0..PARTITIONS {
        let offsets: Vec<_> = read.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect();
        assert!(offsets.iter().copied().eq(0..i64::try_from(offsets.len()).unwrap()), "nothing was left out");
    }
    let mut wire = Wire::connect(site.port);
    let refused = wire.produce(9, "__consumer_offsets", Some(batch(&[b"not a coordinator's"], Timestamp(5))));
    assert_eq!(refused.error_code, ResponseError::InvalidTopicException.code());
}

#[tokio::test]
async fn a_static_member_restarts_without_a_rebalance() {
    let site = Site::new(&["num.partitions=6"]);
    let _broker = site.start();
    produce(&site, 1).await;
    let settings = |name| [("group.instance.id", name), ("session.timeout.ms", "60000")];
    let first = consumer(&site, &settings("first"));
    let second = consumer(&site, &settings("second"));
    let before = balanced(&[&first, &second]);
    let generations = rebalances(&site);
    // It does not leave: a static member never does.
    drop(second);
    let second = consumer(&site, &settings("second"));
    let after = balanced(&[&first, &second]);
    assert_eq!((after, rebalances(&site)), (before, generations));
}

const GROUPS: usize = 1000;
const GROUPS_AT_ONCE: usize = 100;
const MEMBERS: usize = 3;

fn group(number: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{number}")))
}

/// Joins with all members of some groups, and gives each its assignment.
fn form(wires: &mut [Wire], groups: std::ops::Range<usize>) {
    let subscription =
        Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 5, b't', b'o', b'p', b'i', b'c', 0xFF, 0xFF, 0xFF, 0xFF]);
    for (number, wires) in groups.clone().zip(wires.chunks_mut(MEMBERS)) {
        for wire in wires {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str("range"))
                .with_metadata(subscription.clone());
            let request = JoinGroupRequest::default()
                .with_group_id(group(number))
                .with_session_timeout_ms(1_800_000)
                .with_rebalance_timeout_ms(300_000)
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(vec![protocol]);
            let frame = wire.encode(3, &request);
            wire.send(&frame);
        }
    }
    for (number, wires) in groups.zip(wires.chunks_mut(MEMBERS)) {
        let joined: Vec<_> = wires.iter_mut().map(joined).collect();
        assert!(joined.iter().all(|joined| (joined.error_code, joined.generation_id) == (0, 1)), "{joined:?}");
        let leader = joined.iter().position(|joined| joined.member_id == joined.leader).unwrap();
        let assigned = joined[leader].members.iter().map(|member| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from(vec![7; 100]))
        });
        let request = SyncGroupRequest::default().with_group_id(group(number)).with_generation_id(1);
        let leading =
            request.clone().with_member_id(joined[leader].member_id.clone()).with_assignments(assigned.collect());
        assert_eq!(wires[leader].call(0, &leading).assignment.len(), 100);
        for (wire, joined) in wires.iter_mut().zip(&joined).filter(|(_, joined)| joined.member_id != joined.leader) {
            let synced = wire.call(0, &request.clone().with_member_id(joined.member_id.clone()));
            assert_eq!(synced.assignment.len(), 100);
        }
    }
}

fn joined(wire: &mut Wire) -> JoinGroupResponse {
    let mut answer = wire.receive().unwrap();
    ResponseHeader::decode(&mut answer, 0).unwrap();
    JoinGroupResponse::decode(&mut answer, 3).unwrap()
}

#[test]
fn a_thousand_groups_are_small_and_idle() {
    let site = Site::new(&["group.initial.rebalance.delay.ms=300", "offsets.topic.num.partitions=50"]);
    let broker = site.start();
    let mut wires: Vec<_> = (0..GROUPS_AT_ONCE * MEMBERS).map(|_| Wire::connect(site.port)).collect();
    let found = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
    assert_eq!(wires[0].call(0, &found).error_code, 0);
    eventually("all partitions are loaded", || {
        (metric(&site, "partition_load_time_seconds_count") == 50).then_some(())
    });
    form(&mut wires, 0..GROUPS_AT_ONCE);
    let before = broker.resident_kib();
    for round in 1..=GROUPS / GROUPS_AT_ONCE {
        form(&mut wires, round * GROUPS_AT_ONCE..(round + 1) * GROUPS_AT_ONCE);
    }
    let grown = broker.resident_kib().saturating_sub(before);
    println!("{GROUPS} groups of {MEMBERS} members take {grown} KiB");
    assert!(grown <= 20 * 1024, "{grown} KiB");
}
