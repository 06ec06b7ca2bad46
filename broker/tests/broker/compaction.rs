//! Topics that keep only the last record of each key.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::records;
use protocol::types::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::harness::calls::fetch_partition;
use crate::harness::http;
use crate::harness::wire::{Wire, create};
use crate::harness::{DEADLINE, Site, eventually, free_port, now_ms};

const CLEANER: [&str; 3] =
    ["log.cleaner.backoff.ms=10", "log.initial.task.delay.ms=10", "log.retention.check.interval.ms=10"];
const VALUE_BYTES: usize = 100_000;

fn record(key: &str, value: Option<&[u8]>, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(timestamp));
    builder.push(Some(key.as_bytes()), value);
    builder.build().unwrap().bytes
}

fn produce(wire: &mut Wire, topic: &str, key: &str, value: Option<&[u8]>, timestamp: i64) -> i64 {
    let answer = wire.produce(9, topic, Some(record(key, value, timestamp)));
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

/// Offset and first byte of the value of every record that a consumer reads.
fn read_all(wire: &mut Wire, topic: &str) -> BTreeMap<i64, (String, Option<u8>)> {
    let (start, end) = (wire.list_offset(7, topic, -2).offset, wire.list_offset(7, topic, -1).offset);
    let (mut next, mut found) = (start, BTreeMap::new());
    while next < end {
        let answer = wire.fetch(topic, fetch_partition(next));
        if answer.error_code == ResponseError::OffsetOutOfRange.code() {
            return read_all(wire, topic);
        }
        assert_eq!(answer.error_code, 0, "at {next}");
        let bytes = answer.records.unwrap();
        let before = next;
        let mut rest: &[u8] = &bytes;
        while let Some(header) = rest.first_chunk::<HEADER_LENGTH>().map(BatchHeader::decode) {
            let Some((batch, behind)) = rest.split_at_checked(header.length().unwrap()) else { break };
            for record in &records::walk(batch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                let first = record.value.map(|value| value[0]);
                found.insert(header.base_offset.0 + i64::from(record.offset_delta), (key, first));
            }
            (next, rest) = (header.next_offset().0, behind);
        }
        assert!(before < next, "nothing at {before}");
    }
    found
}

/// Every record, read by librdkafka, which accepts gaps.
fn consume(site: &Site, topic: &str, end: i64) -> BTreeMap<i64, String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.bootstrap())
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut found = BTreeMap::new();
    while !found.contains_key(&(end - 1)) {
        let message = consumer.poll(DEADLINE).expect("a record in time").unwrap();
        found.insert(message.offset(), String::from_utf8(message.key().unwrap().to_vec()).unwrap());
    }
    found
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let management = free_port();
    let listener = format!("millrace.management.listener=127.0.0.1:{management}");
    let site = Site::new(&[&CLEANER[..], &[&listener]].concat());
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
        ("file.delete.delay.ms", "0"),
        ("flush.ms", "10"),
    ];
    create(&mut wire, "latest", &settings);
    let value = |number: u8| vec![number; VALUE_BYTES];
    for number in 0..40_u8 {
        let key = format!("key-{}", number % 4);
        produce(&mut wire, "latest", &key, Some(&value(number)), now_ms());
    }
    let gone = produce(&mut wire, "latest", "key-0", None, now_ms());
    for number in 41..64_u8 {
        produce(&mut wire, "latest", "key-9", Some(&value(number)), now_ms());
    }
    // The active segment holds at most the last ten, and is not compacted.
    let closed = |found: &BTreeMap<i64, (String, Option<u8>)>| {
        let before: Vec<_> = found.range(..50).map(|(offset, (key, value))| (*offset, key.clone(), *value)).collect();
        before
    };
    let expected: Vec<_> = [(37, "key-1", Some(37)), (38, "key-2", Some(38)), (39, "key-3", Some(39))]
        .map(|(offset, key, value)| (offset, key.to_owned(), value))
        .into();
    // One pass marks the tombstone, another that finds something new removes it.
    eventually("what is superseded or deleted goes", || {
        produce(&mut wire, "latest", "key-9", Some(&value(9)), now_ms());
        (closed(&read_all(&mut wire, "latest")) == expected).then_some(())
    });
    assert!(expected.iter().all(|(offset, ..)| *offset != gone), "delete.retention.ms is over at once");
    let end = wire.list_offset(7, "latest", -1).offset;
    let consumed: Vec<_> = consume(&site, "latest", end).into_iter().filter(|(offset, _)| *offset < 50).collect();
    assert_eq!(consumed, expected.iter().map(|(offset, key, _)| (*offset, key.clone())).collect::<Vec<_>>());
    assert_eq!(wire.list_offset(7, "latest", -2).offset, 0, "the log begins where it began");
    let bytes = || {
        let files = fs::read_dir(site.data().join("latest-0")).unwrap().map(|entry| entry.unwrap());
        files.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    eventually("the space comes back", || (bytes() < 20 * VALUE_BYTES as u64).then_some(()));
    let metrics = http::get(management, "/metrics", None).body;
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().parse::<u64>().unwrap()
    };
    assert!(0 < metric("millrace_log_logcleaner_passes_total"));
    assert_eq!(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);

    broker.kill();
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    assert_eq!(closed(&read_all(&mut wire, "latest")), expected);
    assert_eq!(produce(&mut wire, "latest", "key-1", Some(&value(1)), now_ms()), end);
    assert!(broker.stop().success());
}

#[test]
fn compact_and_delete_together_do_both() {
    let site = Site::new(&CLEANER);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("retention.ms", "3600000"),
        ("segment.ms", "60000"),
        ("flush.ms", "10"),
    ];
    create(&mut wire, "both", &settings);
    let (old, value) = (now_ms() - 7_200_000, vec![1; VALUE_BYTES]);
    for number in 0..20 {
        let key = format!("old-{number}");
        produce(&mut wire, "both", &key, Some(&value), old);
    }
    for _ in 0..30 {
        produce(&mut wire, "both", "new", Some(&value), now_ms());
    }
    eventually("what is old goes, of what is young the last of its key stays", || {
        let found = read_all(&mut wire, "both");
        (found.values().all(|(key, _)| key == "new") && found.len() < 15).then_some(())
    });
    assert!(0 < wire.list_offset(7, "both", -2).offset);
}
