//! Ten thousand partitions on one small broker.
#![expect(clippy::print_stderr, reason = "the figures are worth a look")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{BrokerHeartbeatRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::harness::http::get;
use crate::harness::wire::Wire;
use crate::harness::{Broker, Site, eventually};

const TOPICS: usize = 10;
const PARTITIONS_EACH: i32 = 1000;
const RESIDENT_KIB_MAX: u64 = 150 << 10;
/// Far below one per partition.
const DESCRIPTORS_MAX: usize = 1000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(10);
/// A third of a session: far more than an answer takes, far less than creating the logs takes.
const HEARTBEAT_MAX: Duration = Duration::from_secs(1);

/// All at once: as many as one request may ask for.
fn create(site: &Site) {
    let topic = |topic| {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(format!("many{topic}"))))
            .with_num_partitions(PARTITIONS_EACH)
            .with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default().with_topics((0..TOPICS).map(topic).collect());
    let created = Wire::connect(site.port).call(5, &request.with_timeout_ms(60_000));
    for topic in created.topics {
        assert_eq!(topic.error_code, 0, "{:?}", topic.error_message);
    }
}

/// The longest time that a broker waits for the answer to a heartbeat, until `work` is done.
fn longest_heartbeat(site: &Site, work: impl FnOnce()) -> Duration {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let heartbeats = scope.spawn(|| {
            let (mut wire, mut longest) = (Wire::connect(site.controller_port), Duration::ZERO);
            while !is_done.load(Ordering::Acquire) {
                let asked = Instant::now();
                let answer = wire.call(1, &BrokerHeartbeatRequest::default().with_broker_id(9.into()));
                assert_eq!(answer.error_code, ResponseError::BrokerIdNotRegistered.code());
                longest = longest.max(asked.elapsed());
                std::thread::park_timeout(HEARTBEAT_INTERVAL);
            }
            longest
        });
        work();
        is_done.store(true, Ordering::Release);
        heartbeats.join().unwrap()
    })
}

/// Waits until this broker leads all partitions.
fn all_led(site: &Site, broker: &Broker, what: &str, since: Instant) {
    eventually("leaders of all partitions", || {
        let text = get(site.management_port, "/metrics", None).body;
        text.contains("kafka_server_replicamanager_leader_count 10000\n").then_some(())
    });
    let (took_ms, resident_kib, descriptors) =
        (since.elapsed().as_millis(), broker.resident_kib(), broker.descriptors());
    eprintln!("10000 partitions {what}: {took_ms} ms, {resident_kib} KiB resident, {descriptors} descriptors");
    assert!(resident_kib < RESIDENT_KIB_MAX, "{resident_kib} KiB resident");
    assert!(descriptors < DESCRIPTORS_MAX, "{descriptors} descriptors");
}

#[test]
fn ten_thousand_partitions_take_little_and_come_back_soon() {
    let site = Site::new(&[]);
    let broker = site.start();
    let begun = Instant::now();
    let longest = longest_heartbeat(&site, || create(&site));
    eprintln!("the longest heartbeat meanwhile took {} ms", longest.as_millis());
    assert!(longest < HEARTBEAT_MAX, "a heartbeat took {longest:?}");
    all_led(&site, &broker, "created", begun);
    broker.kill();
    let begun = Instant::now();
    let broker = site.start();
    all_led(&site, &broker, "after SIGKILL", begun);
    assert!(broker.stop().success());
    let begun = Instant::now();
    let broker = site.start();
    all_led(&site, &broker, "after SIGTERM", begun);
    assert!(broker.stop().success());
}
