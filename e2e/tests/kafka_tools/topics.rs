//! Topics and their partitions.

use std::fs;

use tempfile::TempDir;

use crate::site::Site;

/// As in the first line of a description.
fn topic_id(description: &str) -> &str {
    let id = description.split('\t').nth(1).and_then(|field| field.strip_prefix("TopicId: "));
    id.filter(|id| id.len() == 22).unwrap_or_else(|| panic!("no topic id in {description:?}"))
}

pub(crate) fn kafka_topics_creates_lists_and_describes() {
    let site = Site::shared();
    let creation = "kafka-topics --create --topic orders --partitions 2 --replication-factor 1";
    assert_eq!(site.run(&format!("{creation} --config segment.bytes=2097152")), "Created topic orders.\n");
    assert_eq!(site.run(&format!("{creation} --if-not-exists")), "");
    let again = site.refused(creation);
    assert!(again.contains("TopicExistsException"), "{again}");
    assert!(site.run("kafka-topics --list").lines().any(|topic| topic == "orders"));

    let described = site.run("kafka-topics --describe --topic orders");
    let (first, partitions) = described.split_once('\n').unwrap();
    let fields: Vec<_> = first.split('\t').collect();
    assert_eq!([fields[0], fields[2], fields[3]], ["Topic: orders", "PartitionCount: 2", "ReplicationFactor: 1"]);
    assert!(fields[4].contains("segment.bytes=2097152"), "{first}");
    let expected = [0, 1].map(|partition| {
        format!("\tTopic: orders\tPartition: {partition}\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: ")
    });
    assert_eq!(partitions.lines().collect::<Vec<_>>(), expected);
    for filter in ["unavailable-partitions", "under-replicated-partitions", "under-min-isr-partitions"] {
        assert_eq!(site.run(&format!("kafka-topics --describe --topic orders --{filter}")), "");
    }
}

pub(crate) fn kafka_topics_says_why_a_topic_cannot_be() {
    let site = Site::shared();
    let refusals = [
        ("--topic spread --partitions 1 --replication-factor 3", "InvalidReplicationFactorException"),
        ("--topic bad+name", "InvalidTopicException"),
        ("--topic elsewhere --replica-assignment 7", "InvalidReplicaAssignmentException"),
    ];
    for (arguments, expected) in refusals {
        let said = site.refused(&format!("kafka-topics --create {arguments}"));
        assert!(said.contains(expected), "{arguments}: {said}");
    }
}

pub(crate) fn kafka_topics_adds_partitions() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic growing --partitions 2");
    assert_eq!(site.run("kafka-topics --alter --topic growing --partitions 4"), "");
    let described = site.run("kafka-topics --describe --topic growing");
    assert!(described.contains("\tPartitionCount: 4\t"), "{described}");
    let led = described.lines().filter(|line| line.contains("\tLeader: 1\tReplicas: 1\tIsr: 1\t")).count();
    assert_eq!(led, 4, "{described}");
    let fewer = site.refused("kafka-topics --alter --topic growing --partitions 3");
    assert!(fewer.contains("InvalidPartitionsException"), "{fewer}");
    assert_eq!(site.run("kafka-get-offsets --topic-partitions growing:3"), "growing:3:0\n");
}

pub(crate) fn kafka_topics_deletes_and_the_name_is_free_again() {
    let site = Site::shared();
    let create = || site.run("kafka-topics --create --topic passing --partitions 1");
    create();
    site.produce("--topic passing", "gone\n");
    let first = site.run("kafka-topics --describe --topic passing");
    assert_eq!(site.run("kafka-topics --delete --topic passing"), "");
    let gone = site.refused("kafka-topics --describe --topic passing");
    assert!(gone.contains("Topic 'passing' does not exist as expected"), "{gone}");
    create();
    let second = site.run("kafka-topics --describe --topic passing");
    assert_ne!(topic_id(&first), topic_id(&second));
    assert_eq!(site.run("kafka-get-offsets --topic passing"), "passing:0:0\n");
}

pub(crate) fn kafka_leader_election_finds_the_preferred_leader_in_place() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic led --partitions 2");
    for kind in ["preferred", "unclean"] {
        let said = site.run(&format!("kafka-leader-election --election-type {kind} --topic led --partition 1"));
        assert_eq!(said, "Valid replica already elected for partitions led-1\n");
    }
    let unknown = site.refused("kafka-leader-election --election-type preferred --topic nobody --partition 0");
    assert!(unknown.contains("UnknownTopicOrPartitionException"), "{unknown}");
}

pub(crate) fn kafka_reassign_partitions_lists_executes_and_verifies() {
    let site = Site::shared();
    let directory = TempDir::new().unwrap();
    let plan = directory.path().join("plan.json");
    let assignment = r#"{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[1]}]}"#;
    fs::write(&plan, assignment).unwrap();
    site.run("kafka-topics --create --topic moved --partitions 1");
    let reassign = |action: &str| site.run(&format!("kafka-reassign-partitions {action}"));
    let with_plan = |action: &str| reassign(&format!("--{action} --reassignment-json-file {}", plan.display()));
    assert_eq!(reassign("--list"), "No partition reassignments found.\n");
    let executed = with_plan("execute");
    assert!(executed.ends_with("Successfully started partition reassignment for moved-0\n"), "{executed}");
    let verified = with_plan("verify");
    assert!(verified.contains("\nReassignment of partition moved-0 is completed.\n"), "{verified}");
    assert_eq!(reassign("--list"), "No partition reassignments found.\n");
}
