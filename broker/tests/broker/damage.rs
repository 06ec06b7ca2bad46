//! What a crash, a full disk or bit rot can do to the data directory.

use std::fs;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;

use crate::harness::http::get;
use crate::harness::wire::{Wire, batch};
use crate::harness::{Broker, Site, command, eventually};

pub(crate) fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// Creates the topic if it does not exist, and returns its number of partitions.
pub(crate) fn partitions(site: &Site) -> usize {
    partitions_of(site, topic())
}

fn partitions_of(site: &Site, topic: TopicName) -> usize {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    Wire::connect(site.port).call(9, &request).topics[0].partitions.len()
}

/// Returns the offset of the record.
fn produce(site: &Site) -> i64 {
    produce_to(site, topic(), b"x").unwrap()
}

/// Has one record.
pub(crate) fn produce_request(topic: TopicName, value: &[u8]) -> ProduceRequest {
    let data = PartitionProduceData::default().with_records(Some(batch(&[value], Timestamp(1))));
    let data = TopicProduceData::default().with_name(topic).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data])
}

/// Returns the offset of the record, or the error.
pub(crate) fn produce_to(site: &Site, topic: TopicName, value: &[u8]) -> Result<i64, i16> {
    let response = Wire::connect(site.port).call(9, &produce_request(topic, value));
    let partition = &response.responses[0].partition_responses[0];
    if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(partition.error_code) }
}

#[test]
fn a_partition_whose_creation_was_cut_short_is_made_anew() {
    let site = Site::new(&[]);
    let broker: Broker = site.start();
    assert_eq!(partitions(&site), 1);
    broker.kill();
    let directory = site.data().join("t-0");
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("partition.metadata.tmp"), "").unwrap();
    let broker = site.start();
    assert_eq!(produce(&site), 0);
    assert!(broker.stop().success());
}

#[test]
fn a_directory_of_an_earlier_topic_is_put_aside_as_it_is() {
    let site = Site::new(&[]);
    let broker = site.start();
    assert_eq!(partitions(&site), 1);
    assert_eq!(produce(&site), 0);
    assert!(broker.stop().success());
    let metadata = site.data().join("t-0/partition.metadata");
    fs::write(&metadata, "version: 0\ntopic_id: MkU3OEVBNTcwNTJENDM2Qg").unwrap();
    let broker = site.start();
    assert_eq!(produce(&site), 0, "a new log");
    let names = || fs::read_dir(site.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().any(|name| name.starts_with("t-0.") && name.ends_with("-stray")));
    assert!(broker.stop().success());
}

#[test]
fn damage_in_committed_metadata_is_refused_and_loses_nothing() {
    let site = Site::new(&[]);
    let broker = site.start();
    assert_eq!(partitions(&site), 1);
    assert!(broker.stop().success());
    let log = site.data().join("__cluster_metadata-0/00000000000000000000.log");
    let good = fs::read(&log).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&log, &bad).unwrap();
    let output = command().args(site.arguments()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(&log).unwrap(), bad, "nothing was cut off");
    fs::write(&log, &good).unwrap();
    let broker = site.start();
    assert_eq!(produce(&site), 0);
    assert!(broker.stop().success());
}

#[test]
fn a_damaged_log_is_offline_alone_until_it_is_repaired() {
    let site = Site::new(&[]).with_token("token");
    let broker = site.start();
    let other = || TopicName(StrBytes::from_static_str("u"));
    assert_eq!((partitions(&site), partitions_of(&site, other())), (1, 1));
    assert_eq!((produce(&site), produce_to(&site, other(), b"x")), (0, Ok(0)));
    assert!(broker.stop().success());
    // Synced, but to be checked at the next start.
    fs::remove_file(site.data().join(".kafka_cleanshutdown")).unwrap();
    fs::remove_file(site.data().join("t-0/00000000000000000001.snapshot")).unwrap();
    let log = site.data().join("t-0/00000000000000000000.log");
    let good = fs::read(&log).unwrap();
    let mut bad = good.clone();
    bad[65] ^= 1;
    fs::write(&log, &bad).unwrap();
    for end in [1, 2] {
        let broker = site.start();
        assert_eq!(produce_to(&site, topic(), b"x"), Err(ResponseError::KafkaStorageError.code()));
        assert_eq!(produce_to(&site, other(), b"x"), Ok(end), "the others are served");
        let status = get(site.management_port, "/v1/broker", Some("token")).json();
        assert_eq!(status["offlineReplicas"][0]["partition"], "t-0");
        assert!(status["offlineReplicas"][0]["reason"].as_str().unwrap().contains("its checksum is wrong"));
        assert!(broker.log().contains("offline: the log cannot be opened"), "{}", broker.log());
        assert!(broker.stop().success());
        assert_eq!(fs::read(&log).unwrap(), bad, "nothing was cut off");
    }
    fs::write(&log, &good).unwrap();
    let broker = site.start();
    assert_eq!(produce(&site), 1);
    assert!(broker.stop().success());
}

fn commit(wire: &mut Wire, group: &GroupId, offset: i64) {
    // Such that the log's index has every third batch.
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_string("x".repeat(1500))));
    let topic = OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(group.clone()).with_topics(vec![topic]);
    eventually("the offset is committed", || {
        (wire.call(7, &request).topics[0].partitions[0].error_code == 0).then_some(())
    });
}

fn committed(wire: &mut Wire, group: &GroupId) -> Option<i64> {
    let request = OffsetFetchRequest::default().with_group_id(group.clone()).with_topics(None);
    eventually("the group is loaded", || {
        let fetched = wire.call(5, &request);
        let offset = fetched.topics.first().map(|topic| topic.partitions[0].committed_offset);
        (fetched.error_code == 0).then_some(offset)
    })
}

#[test]
fn a_batch_of_offsets_whose_length_is_broken_costs_few_other_groups() {
    const GROUPS: i64 = 40;
    const BROKEN: usize = 20;
    let site = Site::new(&["offsets.topic.num.partitions=1"]);
    let broker = site.start();
    assert_eq!(partitions(&site), 1);
    let mut wire = Wire::connect(site.port);
    let groups: Vec<_> = (0..GROUPS).map(|number| GroupId(StrBytes::from_string(format!("group-{number}")))).collect();
    wire.call(0, &FindCoordinatorRequest::default().with_key(groups[0].0.clone()));
    for (group, offset) in groups.iter().zip(0..) {
        commit(&mut wire, group, offset);
    }
    assert!(broker.stop().success());
    let log = site.data().join("__consumer_offsets-0/00000000000000000000.log");
    let good = fs::read(&log).unwrap();
    let length_at = |position: usize| i32::from_be_bytes(good[position + 8..position + 12].try_into().unwrap());
    let position = (0..BROKEN).fold(0, |position, _| position + 12 + usize::try_from(length_at(position)).unwrap());
    for length in [i32::MAX, -1, length_at(position) + 100] {
        let mut bad = good.clone();
        bad[position + 8..position + 12].copy_from_slice(&length.to_be_bytes());
        fs::write(&log, &bad).unwrap();
        let broker = site.start();
        let mut wire = Wire::connect(site.port);
        let lost: Vec<_> =
            (0..GROUPS).zip(&groups).filter(|(offset, group)| committed(&mut wire, group) != Some(*offset)).collect();
        let lost: Vec<_> = lost.into_iter().map(|(number, _)| usize::try_from(number).unwrap()).collect();
        assert!(lost.contains(&BROKEN) && lost.len() <= 3, "length {length}: {lost:?}");
        let metrics = get(site.management_port, "/metrics", None).body;
        assert!(!metrics.contains("group_records_skipped_total 0"), "{metrics}");
        assert!(broker.log().contains("groups and offsets"), "{}", broker.log());
        assert!(broker.stop().success());
        assert!(fs::read(&log).unwrap().starts_with(&bad), "nothing was cut off");
    }
}

#[test]
fn the_metadata_log_cannot_be_created_as_a_topic() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    for internal in ["__cluster_metadata", "__consumer_offsets"] {
        let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_static_str(internal))));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
        assert_ne!(Wire::connect(site.port).call(9, &request).topics[0].error_code, 0);
    }
    assert_eq!(partitions(&site), 1);
    assert!(broker.is_running());
}
