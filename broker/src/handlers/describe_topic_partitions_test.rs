use kafka_protocol::messages::describe_topic_partitions_request::{Cursor as WantedCursor, TopicRequest};
use protocol::metadata_records::{MetadataRecord, PartitionChangeRecord};

use super::*;
use crate::controller::is_internal_topic;
use crate::metadata::testing::{add_partition, add_topic, apply, cluster, fence};

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn request(topics: &[&str], cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    let topics = topics.iter().map(|topic| TopicRequest::default().with_name(name(topic)));
    let cursor =
        cursor.map(|(topic, index)| WantedCursor::default().with_topic_name(name(topic)).with_partition_index(index));
    DescribeTopicPartitionsRequest::default().with_topics(topics.collect()).with_cursor(cursor)
}

/// Topics with their error and partitions, and the cursor.
type Described = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn described(image: &Image, request: &DescribeTopicPartitionsRequest, limit: usize) -> Described {
    let response = describe(image, request, limit, "PLAINTEXT");
    let topics = response.topics.iter().map(|topic| {
        let ids = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.as_ref().unwrap().to_string(), topic.error_code, ids)
    });
    let cursor = response.next_cursor.as_ref().map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    (topics.collect(), cursor)
}

/// Topics a with 1 partition, b with 3, c with 2.
fn image() -> Image {
    let mut image = cluster(2);
    for (topic, partitions) in [("a", 1), ("b", 3), ("c", 2)] {
        let id = add_topic(&mut image, topic, &[0, 1]);
        (1..partitions).for_each(|_| add_partition(&mut image, id, &[0, 1]));
    }
    image
}

#[test]
fn pages_of_every_size_add_up_to_all_partitions() {
    let image = image();
    for topics in [&[][..], &["c", "b", "a", "b"]] {
        for limit in 1..=7 {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<(String, i32)>, 0);
            loop {
                let from = cursor.as_ref().map(|(topic, index)| (topic.as_str(), *index));
                let (page, next) = described(&image, &request(topics, from), limit);
                assert!(page.iter().map(|(_, _, ids)| ids.len()).sum::<usize>() <= limit);
                seen.extend(
                    page.into_iter().flat_map(|(topic, _, ids)| ids.into_iter().map(move |id| (topic.clone(), id))),
                );
                pages += 1;
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            let all = [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 1)];
            assert_eq!(seen, all.map(|(topic, id)| (topic.to_owned(), id)), "limit {limit}");
            assert_eq!(pages, 6_usize.div_ceil(limit), "limit {limit}");
        }
    }
}

/// Topics and cursor; described topics with their errors.
type Row<'a> = (&'a [&'a str], Option<(&'a str, i32)>, &'a [(&'a str, i16)]);

#[test]
fn unknown_topics_and_impossible_cursors_have_kafkas_errors() {
    let image = image();
    let (unknown, invalid_name, invalid) = (3, 17, 42);
    let table: [Row<'_>; 7] = [
        (&["x", "a", "b/d"], None, &[("a", 0), ("b/d", invalid_name), ("x", unknown)]),
        (&["a", "b"], Some(("b", 1)), &[("b", 0)]),
        (&["a", "b"], Some(("b", 99)), &[("b", 0)]),
        (&["a", "b"], Some(("c", 0)), &[("a", invalid), ("b", invalid)]),
        (&["a", "b"], Some(("b", -1)), &[("a", invalid), ("b", invalid)]),
        (&[], Some(("bb", 0)), &[("c", 0)]),
        (&[], Some(("b", -1)), &[]),
    ];
    for (topics, cursor, expected) in table {
        let (found, next) = described(&image, &request(topics, cursor), 100);
        let found: Vec<_> = found.iter().map(|(topic, error, _)| (topic.as_str(), *error)).collect();
        assert_eq!((found.as_slice(), next), (expected, None), "{topics:?} {cursor:?}");
    }
}

#[test]
fn partitions_are_described_as_the_metadata_has_them() {
    let mut image = cluster(2);
    let topic = add_topic(&mut image, "__consumer_offsets", &[0, 1]);
    let change = PartitionChangeRecord {
        isr: Some(vec![BrokerId(0)]),
        eligible_leader_replicas: Some(vec![BrokerId(1)]),
        last_known_elr: Some(vec![BrokerId(0)]),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(change)]);
    fence(&mut image, 1);
    let response = describe(&image, &request(&[], None), 1, "PLAINTEXT");
    let topic = &response.topics[0];
    assert_eq!((topic.is_internal, topic.topic_authorized_operations), (is_internal_topic("__consumer_offsets"), 3576));
    let partition = &topic.partitions[0];
    let wire = |ids: &[i32]| ids.iter().copied().map(WireBrokerId).collect::<Vec<_>>();
    assert_eq!((partition.leader_id, partition.leader_epoch), (WireBrokerId(0), 0));
    assert_eq!((&partition.replica_nodes, &partition.isr_nodes), (&wire(&[0, 1]), &wire(&[0])));
    assert_eq!(partition.eligible_leader_replicas, Some(wire(&[1])));
    assert_eq!(partition.last_known_elr, Some(wire(&[0])));
    assert_eq!(partition.offline_replicas, wire(&[1]), "it is fenced");
}
