//! What strangers may send. The broker answers with the right error or closes the connection, stays up, and spends no
//! memory on claims.

use crate::harness::wire::{Wire, batch, create, frame};
use crate::harness::{Broker, Site};
use bytes::{BufMut as _, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::types::{ProducerEpoch, ProducerId, Timestamp};

/// Resident memory may not grow by more than this over all the hostile frames.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

fn header(key: i16, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(1);
    bytes.put_i16(-1);
    bytes
}

fn with_body(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(key, version);
    bytes.put_slice(body);
    frame(&bytes)
}

/// Frames that no answer exists for.
fn unanswerable() -> Vec<(&'static str, Vec<u8>)> {
    let huge_count = i32::MAX.to_be_bytes();
    let varint_huge = [0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    vec![
        ("negative length", (-1i32).to_be_bytes().to_vec()),
        ("a frame of 2 GiB", i32::MAX.to_be_bytes().to_vec()),
        ("an empty frame", frame(&[])),
        ("half a header", frame(&[0, 3, 0])),
        ("an unknown API", with_body(9999, 0, &[])),
        ("an API of the past", with_body(4, 0, &[])),
        ("a version of the future", with_body(3, 99, &[])),
        ("a negative version", with_body(3, -1, &[])),
        ("metadata of i32::MAX topics", with_body(3, 1, &huge_count)),
        ("compact metadata of u32::MAX topics", with_body(3, 9, &varint_huge)),
        ("produce of i32::MAX topics", with_body(0, 3, &[&[0xff, 0xff, 0, 1, 0, 0, 0, 1][..], &huge_count].concat())),
        ("fetch of i32::MAX topics", with_body(1, 4, &[&[0xff; 17][..], &huge_count].concat())),
        ("create i32::MAX topics", with_body(19, 2, &huge_count)),
        ("list offsets of i32::MAX topics", with_body(2, 1, &[&[0xff; 4][..], &huge_count].concat())),
        ("a body that ends early", with_body(3, 1, &[0, 0, 0, 1, 0, 5, b'a'])),
    ]
}

#[test]
fn frames_that_cannot_be_answered_close_their_connection_and_cost_nothing() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let before = broker.resident_kib();
    for (what, bytes) in unanswerable() {
        for _ in 0..20 {
            let mut wire = Wire::connect(site.port);
            wire.send(&bytes);
            assert!(wire.receive().is_none(), "{what} was answered");
        }
        assert!(broker.is_running(), "{what} ended the broker:\n{}", broker.log());
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "resident memory grew by {grown} KiB");
    still_serves(&site, &mut broker);
}

#[test]
fn a_torn_frame_harms_nobody_else() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let mut torn = Wire::connect(site.port);
    torn.send(&[0, 1, 0, 0, 0, 18]);
    still_serves(&site, &mut broker);
    drop(torn);
    still_serves(&site, &mut broker);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    wire.send(&with_body(18, 77, b"\0whatever a later version may hold"));
    let answer = wire.receive().unwrap();
    let expected = [0, 0, 0, 1, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
    assert_eq!(answer[..], expected, "correlation id, error 35, one row: ApiVersions 0 to 4");
}

fn still_serves(site: &Site, broker: &mut Broker) {
    let response = Wire::connect(site.port).call(0, &ApiVersionsRequest::default());
    assert_eq!(response.error_code, 0);
    assert!(broker.is_running());
}

fn produce(wire: &mut Wire, version: i16, records: Option<bytes::Bytes>) -> i16 {
    let data = PartitionProduceData::default().with_index(0).with_records(records);
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("bad")))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    wire.call(version, &request).responses[0].partition_responses[0].error_code
}

/// A batch with its header changed, and the checksum made right again.
fn changed(change: impl FnOnce(&mut BatchHeader)) -> bytes::Bytes {
    let good = batch(&[b"value"], Timestamp(1));
    let mut header = BatchHeader::decode(good.first_chunk::<HEADER_LENGTH>().unwrap());
    change(&mut header);
    let mut bytes = [&header.encode(), &good[HEADER_LENGTH..]].concat();
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    bytes.into()
}

#[test]
fn bad_batches_get_kafkas_errors_and_leave_no_trace() {
    let site = Site::new(&["log.message.timestamp.before.max.ms=1000000000000000"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "bad", &[("max.message.bytes", "1000")]);
    let good = batch(&[b"value"], Timestamp(1));
    let corrupt = [&good[..70], b"XX", &good[72..]].concat();
    let two = [&good[..], &good[..]].concat();
    let cut = good.slice(..good.len() - 3);
    let large = batch(&[&[0; 2000]], Timestamp(1));
    let bare: Vec<(&str, Option<bytes::Bytes>, ResponseError)> = vec![
        ("null records", None, ResponseError::InvalidRecord),
        ("empty records", Some(bytes::Bytes::new()), ResponseError::CorruptMessage),
        ("a wrong checksum", Some(corrupt.into()), ResponseError::CorruptMessage),
        ("two batches", Some(two.into()), ResponseError::InvalidRecord),
        ("a torn batch", Some(cut), ResponseError::InvalidRecord),
        ("a large batch", Some(large), ResponseError::MessageTooLarge),
        ("magic 0", Some(changed(|h| h.magic = 0)), ResponseError::UnsupportedForMessageFormat),
        ("magic 1", Some(changed(|h| h.magic = 1)), ResponseError::UnsupportedForMessageFormat),
        ("magic 3", Some(changed(|h| h.magic = 3)), ResponseError::InvalidRecord),
        ("count 0", Some(changed(|h| h.records_count = 0)), ResponseError::InvalidRecord),
        ("count i32::MAX", Some(changed(|h| h.records_count = i32::MAX)), ResponseError::InvalidRecord),
        (
            "a control batch",
            Some(changed(|h| h.attributes = h.attributes.with_control())),
            ResponseError::InvalidRecord,
        ),
        ("a time to come", Some(changed(|h| h.max_timestamp = Timestamp(i64::MAX))), ResponseError::InvalidTimestamp),
        (
            "sequence 7 after 0",
            Some(changed(|h| {
                (h.producer_id, h.producer_epoch, h.base_sequence) = (ProducerId(1), ProducerEpoch(0), -1);
            })),
            ResponseError::InvalidRecord,
        ),
    ];
    for (what, records, error) in bare {
        assert_eq!(produce(&mut wire, 9, records), error.code(), "{what}");
    }
    assert_eq!(produce(&mut wire, 9, Some(good)), 0);
    let idempotent = |sequence| {
        changed(|h| (h.producer_id, h.producer_epoch, h.base_sequence) = (ProducerId(9), ProducerEpoch(0), sequence))
    };
    assert_eq!(produce(&mut wire, 9, Some(idempotent(0))), 0);
    assert_eq!(produce(&mut wire, 9, Some(idempotent(0))), 0, "a duplicate is acknowledged again");
    assert_eq!(produce(&mut wire, 9, Some(idempotent(7))), ResponseError::OutOfOrderSequenceNumber.code());
}

#[test]
fn topics_that_cannot_be_are_refused_by_name() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "taken.name", &[]);
    let topic = |name: &str, partitions: i32, factor: i16| {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(factor)
    };
    let config = |value| {
        vec![CreatableTopicConfig::default().with_name(StrBytes::from_static_str("segment.bytes")).with_value(value)]
    };
    let table = [
        (topic("", 1, 1), ResponseError::InvalidTopicException),
        (topic("..", 1, 1), ResponseError::InvalidTopicException),
        (topic("a/b", 1, 1), ResponseError::InvalidTopicException),
        (topic(&"x".repeat(250), 1, 1), ResponseError::InvalidTopicException),
        (topic("taken_name", 1, 1), ResponseError::InvalidTopicException),
        (topic("taken.name", 1, 1), ResponseError::TopicAlreadyExists),
        (topic("t", 0, 1), ResponseError::InvalidPartitions),
        (topic("t", i32::MAX, 1), ResponseError::PolicyViolation),
        (topic("t", 1, 0), ResponseError::InvalidReplicationFactor),
        (topic("t", 1, 2), ResponseError::InvalidReplicationFactor),
        (topic("t", 1, 1).with_configs(config(Some(StrBytes::from_static_str("x")))), ResponseError::InvalidConfig),
    ];
    for (topic, error) in table {
        let name = topic.name.clone();
        let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(response.topics[0].error_code, error.code(), "{name:?}: {:?}", response.topics[0].error_message);
        assert!(response.topics[0].error_message.is_some());
    }
}
