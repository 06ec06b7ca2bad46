//! Start and end of a partition: ListOffsets, OffsetForLeaderEpoch, DeleteRecords, and Fetch at an offset out of
//! range.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest, FetchRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest,
};
use protocol::types::Timestamp;
use uuid::Uuid;

use crate::harness::batches::produced;
use crate::harness::calls::{fetch_partition, name};
use crate::harness::wire::{Wire, batch, create};
use crate::harness::{Site, eventually, now_ms};

/// Segments of one batch each.
const SMALL_SEGMENTS: [(&str, &str); 2] = [("segment.bytes", "1048576"), ("retention.ms", "-1")];

fn produce(wire: &mut Wire, topic: &str, bytes: usize, timestamp: i64) -> i64 {
    let answer = wire.produce(9, topic, Some(batch(&[&vec![0; bytes], b"second"], Timestamp(timestamp))));
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

fn segments(site: &Site, topic: &str, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(site.data().join(format!("{topic}-0"))).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

#[test]
fn deleted_records_are_gone_for_good() {
    let site = Site::new(&[]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "deleted", &SMALL_SEGMENTS);
    for number in 0..4 {
        produce(&mut wire, "deleted", 700_000, 100 - number);
    }
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    // Offset, and the low watermark or the error.
    let table = [(3, Ok(3)), (2, Ok(3)), (0, Ok(3)), (9, Err(out_of_range)), (-2, Err(out_of_range)), (5, Ok(5))];
    for (offset, expected) in table {
        let answer = wire.delete_records("deleted", 0, offset);
        let expected = expected.map_or_else(|code| (code, -1), |low_watermark| (0, low_watermark));
        assert_eq!((answer.error_code, answer.low_watermark), expected, "{offset}");
    }
    assert_eq!(segments(&site, "deleted", ".log"), ["00000000000000000004.log", "00000000000000000006.log"]);
    assert_eq!(segments(&site, "deleted", ".log.deleted").len(), 2, "renamed, removed after file.delete.delay.ms");
    broker.kill();
    let broker = site.start();
    assert!(segments(&site, "deleted", ".deleted").is_empty(), "a start removes what waited");
    let mut wire = Wire::connect(site.port);
    let at = |wire: &mut Wire, timestamp| {
        let found = wire.list_offset(7, "deleted", timestamp);
        (found.error_code, found.offset)
    };
    assert_eq!(
        [at(&mut wire, -2), at(&mut wire, -1), at(&mut wire, 0), at(&mut wire, -3)],
        [(0, 5), (0, 8), (0, 5), (0, 5)]
    );
    assert_eq!(wire.fetch("deleted", fetch_partition(4)).error_code, out_of_range);
    assert_eq!(wire.fetch("deleted", fetch_partition(5)).error_code, 0);
    assert_eq!(wire.delete_records("deleted", 0, -1).low_watermark, 8, "−1: the high watermark");
    assert_eq!([at(&mut wire, -2), at(&mut wire, -3), at(&mut wire, 0)], [(0, 8), (0, -1), (0, -1)]);
    assert_eq!(wire.fetch("deleted", fetch_partition(8)).log_start_offset, 8);
    assert_eq!(produce(&mut wire, "deleted", 10, 5), 8);
    assert!(broker.stop().success());
}

#[test]
fn deletions_that_cannot_be_are_refused() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "plain", &[]);
    create(&mut wire, "compacted", &[("cleanup.policy", "compact")]);
    create(&mut wire, "both", &[("cleanup.policy", "compact,delete")]);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let table = [
        ("plain", 0, 0, 0),
        ("plain", 0, 1, ResponseError::OffsetOutOfRange.code()),
        ("plain", 0, i64::MIN, ResponseError::OffsetOutOfRange.code()),
        ("plain", 1, 0, unknown),
        ("plain", -1, 0, unknown),
        ("nowhere", 0, 0, unknown),
        ("compacted", 0, 0, ResponseError::PolicyViolation.code()),
        ("compacted", 0, 99, ResponseError::PolicyViolation.code()),
        ("both", 0, 0, 0),
    ];
    for (topic, partition, offset, error) in table {
        let answer = wire.delete_records(topic, partition, offset);
        let low_watermark = if error == 0 { 0 } else { -1 };
        let expected = (partition, error, low_watermark);
        assert_eq!((answer.partition_index, answer.error_code, answer.low_watermark), expected, "{topic} {offset}");
    }
    let partition = |index| DeleteRecordsPartition::default().with_partition_index(index);
    let topics = [("nowhere", vec![0]), ("plain", vec![7, 0])].map(|(topic, indexes)| {
        DeleteRecordsTopic::default()
            .with_name(name(topic))
            .with_partitions(indexes.into_iter().map(partition).collect())
    });
    let response = wire.call(2, &DeleteRecordsRequest::default().with_topics(topics.into()));
    let codes: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code).collect();
    assert_eq!(codes, [unknown, unknown, 0], "each gets its own answer");
}

#[test]
fn a_removed_segment_frees_its_space_and_old_ones_go_by_themselves() {
    let site = Site::new(&["log.initial.task.delay.ms=10", "log.retention.check.interval.ms=10"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let settings = |name, value| [("segment.bytes", "1048576"), ("file.delete.delay.ms", "0"), (name, value)];
    create(&mut wire, "by-size", &settings("retention.bytes", "800000"));
    create(&mut wire, "by-age", &settings("retention.ms", "60000"));
    for topic in ["by-size", "by-age"] {
        for _ in 0..4 {
            produce(&mut wire, topic, 700_000, if topic == "by-age" { 1 } else { now_ms() });
        }
    }
    eventually("one segment covers the size", || (segments(&site, "by-size", ".log").len() == 2).then_some(()));
    assert_eq!(wire.list_offset(1, "by-size", -2).offset, 4);
    eventually("everything is too old", || (wire.list_offset(1, "by-age", -2).offset == 8).then_some(()));
    eventually("files are removed", || {
        (segments(&site, "by-age", ".log.deleted").is_empty() && segments(&site, "by-age", ".log").len() == 1)
            .then_some(())
    });
    assert_eq!(wire.fetch("by-age", fetch_partition(0)).error_code, ResponseError::OffsetOutOfRange.code());
}

#[test]
fn every_special_timestamp_has_its_versions() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "times", &[("message.timestamp.before.max.ms", "9223372036854775807")]);
    create(&mut wire, "empty", &[]);
    for timestamp in [100, 300, 200] {
        produce(&mut wire, "times", 10, timestamp);
    }
    let unsupported = (ResponseError::UnsupportedVersion.code(), -1, -1, -1);
    // Timestamp, first version, answer of "times" and of "empty": error, timestamp, offset, epoch.
    let table = [
        (-1, 1, (0, -1, 6, 0), (0, -1, 0, 0)),
        (-2, 1, (0, -1, 0, 0), (0, -1, 0, 0)),
        (-3, 7, (0, 300, 2, 0), (0, -1, -1, -1)),
        (-4, 8, (0, -1, 0, 0), (0, -1, 0, 0)),
        (-5, 9, (0, -1, -1, -1), (0, -1, -1, -1)),
        (-6, 11, unsupported, unsupported),
        (i64::MIN, 11, unsupported, unsupported),
        (0, 1, (0, 100, 0, 0), (0, -1, -1, -1)),
        (101, 1, (0, 300, 2, 0), (0, -1, -1, -1)),
        (300, 1, (0, 300, 2, 0), (0, -1, -1, -1)),
        (301, 1, (0, -1, -1, -1), (0, -1, -1, -1)),
    ];
    for (timestamp, first_version, times, empty) in table {
        for version in 1..=10 {
            for (topic, expected) in [("times", times), ("empty", empty)] {
                let expected = if version < first_version { unsupported } else { expected };
                // Before version 4 there are no epochs.
                let expected = if version < 4 { (expected.0, expected.1, expected.2, -1) } else { expected };
                let found = wire.list_offset(version, topic, timestamp);
                let found = (found.error_code, found.timestamp, found.offset, found.leader_epoch);
                assert_eq!(found, expected, "{topic}, {timestamp}, version {version}");
            }
        }
    }
}

#[test]
fn positions_are_listed_only_for_what_the_client_knows_rightly() {
    let site = Site::new(&[]);
    let broker = site.start();
    create(&mut Wire::connect(site.port), "epochs", &[]);
    // Every start is a new leader epoch.
    assert!(broker.stop().success());
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let current = wire.list_offset(4, "epochs", -1).leader_epoch;
    assert!(0 < current);
    let list = |wire: &mut Wire, topic: &str, isolation: i8, partitions: &[(i32, i32)]| {
        let partitions = partitions.iter().map(|(index, epoch)| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(*epoch)
                .with_timestamp(-1)
        });
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_isolation_level(isolation);
        let response = wire.call(10, &request.with_topics(vec![topic]));
        response.topics[0].partitions.iter().map(|partition| partition.error_code).collect::<Vec<_>>()
    };
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(list(&mut wire, "epochs", 0, &[(0, -1)]), [0]);
    assert_eq!(list(&mut wire, "epochs", 1, &[(0, current)]), [0], "nothing is undecided without transactions");
    assert_eq!(list(&mut wire, "epochs", 0, &[(0, current - 1)]), [ResponseError::FencedLeaderEpoch.code()]);
    assert_eq!(list(&mut wire, "epochs", 0, &[(0, current + 1)]), [ResponseError::UnknownLeaderEpoch.code()]);
    assert_eq!(list(&mut wire, "epochs", 0, &[(1, -1), (-1, -1), (0, -1)]), [unknown, unknown, 0]);
    assert_eq!(list(&mut wire, "nowhere", 0, &[(0, -1)]), [unknown]);
    let twice = ResponseError::InvalidRequest.code();
    assert_eq!(list(&mut wire, "epochs", 0, &[(0, -1), (0, -1)]), [twice, twice]);
}

#[test]
fn epochs_end_where_the_next_one_begins() {
    let site = Site::new(&[]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "epochs", &[]);
    produce(&mut wire, "epochs", 10, 1);
    assert!(broker.stop().success());
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let current = wire.list_offset(4, "epochs", -1).leader_epoch;
    let mut end = |index: i32, claimed: i32, epoch: i32| {
        let mut answers = Vec::new();
        for (version, replica) in [(2, -2), (3, -1), (4, -1), (4, -2), (4, 1)] {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(index)
                .with_current_leader_epoch(claimed)
                .with_leader_epoch(epoch);
            let topic = OffsetForLeaderTopic::default().with_topic(name("epochs")).with_partitions(vec![partition]);
            let request =
                OffsetForLeaderEpochRequest::default().with_topics(vec![topic]).with_replica_id(replica.into());
            let answer = wire.call(version, &request).topics.remove(0).partitions.remove(0);
            assert_eq!(answer.partition, index);
            answers.push((answer.error_code, answer.leader_epoch, answer.end_offset));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "the same in every version, and for everybody");
        answers.remove(0)
    };
    assert_eq!(end(0, -1, 0), (0, 0, 2));
    assert_eq!(end(0, current, current), (0, current, 2), "it has begun, though nothing is written in it");
    assert_eq!(end(0, -1, current + 1), (0, -1, -1), "an epoch that nobody has heard of");
    assert_eq!(end(0, -1, -1), (0, -1, -1));
    assert_eq!(end(0, current - 1, 0), (ResponseError::FencedLeaderEpoch.code(), -1, -1));
    assert_eq!(end(0, current + 1, 0), (ResponseError::UnknownLeaderEpoch.code(), -1, -1));
    assert_eq!(end(7, -1, 0), (ResponseError::UnknownTopicOrPartition.code(), -1, -1));
    let mut wire = Wire::connect(site.port);
    produce(&mut wire, "epochs", 10, 1);
    assert_eq!(wire.delete_records("epochs", 0, 3).low_watermark, 3);
    let earliest = wire.list_offset(4, "epochs", -2);
    assert_eq!((earliest.offset, earliest.leader_epoch), (3, current), "epochs before the log start are forgotten");
}

#[test]
fn fetches_from_the_wrong_place_get_kafkas_errors() {
    let site = Site::new(&[]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "fetched", &[]);
    for _ in 0..3 {
        produce(&mut wire, "fetched", 10, 1);
    }
    assert!(broker.stop().success());
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let current = wire.list_offset(4, "fetched", -1).leader_epoch;
    assert_eq!(wire.delete_records("fetched", 0, 2).error_code, 0);
    let at = |offset, claimed, last_fetched| {
        fetch_partition(offset).with_current_leader_epoch(claimed).with_last_fetched_epoch(last_fetched)
    };
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    let table: Vec<(&str, &str, FetchPartition, i16)> = vec![
        ("the beginning", "fetched", at(2, -1, -1), 0),
        ("the end", "fetched", at(6, current, 0), 0),
        ("before the beginning", "fetched", at(1, -1, -1), out_of_range),
        ("before the beginning, with an epoch", "fetched", at(1, -1, 0), out_of_range),
        ("beyond the end", "fetched", at(7, -1, -1), out_of_range),
        ("a negative offset", "fetched", at(-1, -1, -1), out_of_range),
        ("an epoch that is over", "fetched", at(2, current - 1, -1), ResponseError::FencedLeaderEpoch.code()),
        ("an epoch to come", "fetched", at(2, current + 1, -1), ResponseError::UnknownLeaderEpoch.code()),
        ("a last epoch that never was", "fetched", at(2, current, current + 1), out_of_range),
        (
            "another partition",
            "fetched",
            at(0, -1, -1).with_partition(5),
            ResponseError::UnknownTopicOrPartition.code(),
        ),
        ("another topic", "nowhere", at(0, -1, -1), ResponseError::UnknownTopicOrPartition.code()),
    ];
    for (what, topic, partition, error) in table {
        assert_eq!(wire.fetch(topic, partition).error_code, error, "{what}");
    }
    let diverging = wire.fetch("fetched", at(9, current, 0));
    assert_eq!(
        (diverging.error_code, diverging.diverging_epoch.epoch, diverging.diverging_epoch.end_offset),
        (0, 0, 6)
    );
    let by_id = FetchTopic::default().with_topic_id(Uuid::from_u128(7)).with_partitions(vec![fetch_partition(0)]);
    let request = FetchRequest::default().with_session_epoch(-1).with_topics(vec![by_id]);
    let response = wire.call(13, &request);
    assert_eq!(response.responses[0].partitions[0].error_code, ResponseError::UnknownTopicId.code());
    let in_session = FetchRequest::default().with_session_id(7).with_session_epoch(3);
    assert_eq!(wire.call(12, &in_session).error_code, ResponseError::FetchSessionIdNotFound.code());
}

#[test]
fn the_data_directory_is_described_with_what_partitions_take() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "large", &[]);
    create(&mut wire, "small", &[]);
    produce(&mut wire, "large", 100_000, 1);
    let mut describe = |topics| {
        let response = wire.call(4, &DescribeLogDirsRequest::default().with_topics(topics));
        assert_eq!((response.error_code, response.results.len()), (0, 1));
        let result = response.results.into_iter().next().unwrap();
        assert_eq!((result.error_code, &*result.log_dir), (0, site.data().to_str().unwrap()));
        assert!(0 < result.usable_bytes && result.usable_bytes <= result.total_bytes);
        let partitions = result.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|p| (topic.name.to_string(), p.partition_index, p.partition_size, p.offset_lag))
        });
        partitions.collect::<Vec<_>>()
    };
    let log_bytes =
        i64::try_from(std::fs::metadata(site.data().join("large-0/00000000000000000000.log")).unwrap().len());
    let (large, small) = (("large".to_owned(), 0, log_bytes.unwrap(), 0), ("small".to_owned(), 0, 0, 0));
    let wanted = |topic, partitions: &[i32]| {
        DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    };
    assert_eq!(describe(None), [large.clone(), small.clone()]);
    assert_eq!(describe(Some(Vec::new())), []);
    assert_eq!(describe(Some(vec![wanted("large", &[0, 5]), wanted("nowhere", &[0])])), [large]);
    assert_eq!(describe(Some(vec![wanted("small", &[0]), wanted("large", &[])])), [small]);
}

#[test]
fn producers_are_described_until_they_expire() {
    let site = Site::new(&[
        "producer.id.expiration.ms=1",
        "producer.id.expiration.check.interval.ms=100",
        "log.initial.task.delay.ms=0",
    ]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "producers", &[]);
    let describe = |wire: &mut Wire, topic: &str, index: i32| {
        let topic = TopicRequest::default().with_name(name(topic)).with_partition_indexes(vec![index]);
        let response = wire.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
        response.topics.into_iter().next().unwrap().partitions.remove(0)
    };
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let table = [
        ("producers", 0, 0),
        ("producers", 3, unknown),
        ("nowhere", 0, unknown),
        ("no/name", 0, ResponseError::InvalidTopicException.code()),
    ];
    for (topic, index, error) in table {
        let answer = describe(&mut wire, topic, index);
        assert_eq!((answer.partition_index, answer.error_code), (index, error), "{topic}");
        assert_eq!(answer.error_message.is_some(), error != 0, "{topic}");
    }
    let write = |wire: &mut Wire, sequence| {
        wire.produce(9, "producers", Some(produced(&batch(&[b"v"], Timestamp(5)), 9, 3, sequence))).error_code
    };
    assert_eq!(write(&mut wire, 0), 0);
    eventually("the producer is forgotten", || {
        describe(&mut wire, "producers", 0).active_producers.is_empty().then_some(())
    });
    assert_eq!(write(&mut wire, 7), 0, "nobody knows what it wrote last");
}
