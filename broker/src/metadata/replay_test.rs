use protocol::metadata_records::{ConfigResourceType, LeaderUpdate, PartitionChangeRecord};
use uuid::Uuid;

use super::super::testing::{add_topic, apply, cluster, volume};
use super::*;

fn config(topic: &str, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: ConfigResourceType::Topic,
        resource_name: topic.to_owned(),
        name: "retention.ms".to_owned(),
        value: value.map(str::to_owned),
    }
}

#[test]
fn a_change_bumps_the_partition_epoch_and_a_leader_the_leader_epoch() {
    let mut image = cluster(2);
    let topic_id = add_topic(&mut image, "t", &[0, 1]);
    let change = |leader, isr| {
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            leader,
            isr,
            ..PartitionChangeRecord::new(topic_id, PartitionId(0))
        })
    };
    let state = |image: &Image| image.topic("t").unwrap().partitions[0].clone();
    apply(&mut image, &[change(LeaderUpdate::Unchanged, Some(vec![BrokerId(0)]))]);
    assert_eq!((state(&image).leader_epoch, state(&image).partition_epoch), (LeaderEpoch(0), PartitionEpoch(1)));
    apply(&mut image, &[change(LeaderUpdate::Nobody, None)]);
    assert_eq!((state(&image).leader, state(&image).leader_epoch), (None, LeaderEpoch(1)));
    apply(&mut image, &[change(LeaderUpdate::Broker(BrokerId(0)), None)]);
    assert_eq!((state(&image).leader, state(&image).leader_epoch), (Some(BrokerId(0)), LeaderEpoch(2)));
    assert_eq!(state(&image).isr, [BrokerId(0)]);
    assert_eq!(state(&image).replica_on(BrokerId(1)).unwrap().directory, volume(1));
}

#[test]
fn a_topic_takes_its_configuration_with_it() {
    let mut image = cluster(1);
    let topic_id = add_topic(&mut image, "t", &[0]);
    apply(&mut image, &[config("t", Some("5"))]);
    assert_eq!(image.configs.get(&ConfigResource::topic("t")).unwrap().get("retention.ms").unwrap(), "5");
    apply(&mut image, &[MetadataRecord::RemoveTopic { topic_id }]);
    assert!(image.topic("t").is_none() && image.configs.get(&ConfigResource::topic("t")).is_none());
    add_topic(&mut image, "t", &[0]);
    apply(&mut image, &[config("t", Some("5")), config("t", None)]);
    assert!(image.configs.get(&ConfigResource::topic("t")).is_none());
}

#[test]
fn a_name_collides_for_as_long_as_the_other_topic_is_there() {
    let mut image = cluster(1);
    let dotted = add_topic(&mut image, "a.b_c", &[0]);
    let table = [("a_b.c", true), ("a.b_c", true), ("a_b_c", true), ("a.b", false), ("abc", false), ("a-b-c", false)];
    for (name, collides) in table {
        assert_eq!(image.collides_with(name), collides.then_some("a.b_c"), "{name}");
    }
    apply(&mut image, &[MetadataRecord::RemoveTopic { topic_id: dotted }]);
    assert_eq!(image.collides_with("a_b_c"), None);
}

#[test]
fn replicas_are_counted_from_their_first_record_to_their_last() {
    let mut image = cluster(3);
    let (one, _two) = (add_topic(&mut image, "one", &[0, 1]), add_topic(&mut image, "two", &[0]));
    let counts = |image: &Image| [0, 1, 2].map(|broker| image.replica_count(BrokerId(broker)));
    assert_eq!(counts(&image), [2, 1, 0]);
    let moved = PartitionChangeRecord {
        replicas: Some(vec![BrokerId(2), BrokerId(1)]),
        directories: Some(vec![volume(2), volume(1)]),
        ..PartitionChangeRecord::new(one, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(moved)]);
    assert_eq!(counts(&image), [1, 1, 1]);
    apply(&mut image, &[MetadataRecord::RemoveTopic { topic_id: one }]);
    assert_eq!(counts(&image), [1, 0, 0]);
}

#[test]
fn an_older_image_is_not_touched_by_later_records() {
    let mut image = cluster(1);
    add_topic(&mut image, "first", &[0]);
    let before = image.clone();
    add_topic(&mut image, "second", &[0]);
    assert_eq!((before.topics.len(), image.topics.len()), (1, 2));
    assert!(before.topic("second").is_none());
}

#[test]
fn records_that_contradict_the_image_are_refused() {
    let mut image = cluster(1);
    let topic_id = add_topic(&mut image, "t", &[0]);
    let unknown = TopicId(Uuid::from_u128(99));
    let table = [
        MetadataRecord::Topic { name: "t".to_owned(), topic_id: unknown },
        MetadataRecord::RemoveTopic { topic_id: unknown },
        MetadataRecord::PartitionChange(PartitionChangeRecord::new(unknown, PartitionId(0))),
        MetadataRecord::PartitionChange(PartitionChangeRecord::new(topic_id, PartitionId(1))),
        MetadataRecord::PartitionChange(PartitionChangeRecord::new(topic_id, PartitionId(-1))),
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            directories: Some(Vec::new()),
            ..PartitionChangeRecord::new(topic_id, PartitionId(0))
        }),
        MetadataRecord::UnregisterBroker { broker_id: BrokerId(0), broker_epoch: BrokerEpoch(77) },
        MetadataRecord::UnregisterBroker { broker_id: BrokerId(5), broker_epoch: BrokerEpoch(0) },
    ];
    for record in table {
        assert!(replay(&mut image, &record).is_err(), "{record:?}");
    }
}
