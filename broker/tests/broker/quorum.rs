//! The metadata quorum as seen by other nodes and administrators, on the controller listener.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::fetch_snapshot_request::{PartitionSnapshot, SnapshotId, TopicSnapshot};
use kafka_protocol::messages::vote_request::{PartitionData as VotePartition, TopicData as VoteTopic};
use kafka_protocol::messages::{
    AddRaftVoterRequest, FetchRequest, FetchSnapshotRequest, MetadataRequest, RemoveRaftVoterRequest, TopicName,
    VoteRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::harness::wire::{Wire, batch_headers, create};
use crate::harness::{Site, eventually};

const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);
const OBSERVER: i32 = 9;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("__cluster_metadata"))
}

fn property(site: &Site, name: &str) -> String {
    let properties = fs::read_to_string(site.data().join("meta.properties")).unwrap();
    properties.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

/// The names of all topics that a node knows.
pub(crate) fn topic_names(port: u16) -> BTreeSet<String> {
    let response = Wire::connect(port).call(12, &MetadataRequest::default().with_topics(None));
    response.topics.into_iter().map(|topic| topic.name.unwrap().to_string()).collect()
}

/// As an observer that knows epoch 1.
fn fetch(wire: &mut Wire, offset: i64, last_epoch: i32) -> PartitionData {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(1)
        .with_fetch_offset(offset)
        .with_last_fetched_epoch(last_epoch)
        .with_partition_max_bytes(1 << 20)
        .with_replica_directory_id(Uuid::from_u128(9))
        .with_high_watermark(-1);
    let topic = FetchTopic::default().with_topic_id(METADATA_TOPIC_ID).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_state(ReplicaState::default().with_replica_id(OBSERVER.into()))
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let mut response = wire.call(18, &request);
    assert_eq!(response.error_code, 0);
    response.responses.remove(0).partitions.remove(0)
}

#[test]
fn an_observer_reads_the_metadata_log_and_what_is_committed() {
    let site = Site::new(&[]);
    let broker = site.start();
    create(&mut Wire::connect(site.port), "t", &[]);
    let mut wire = Wire::connect(site.controller_port);
    let read = fetch(&mut wire, 0, 0);
    assert_eq!((read.error_code, read.current_leader.leader_id.0, read.current_leader.leader_epoch), (0, 1, 1));
    let headers = batch_headers(&read.records.clone().unwrap_or_default());
    assert_eq!(headers.first().unwrap().base_offset.0, 0);
    assert!(headers[0].attributes.is_control(), "an epoch begins with a control batch");
    let end = headers.last().unwrap().next_offset().0;
    assert_eq!(read.high_watermark, end, "all is committed");

    let diverging = fetch(&mut wire, end + 1, 1).diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (1, end));
    let fenced = FetchRequest::default().with_cluster_id(Some(StrBytes::from_static_str("another")));
    assert_eq!(wire.call(18, &fenced).error_code, ResponseError::InconsistentClusterId.code());
    let old = wire.call(
        11,
        &FetchRequest::default().with_topics(vec![
            FetchTopic::default().with_topic(topic()).with_partitions(vec![FetchPartition::default()]),
        ]),
    );
    assert_eq!(old.responses[0].partitions[0].error_code, ResponseError::UnsupportedVersion.code());
    assert!(broker.stop().success());
}

#[test]
fn what_contradicts_the_quorum_is_refused_and_leaves_it_as_it_is() {
    let site = Site::new(&[]);
    let broker = site.start();
    let directory: Uuid = {
        let text = property(&site, "directory.id=");
        let id: protocol::types::DirectoryId = text.parse().unwrap();
        id.0
    };
    let mut wire = Wire::connect(site.controller_port);
    let vote = |cluster: &str, voter: i32, epoch: i32| {
        let partition = VotePartition::default()
            .with_replica_id(2.into())
            .with_replica_epoch(epoch)
            .with_replica_directory_id(Uuid::from_u128(2))
            .with_voter_directory_id(directory)
            .with_last_offset(1 << 40)
            .with_last_offset_epoch(epoch)
            .with_pre_vote(true);
        let topic = VoteTopic::default().with_topic_name(topic()).with_partitions(vec![partition]);
        VoteRequest::default()
            .with_cluster_id(Some(StrBytes::from_string(cluster.to_owned())))
            .with_voter_id(voter.into())
            .with_topics(vec![topic])
    };
    let own = property(&site, "cluster.id=");
    assert_eq!(wire.call(2, &vote("another", 1, 1)).error_code, ResponseError::InconsistentClusterId.code());
    let wrong = wire.call(2, &vote(&own, 5, 1)).topics.remove(0).partitions.remove(0);
    assert_eq!(wrong.error_code, ResponseError::InvalidVoterKey.code());
    let stranger = wire.call(2, &vote(&own, 1, 1)).topics.remove(0).partitions.remove(0);
    assert!(!stranger.vote_granted, "the leader is there");
    assert_eq!(wire.call(2, &VoteRequest::default()).error_code, ResponseError::InvalidRequest.code());
    assert_eq!(wire.call(1, &FetchSnapshotRequest::default()).error_code, ResponseError::InvalidRequest.code());

    let snapshot = |end_offset: i64, position: i64| {
        let id = SnapshotId::default().with_end_offset(end_offset);
        let partition = PartitionSnapshot::default()
            .with_current_leader_epoch(1)
            .with_snapshot_id(id)
            .with_position(position)
            .with_replica_directory_id(Uuid::from_u128(9));
        let topic = TopicSnapshot::default().with_name(topic()).with_partitions(vec![partition]);
        FetchSnapshotRequest::default()
            .with_replica_id(OBSERVER.into())
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic])
    };
    let file = fs::read(site.data().join("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint")).unwrap();
    let found = wire.call(1, &snapshot(0, 7)).topics.remove(0).partitions.remove(0);
    assert_eq!((found.error_code, found.position, found.size), (0, 7, i64::try_from(file.len()).unwrap()));
    assert_eq!(found.unaligned_records, Bytes::copy_from_slice(&file[7..]));
    for (request, error) in [
        (snapshot(0, 1 << 20), ResponseError::PositionOutOfRange),
        (snapshot(1 << 20, 0), ResponseError::SnapshotNotFound),
    ] {
        assert_eq!(wire.call(1, &request).topics[0].partitions[0].error_code, error.code());
    }

    let last =
        RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(1).with_voter_directory_id(directory);
    assert_eq!(wire.call(0, &last).error_code, ResponseError::InvalidRequest.code(), "somebody has to vote");
    let nobody = AddRaftVoterRequest::default().with_cluster_id(None).with_voter_id(2);
    assert_eq!(wire.call(0, &nobody).error_code, ResponseError::InvalidRequest.code());
    create(&mut Wire::connect(site.port), "t", &[]);
    assert!(broker.stop().success());
}

#[test]
fn a_broker_comes_back_from_its_snapshot() {
    let site = Site::new(&["metadata.log.max.record.bytes.between.snapshots=300", "metadata.max.retention.bytes=1"]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    let snapshots = || {
        let files = fs::read_dir(site.data().join("__cluster_metadata-0")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".checkpoint")).collect();
        names.sort();
        names
    };
    let mut topics = 0;
    eventually("the first snapshot gives way to later ones", || {
        create(&mut wire, &format!("t{topics}"), &[]);
        topics += 1;
        snapshots().first().is_some_and(|name| !name.starts_with("00000000000000000000")).then_some(())
    });
    broker.kill();
    let broker = site.start();
    assert_eq!(topic_names(site.port).len(), topics);
    assert!(broker.stop().success());
}
