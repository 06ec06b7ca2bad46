//! Deleted topics, and new ones with their names.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use protocol::types::Timestamp;
use uuid::Uuid;

use crate::harness::wire::{Wire, batch};
use crate::harness::{Broker, Site, eventually};

const UNKNOWN_NAME: i16 = ResponseError::UnknownTopicOrPartition.code();
const UNKNOWN_ID: i16 = ResponseError::UnknownTopicId.code();
/// The last version that uses topic names.
const BY_NAME: i16 = 12;
const BY_ID: i16 = 13;

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn create(wire: &mut Wire, topic: &str, configs: &[(&'static str, &'static str)]) -> Uuid {
    let config = |(option, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(option))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000));
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    response.topics[0].topic_id
}

fn delete(wire: &mut Wire, version: i16, topic: &str) -> i16 {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(1000);
    wire.call(version, &request).responses[0].error_code
}

/// The error, and the offset of the record.
fn produce(wire: &mut Wire, version: i16, topic: &str, id: Uuid) -> (i16, i64) {
    let data = PartitionProduceData::default().with_records(Some(batch(&[b"x"], Timestamp(1))));
    let topic_data = TopicProduceData::default().with_partition_data(vec![data]);
    let topic_data = if version < BY_ID { topic_data.with_name(name(topic)) } else { topic_data.with_topic_id(id) };
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic_data]);
    let partition = wire.call(version, &request).responses[0].partition_responses[0].clone();
    (partition.error_code, partition.base_offset)
}

fn fetch_request(version: i16, topic: &str, id: Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let wanted = FetchTopic::default().with_partitions(vec![partition]);
    let wanted = if version < BY_ID { wanted.with_topic(name(topic)) } else { wanted.with_topic_id(id) };
    FetchRequest::default()
        .with_max_wait_ms(600_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![wanted])
}

fn fetch(wire: &mut Wire, version: i16, topic: &str, id: Uuid) -> i16 {
    let request = fetch_request(version, topic, id, 0).with_max_wait_ms(0);
    wire.call(version, &request).responses[0].partitions[0].error_code
}

/// The error, and the offset after the last record.
fn log_end(wire: &mut Wire, topic: &str) -> (i16, i64) {
    let latest = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![latest]);
    let partition =
        wire.call(7, &ListOffsetsRequest::default().with_topics(vec![topic])).topics[0].partitions[0].clone();
    (partition.error_code, partition.offset)
}

fn metadata(wire: &mut Wire, topic: &str) -> i16 {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    wire.call(9, &request).topics[0].error_code
}

fn directories(site: &Site, topic: &str) -> Vec<String> {
    let names = fs::read_dir(site.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("{topic}-"))).collect()
}

/// Open descriptors and maps of files in the topic's directories.
fn held(broker: &Broker, topic: &str) -> usize {
    let process = format!("/proc/{}", broker.id());
    let links = fs::read_dir(format!("{process}/fd")).unwrap().filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    let files = links.map(|path| path.to_string_lossy().into_owned());
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    let part = format!("/{topic}-0");
    files.chain(maps.lines().map(str::to_owned)).filter(|line| line.contains(&part)).count()
}

#[test]
fn a_deleted_topic_is_gone_at_once_and_its_directory_later() {
    let site = Site::new(&["num.network.threads=1", "auto.create.topics.enable=false"]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    let id = create(&mut wire, "t", &[]);
    assert_eq!(produce(&mut wire, BY_NAME, "t", id), (0, 0));
    let mut waiting = [(BY_NAME, UNKNOWN_NAME), (BY_ID, UNKNOWN_ID)].map(|(version, error)| {
        let mut wire = Wire::connect(site.port);
        let frame = wire.encode(version, &fetch_request(version, "t", id, 1));
        wire.send(&frame);
        (wire, version, error)
    });
    assert_eq!(fetch(&mut wire, BY_ID, "t", id), 0);
    assert!(0 < held(&broker, "t"));

    assert_eq!(delete(&mut wire, 5, "t"), 0);
    for (wire, version, error) in &mut waiting {
        let mut response = wire.receive().expect("a waiting fetch is answered");
        ResponseHeader::decode(&mut response, ApiKey::Fetch.response_header_version(*version)).unwrap();
        let response = FetchResponse::decode(&mut response, *version).unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, *error, "version {version}");
    }
    assert_eq!(produce(&mut wire, BY_NAME, "t", id).0, UNKNOWN_NAME);
    assert_eq!(produce(&mut wire, BY_ID, "t", id).0, UNKNOWN_ID);
    assert_eq!((fetch(&mut wire, BY_NAME, "t", id), fetch(&mut wire, BY_ID, "t", id)), (UNKNOWN_NAME, UNKNOWN_ID));
    assert_eq!((log_end(&mut wire, "t").0, metadata(&mut wire, "t")), (UNKNOWN_NAME, UNKNOWN_NAME));
    assert_eq!(delete(&mut wire, 5, "t"), UNKNOWN_NAME);
    let [renamed] = directories(&site, "t").try_into().unwrap();
    let unique = renamed.strip_prefix("t-0.").and_then(|rest| rest.strip_suffix("-delete")).unwrap();
    assert!(unique.len() == 32 && unique.chars().all(|c| c.is_ascii_hexdigit()), "{renamed}");
    eventually("the files are let go", || (held(&broker, "t") == 0).then_some(()));

    create(&mut wire, "short", &[("file.delete.delay.ms", "0")]);
    assert_eq!(delete(&mut wire, 5, "short"), 0);
    eventually("without a delay it goes at once", || directories(&site, "short").is_empty().then_some(()));
    assert_eq!(directories(&site, "t").len(), 1, "a minute is not over");
    broker.kill();
    let _broker = site.start();
    eventually("the next start removes what waited", || directories(&site, "t").is_empty().then_some(()));
}

#[test]
fn a_topic_of_the_same_name_is_a_new_and_empty_one() {
    let site = Site::new(&[]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    let old = create(&mut wire, "t", &[]);
    for offset in 0..20 {
        assert_eq!(produce(&mut wire, BY_NAME, "t", old), (0, offset));
    }
    assert!(broker.stop().success(), "checkpoints know of 20 records now");

    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    assert_eq!(delete(&mut wire, 5, "t"), 0);
    let new = create(&mut wire, "t", &[]);
    assert_ne!(old, new);
    assert_eq!(log_end(&mut wire, "t"), (0, 0));
    assert_eq!(produce(&mut wire, BY_ID, "t", new), (0, 0));
    assert_eq!((fetch(&mut wire, BY_ID, "t", old), fetch(&mut wire, BY_ID, "t", new)), (UNKNOWN_ID, 0));
    broker.kill();

    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    assert_eq!(log_end(&mut wire, "t"), (0, 1), "nothing that was known of the old log is believed of the new");
    assert_eq!(produce(&mut wire, BY_ID, "t", new), (0, 1));
    assert!(broker.stop().success());
}

#[test]
fn topics_come_and_go_under_load() {
    const LIVES: usize = 40;
    let site = Site::new(&["auto.create.topics.enable=false", "log.segment.delete.delay.ms=0"]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    let over = AtomicBool::new(false);
    let produced = std::thread::scope(|scope| {
        let producers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut wire = Wire::connect(site.port);
                let mut produced = 0;
                while !over.load(Ordering::Relaxed) {
                    let (error, _) = produce(&mut wire, BY_NAME, "t", Uuid::nil());
                    // As in Kafka: if the topic was looked up just before, the partition is gone.
                    let gone = [UNKNOWN_NAME, ResponseError::NotLeaderOrFollower.code()];
                    assert!(error == 0 || gone.contains(&error), "error {error}");
                    produced += usize::from(error == 0);
                }
                produced
            })
        });
        for _ in 0..LIVES {
            create(&mut wire, "t", &[]);
            let records = || Some(log_end(&mut wire, "t").1).filter(|end| 0 < *end);
            eventually("somebody writes", records);
            assert_eq!(delete(&mut wire, 5, "t"), 0);
        }
        over.store(true, Ordering::Relaxed);
        producers.map(|producer| producer.join().unwrap()).iter().sum::<usize>()
    });
    assert!(LIVES <= produced);
    eventually("everything is removed", || directories(&site, "t").is_empty().then_some(()));
    eventually("everything is let go", || (held(&broker, "t") == 0).then_some(()));
    assert!(broker.stop().success());
}

#[test]
fn deletion_can_be_forbidden() {
    let site = Site::new(&["delete.topic.enable=false"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t", &[]);
    assert_eq!(delete(&mut wire, 1, "t"), ResponseError::InvalidRequest.code());
    assert_eq!(delete(&mut wire, 5, "t"), ResponseError::TopicDeletionDisabled.code());
    assert_eq!(metadata(&mut wire, "t"), 0);
}
