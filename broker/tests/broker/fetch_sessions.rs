//! Fetch sessions (KIP-227) as seen by a client.

use std::thread;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, FetchResponse};
use protocol::types::Timestamp;

use crate::harness::calls::{fetch_partition, name};
use crate::harness::http::get;
use crate::harness::wire::{Wire, batch};
use crate::harness::{DEADLINE, Site, eventually};

const TOPIC: &str = "read";

fn create(wire: &mut Wire) {
    let topic = CreatableTopic::default().with_name(name(TOPIC)).with_num_partitions(3).with_replication_factor(1);
    let created = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(created.topics[0].error_code, 0);
}

fn produce(wire: &mut Wire, partition: i32) {
    let data = PartitionProduceData::default().with_index(partition);
    let data = data.with_records(Some(batch(&[b"value"], Timestamp(1))));
    assert_eq!(wire.produce_data(9, name(TOPIC), 1, data).error_code, 0);
}

/// Names partitions with offsets, and partitions to forget.
fn request((id, epoch): (i32, i32), named: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest {
    let partitions = named.iter().map(|(index, offset)| fetch_partition(*offset).with_partition(*index));
    let named = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(partitions.collect());
    let forgotten = ForgottenTopic::default().with_topic(name(TOPIC)).with_partitions(forgotten.to_vec());
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(vec![named])
        .with_forgotten_topics_data(vec![forgotten])
}

/// The partitions in the answer, with the bytes of their records.
fn found(response: &FetchResponse) -> Vec<(i32, usize)> {
    assert_eq!(response.error_code, 0);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let found = partitions.map(|partition| {
        assert_eq!(partition.error_code, 0);
        (partition.partition_index, partition.records.as_ref().map_or(0, bytes::Bytes::len))
    });
    found.collect()
}

fn sessions(site: &Site) -> String {
    let text = get(site.management_port, "/metrics", None).body;
    let line =
        text.lines().find(|line| line.starts_with("kafka_server_fetchsessioncache_num_incremental_fetch_sessions"));
    line.unwrap().to_owned()
}

#[test]
fn a_session_is_answered_with_what_is_news() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire);
    let first = eventually("all partitions are led", || {
        let first = wire.call(12, &request((0, 0), &[(0, 0), (1, 0), (2, 0)], &[]));
        first.responses[0].partitions.iter().all(|partition| partition.error_code == 0).then_some(first)
    });
    let id = first.session_id;
    assert_eq!((id == 0, found(&first)), (false, vec![(0, 0), (1, 0), (2, 0)]));
    let mut ask = |epoch: i32, named: &[(i32, i64)], forgotten: &[i32]| {
        let answer = wire.call(12, &request((id, epoch), named, forgotten));
        assert_eq!(answer.session_id, id);
        found(&answer)
    };
    let mut producer = Wire::connect(site.port);
    assert_eq!(ask(1, &[], &[]), []);
    produce(&mut producer, 1);
    let records = ask(2, &[], &[]);
    assert!(matches!(records.as_slice(), [(1, 1..)]), "{records:?}");
    assert_eq!(ask(3, &[], &[]), records, "the reader has not gone on");
    assert_eq!(ask(4, &[(1, 1)], &[]), []);
    produce(&mut producer, 1);
    assert_eq!(ask(5, &[], &[1]), []);
    assert_eq!(ask(6, &[(1, 1)], &[]).len(), 1, "back again");
}

#[test]
fn a_session_that_waits_is_woken_by_its_partitions() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let (mut wire, mut producer) = (Wire::connect(site.port), Wire::connect(site.port));
    create(&mut wire);
    produce(&mut producer, 0);
    let mut id = 0;
    eventually("it has all partitions", || {
        let first = wire.call(12, &request((0, 0), &[(0, 1), (1, 0), (2, 0)], &[]));
        id = first.session_id;
        first.responses[0].partitions.iter().all(|partition| partition.error_code == 0).then_some(())
    });
    for (epoch, read_on, partition) in [(1, vec![], 2), (2, vec![(2, 1)], 1), (3, vec![(1, 1)], 2)] {
        let wait = i32::try_from(DEADLINE.as_millis()).unwrap();
        let waiting = request((id, epoch), &read_on, &[]).with_max_wait_ms(wait).with_min_bytes(1);
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| wire.call(12, &waiting));
            produce(&mut producer, partition);
            asked.join().unwrap()
        });
        let found = found(&answer);
        assert!(matches!(found.as_slice(), [(index, 1..)] if *index == partition), "{epoch}: {found:?}");
    }
}

#[test]
fn sessions_end_when_they_are_told_to_or_out_of_order() {
    let site = Site::new(&["max.incremental.fetch.session.cache.slots=1"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire);
    let all = [(0, 0), (1, 0)];
    let id = wire.call(12, &request((0, 0), &all, &[])).session_id;
    assert!(0 < id && sessions(&site).ends_with(" 1"));
    let mut error = |session: (i32, i32), version: i16| wire.call(version, &request(session, &[], &[])).error_code;
    assert_eq!(error((id, 2), 12), ResponseError::InvalidFetchSessionEpoch.code());
    assert_eq!(error((id, 1), 13), ResponseError::FetchSessionTopicIdError.code());
    assert_eq!(error((id ^ 1, 1), 12), ResponseError::FetchSessionIdNotFound.code());
    assert_eq!(error((id, 1), 12), 0, "none of that has touched it");
    let second = wire.call(12, &request((0, 0), &all, &[]));
    assert_eq!((second.session_id, second.error_code), (0, 0), "no room: answered without one");
    let closed = wire.call(12, &request((id, -1), &all, &[]));
    assert_eq!((closed.session_id, closed.error_code), (0, 0));
    assert!(sessions(&site).ends_with(" 0"));
    let gone = wire.call(12, &request((id, 2), &[], &[]));
    assert_eq!(gone.error_code, ResponseError::FetchSessionIdNotFound.code());
}
