//! Clients that are many, slow, stuck or gone, and the limits that keep them from harming others.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::http::get;
use crate::harness::wire::{Wire, batch, create};
use crate::harness::{Broker, Site, eventually};

const LISTENER: &str = "{listener=\"PLAINTEXT\"}";

/// The value of a sample, given by its name and labels.
fn metric(site: &Site, sample: &str) -> Option<f64> {
    let text = get(site.management_port, "/metrics", None).body;
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

fn open_connections(site: &Site) -> Option<f64> {
    metric(site, &format!("kafka_network_socketserver_connections{LISTENER}"))
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn produce_request(value_bytes: usize) -> ProduceRequest {
    let records = batch(&[&vec![b'x'; value_bytes]], Timestamp(1));
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic])
}

fn produce(wire: &mut Wire, value_bytes: usize) -> i16 {
    let response = wire.call(9, &produce_request(value_bytes));
    response.responses[0].partition_responses[0].error_code
}

/// A fetch at an offset beyond the log end.
fn poll(offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition =
        FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_max_wait_ms(max_wait_ms)
        .with_topics(vec![topic])
}

fn serves(wire: &mut Wire) {
    assert_eq!(wire.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t", &[]);
    let mut frames = Vec::new();
    for number in 0..1000 {
        frames.extend(match number % 100 {
            // A waiting request holds back those after it.
            7 => wire.encode(11, &poll(1_000_000, 10)),
            50 => wire.encode(9, &produce_request(20_000)),
            _ => wire.encode(0, &ApiVersionsRequest::default()),
        });
    }
    let first = wire.correlation_id() - 999;
    wire.send(&frames);
    for expected in first..first + 1000 {
        let answer = wire.receive().expect("an answer to each");
        assert_eq!(i32::from_be_bytes(answer[..4].try_into().unwrap()), expected);
    }
}

#[test]
fn a_client_that_never_reads_disturbs_nobody_and_is_closed_when_idle_for_too_long() {
    let site = Site::new(&["connections.max.idle.ms=1000"]);
    let _broker = site.start();
    let mut stuck = Wire::connect(site.port);
    let request = stuck.encode(0, &ApiVersionsRequest::default()).repeat(1_000_000);
    stuck.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let blocked = stuck.stream.write_all(&request).unwrap_err();
    assert!(matches!(blocked.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked}");
    serves(&mut Wire::connect(site.port));
    let used = metric(&site, "kafka_network_socketserver_memory_pool_used").unwrap();
    assert!(0.0 < used && used < 200_000.0, "{used} bytes wait for a client that does not read");
    eventually("the stuck client is closed", || (open_connections(&site)? < 0.5).then_some(()));
    eventually("what it held is free", || {
        (metric(&site, "kafka_network_socketserver_memory_pool_used")? < 0.5).then_some(())
    });
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered_and_holds_nobody_up() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let (mut slow, mut other) = (Wire::connect(site.port), Wire::connect(site.port));
    for byte in slow.encode(0, &ApiVersionsRequest::default()) {
        slow.send(&[byte]);
        serves(&mut other);
    }
    assert!(slow.receive().is_some());
}

#[test]
fn idle_connections_are_closed_and_dead_peers_are_asked_for() {
    let site = Site::new(&["connections.max.idle.ms=400"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    serves(&mut wire);
    assert_eq!(timer(&site), Some("02".to_owned()), "the kernel's keep-alive timer runs");
    assert!(wire.receive().is_none(), "closed without a request having been made");
    let mut halves = Wire::connect(site.port);
    halves.send(&[0, 0]);
    assert!(halves.receive().is_none(), "half a length is no activity for ever");
}

/// The timer that the kernel keeps for the broker's end of a connection.
fn timer(site: &Site) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, established) = (format!("0100007F:{:04X}", site.port), "01");
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ours = fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&established);
        ours.then(|| fields[5].split(':').next().unwrap().to_owned())
    })
}

#[test]
fn a_long_poll_ends_with_its_client() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t", &[]);
    let request = wire.encode(11, &poll(0, 250_000));
    wire.send(&request);
    eventually("the poll is there", || {
        (0.5 < metric(&site, "kafka_network_socketserver_memory_pool_used")?).then_some(())
    });
    drop(wire);
    eventually("the poll is over", || (open_connections(&site)? < 0.5).then_some(()));
    let waited = "kafka_network_requestmetrics_remote_time_seconds_count{request=\"Fetch\"}";
    assert_eq!(metric(&site, waited), Some(1.0));
}

#[test]
fn a_stop_answers_long_polls_and_waits_for_no_half_request() {
    let site = Site::new(&[]);
    let broker = site.start();
    let (mut half, mut polling) = (Wire::connect(site.port), Wire::connect(site.port));
    create(&mut polling, "t", &[]);
    half.send(&[0, 0, 1, 0, 7]);
    let request = polling.encode(11, &poll(0, 250_000));
    polling.send(&request);
    eventually("both are there", || {
        (5.0 < metric(&site, "kafka_network_socketserver_memory_pool_used")?).then_some(())
    });
    let began = Instant::now();
    assert!(broker.stop().success());
    assert!(began.elapsed() < Duration::from_secs(20), "nobody is waited for to the end of a poll");
    assert!(polling.receive().is_some(), "a poll is answered with what there is");
    assert!(half.receive().is_none());
}

#[test]
fn announced_bytes_take_nothing_of_the_budget_and_received_ones_no_more_than_it() {
    let site = Site::new(&["queued.max.request.bytes=1048576"]);
    let mut broker = site.start();
    let mut other = Wire::connect(site.port);
    create(&mut other, "t", &[]);
    let before = broker.resident_kib();
    let announced = (100_i32 << 20).to_be_bytes();
    let mut claims: Vec<_> = (0..100).map(|_| Wire::connect(site.port)).collect();
    for claim in &mut claims {
        claim.send(&announced);
    }
    eventually("all are there", || (100.0 < open_connections(&site)?).then_some(()));
    assert_eq!(produce(&mut other, 500_000), 0);
    // What is sent in addition fills the budget, and most of it stays in the sockets.
    for claim in claims.iter_mut().take(30) {
        claim.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let _cut_short = claim.stream.write_all(&vec![0; 300_000]);
    }
    let used = metric(&site, "kafka_network_socketserver_memory_pool_used").unwrap();
    assert!((400_000.0..=1_100_000.0).contains(&used), "{used} bytes are held");
    assert_eq!(produce(&mut other, 100), 0, "small requests go on");
    assert_eq!(produce(&mut other, 500_000), 0, "a large one goes on when senders that stall are closed");
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more than before");
    assert!(broker.is_running());
}

#[test]
fn what_a_request_that_waits_was_decoded_to_counts() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t", &[]);
    let mut request = poll(0, 250_000);
    let partitions = &mut request.topics[0].partitions;
    *partitions = vec![partitions.remove(0); 10_000];
    let frame = wire.encode(11, &request);
    wire.send(&frame);
    let expected = u32::try_from(frame.len() + 10_000 * size_of::<FetchPartition>()).unwrap();
    eventually("frame and partitions are counted", || {
        let used = metric(&site, "kafka_network_socketserver_memory_pool_used")?;
        (f64::from(expected) <= used).then_some(())
    });
    drop(wire);
    eventually("it is free again", || {
        (metric(&site, "kafka_network_socketserver_memory_pool_used")? < 0.5).then_some(())
    });
}

#[test]
fn connections_over_a_limit_are_closed_at_once() {
    let site = Site::new(&["max.connections=2"]);
    let _broker = site.start();
    // Connections are accepted in order: once this one is served, the earlier one was, too.
    serves(&mut Wire::connect(site.port));
    eventually("they are gone", || (open_connections(&site)? < 0.5).then_some(()));
    let (mut one, mut two) = (Wire::connect(site.port), Wire::connect(site.port));
    serves(&mut one);
    serves(&mut two);
    assert!(Wire::connect(site.port).receive().is_none());
    assert_eq!(metric(&site, &format!("kafka_network_socketserver_connections_refused_total{LISTENER}")), Some(1.0));
    drop(two);
    eventually("there is room again", || (open_connections(&site)? < 1.5).then_some(()));
    serves(&mut Wire::connect(site.port));

    let site = Site::new(&["max.connections.per.ip=7", "max.connections.per.ip.overrides=127.0.0.1:0"]);
    let mut broker = Broker::spawn(&site.arguments(), site.directory.path(), site.port);
    broker.wait_until_serving();
    assert!(Wire::connect(site.port).receive().is_none());
}

#[test]
fn without_descriptors_the_broker_waits_instead_of_spinning() {
    let site = Site::new(&[]);
    let broker = site.start();
    let mut before = Wire::connect(site.port);
    serves(&mut before);
    let pid = Pid::from_raw(i32::try_from(broker.id()).unwrap());
    let limit = |count| prlimit(pid, Resource::Nofile, Rlimit { current: Some(count), maximum: Some(20_000) }).unwrap();
    let usual = limit(5);
    let mut late = Wire::connect(site.port);
    eventually("the acceptor has found out", || broker.log().contains("accept failed").then_some(()));
    let (began, cpu) = (Instant::now(), cpu_ticks(&broker));
    eventually("half a second is over", || (Duration::from_millis(500) < began.elapsed()).then_some(()));
    let ticks = cpu_ticks(&broker) - cpu;
    assert!(ticks < 25, "{ticks} ticks of CPU in half a second of waiting");
    assert_eq!(broker.log().matches("accept failed").count(), 1, "it is told once, not at every attempt");
    serves(&mut before);
    limit(usual.current.unwrap());
    serves(&mut late);
}

fn cpu_ticks(broker: &Broker) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", broker.id())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
