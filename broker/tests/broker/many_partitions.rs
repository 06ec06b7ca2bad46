//! Ten thousand partitions on one small broker.
#![expect(clippy::print_stderr, reason = "the figures are worth a look")]

use std::time::Instant;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::harness::http::get;
use crate::harness::wire::Wire;
use crate::harness::{Broker, Site, eventually};

const TOPICS: usize = 10;
const PARTITIONS_EACH: i32 = 1000;
const RESIDENT_KIB_MAX: u64 = 150 << 10;
/// Far below one per partition.
const DESCRIPTORS_MAX: usize = 1000;

fn create(site: &Site) {
    let mut wire = Wire::connect(site.port);
    for topic in 0..TOPICS {
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(format!("many{topic}"))))
            .with_num_partitions(PARTITIONS_EACH)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let created = &wire.call(5, &request).topics[0];
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    }
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
    create(&site);
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
