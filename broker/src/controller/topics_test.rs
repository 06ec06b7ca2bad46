use uuid::Uuid;

use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, fence};

const DEFAULTS: TopicDefaults = TopicDefaults { partitions: 4, replication_factor: 2 };
const LIMITS: Limits = Limits { broker_replicas_max: 10_000, volume_is_full: false };

fn id() -> TopicId {
    TopicId(Uuid::from_u128(42))
}

fn create(image: &Image, spec: TopicSpec) -> Result<(Vec<MetadataRecord>, CreatedTopic), CreateTopicError> {
    let rules = CreationRules { defaults: DEFAULTS, limits: LIMITS, partitions_max: PARTITIONS_MAX, start: 0 };
    create_topic(image, spec, id(), rules)
}

#[test]
fn what_is_not_asked_for_comes_from_the_defaults() {
    let mut image = cluster(3);
    let (records, created) = create(&image, TopicSpec::with_defaults("t".to_owned())).unwrap();
    assert_eq!((created.id, created.partitions, created.replication_factor), (id(), 4, 2));
    apply(&mut image, &records);
    let topic = image.topic("t").unwrap();
    assert_eq!(topic.partitions.len(), 4);
    for partition in &topic.partitions {
        assert_eq!(partition.replicas.len(), 2);
        assert_eq!(partition.leader, Some(partition.replicas[0].broker));
        assert_eq!(partition.isr.len(), 2);
    }
}

#[test]
fn an_assignment_is_followed_to_the_letter() {
    let mut image = cluster(3);
    let assignments =
        vec![(PartitionId(1), vec![BrokerId(2), BrokerId(0)]), (PartitionId(0), vec![BrokerId(1), BrokerId(2)])];
    let spec = TopicSpec { assignments, ..TopicSpec::with_defaults("t".to_owned()) };
    let (records, _) = create(&image, spec).unwrap();
    apply(&mut image, &records);
    let leaders: Vec<_> = image.topic("t").unwrap().partitions.iter().map(|partition| partition.leader).collect();
    assert_eq!(leaders, [Some(BrokerId(1)), Some(BrokerId(2))]);
}

#[test]
fn a_broker_that_is_away_for_a_moment_gets_replicas_but_leads_nothing() {
    let mut image = cluster(3);
    fence(&mut image, 1);
    let spec = TopicSpec { replication_factor: Some(3), ..TopicSpec::with_defaults("t".to_owned()) };
    let (records, _) = create(&image, spec.clone()).unwrap();
    apply(&mut image, &records);
    for partition in &image.topic("t").unwrap().partitions {
        assert_eq!((partition.replicas.len(), partition.isr.len()), (3, 2));
        assert!(partition.leader == Some(partition.replicas[0].broker) && !partition.isr.contains(&BrokerId(1)));
    }
    for id in [0, 2] {
        fence(&mut image, id);
    }
    let refused = create(&image, TopicSpec { name: "u".to_owned(), ..spec });
    assert!(matches!(refused, Err(CreateTopicError::InvalidReplicationFactor { .. })), "nobody could lead");
}

#[test]
fn configuration_is_written_with_the_topic() {
    let mut image = cluster(2);
    let configs = vec![("retention.ms".to_owned(), "1000".to_owned())];
    let (records, created) = create(&image, TopicSpec { configs, ..TopicSpec::with_defaults("t".to_owned()) }).unwrap();
    apply(&mut image, &records);
    assert_eq!(image.configs.get(&ConfigResource::topic("t")), Some(&created.configs));
}

#[test]
fn refusals_name_the_reason() {
    let mut image = cluster(2);
    add_topic(&mut image, "a.b", &[0]);
    let spec = |name: &str| TopicSpec::with_defaults(name.to_owned());
    let assigned = |assignments: &[(i32, &[i32])]| TopicSpec {
        assignments: assignments
            .iter()
            .map(|(id, brokers)| (PartitionId(*id), brokers.iter().copied().map(BrokerId).collect()))
            .collect(),
        ..spec("t")
    };
    let table = [
        (spec("a b"), "is not legal"),
        (spec("__cluster_metadata"), "is the metadata log"),
        (spec("a.b"), "already exists"),
        (spec("a_b"), "collides with \"a.b\""),
        (TopicSpec { partitions: Some(0), ..spec("t") }, "at least 1"),
        (TopicSpec { partitions: Some(-7), ..spec("t") }, "at least 1"),
        (TopicSpec { partitions: Some(10_001), ..spec("t") }, "at most 10000"),
        (TopicSpec { partitions: Some(10_000), ..spec("t") }, "broker 0 would have 10001 partitions"),
        (TopicSpec { replication_factor: Some(3), ..spec("t") }, "2 brokers are available"),
        (TopicSpec { replication_factor: Some(0), ..spec("t") }, "2 brokers are available"),
        (
            TopicSpec { configs: vec![("retention.m".to_owned(), "1".to_owned())], ..spec("t") },
            "did you mean retention.ms?",
        ),
        (assigned(&[(1, &[0])]), "numbered from 0"),
        (assigned(&[(0, &[0]), (0, &[1])]), "numbered from 0"),
        (assigned(&[(0, &[0, 0])]), "distinct"),
        (assigned(&[(0, &[0]), (1, &[0, 1])]), "distinct"),
        (assigned(&[(0, &[])]), "distinct"),
        (assigned(&[(0, &[9])]), "broker 9 of partition 0 is not available"),
        (TopicSpec { partitions: Some(1), ..assigned(&[(0, &[0])]) }, "excludes"),
    ];
    for (spec, reason) in table {
        let error = create(&image, spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
}
