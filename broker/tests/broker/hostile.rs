//! Malformed and hostile input. The broker answers with the right error or closes the connection, stays up, and
//! allocates no memory for mere claims.

use std::io::Write as _;

use crate::harness::wire::{Wire, create, frame};
use crate::harness::{Broker, Site};
use bytes::{BufMut as _, BytesMut};
use fuzz::hostile::{self, Hostile};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::api::{self, Api, Listener};

/// Resident memory may not grow by more than this over all hostile frames.
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

/// Frames that cannot be answered.
fn unanswerable() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("negative length", (-1i32).to_be_bytes().to_vec()),
        ("a frame of 2 GiB", i32::MAX.to_be_bytes().to_vec()),
        ("an empty frame", frame(&[])),
        ("half a header", frame(&[0, 3, 0])),
        ("an unknown API", with_body(9999, 0, &[])),
        ("an API of the past", with_body(4, 0, &[])),
        ("a version of the future", with_body(3, 99, &[])),
        ("a negative version", with_body(3, -1, &[])),
        ("a header of u32::MAX tagged fields", with_body(3, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a varint in the header without an end", with_body(3, 9, &[0x80; 12])),
    ]
}

/// Each API in each served version, with its port: first those for clients, then those for other nodes.
fn served(site: &Site) -> impl Iterator<Item = (&'static Api, i16, u16)> {
    let listeners = [(Listener::Client, site.port), (Listener::Controller, site.controller_port)];
    let versions = |api: &'static Api| (api.versions.first..=api.versions.last).map(move |version| (api, version));
    listeners.into_iter().flat_map(move |(listener, port)| {
        api::on(listener).flat_map(versions).map(move |(api, version)| (api, version, port))
    })
}

/// A request with this body and no tagged fields in its header.
fn request(api: &Api, version: i16, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
    with_body(api.key_number(), version, &[tags, body].concat())
}

#[test]
fn lengths_and_counts_that_lie_close_their_connection_and_cost_nothing() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let before = broker.resident_kib();
    for (api, version, port) in served(&site) {
        for Hostile { what, body } in hostile::bodies(api.request, version) {
            let mut wire = Wire::connect(port);
            wire.send(&request(api, version, &body));
            assert!(wire.receive().is_none(), "{what}: answered");
        }
        assert!(broker.is_running(), "{} {version} ended the broker:\n{}", api.name, broker.log());
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "resident memory grew by {grown} KiB");
    still_serves(&site, &mut broker);
}

#[test]
fn a_tagged_field_may_come_twice() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    for (api, version, port) in served(&site) {
        if let Some(body) = hostile::repeated_tag(api.request, version) {
            let mut wire = Wire::connect(port);
            wire.send(&request(api, version, &body));
            // Produce without acknowledgement has no answer, and if it is refused its connection is closed.
            let _ended = wire.stream.write_all(&with_body(18, 0, &[]));
            assert!(wire.receive().is_some() || api.name == "Produce", "{} {version} is not answered", api.name);
        }
    }
    still_serves(&site, &mut broker);
}

#[test]
fn frames_that_cannot_be_answered_close_their_connection_and_cost_nothing() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let before = broker.resident_kib();
    let ports = [site.port, site.controller_port].repeat(10);
    for (what, bytes) in unanswerable() {
        for port in &ports {
            let mut wire = Wire::connect(*port);
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
