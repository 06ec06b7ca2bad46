//! Three brokers: their quorum, their replicas, their metadata on disk.

use std::collections::BTreeMap;
use std::fs;

use e2e::command;
use e2e::fleet::Fleet;
use protocol::types::DirectoryId;
use tempfile::TempDir;

use crate::dump::{kinds, metadata};
use crate::site::{DEADLINE, run, three_brokers, tool_at};

fn say(fleet: &Fleet, command: &str) -> String {
    run(&mut tool_at(&fleet.bootstrap(), command))
}

/// The value of each line of `describe --status`.
fn status(fleet: &Fleet) -> BTreeMap<String, String> {
    let said = say(fleet, "kafka-metadata-quorum describe --status");
    let lines = said.lines().map(|line| line.split_once(':').unwrap());
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn ids(voters: &str) -> Vec<i32> {
    let voters: Vec<serde_json::Value> = serde_json::from_str(voters).unwrap();
    let mut ids: Vec<_> = voters.iter().map(|voter| i32::try_from(voter["id"].as_i64().unwrap()).unwrap()).collect();
    ids.sort_unstable();
    ids
}

pub(crate) fn kafka_metadata_quorum_describes_removes_and_adds_voters() {
    let mut fleet = three_brokers(&[]);
    let described = status(&fleet);
    assert_eq!(ids(&described["CurrentVoters"]), [1, 2, 3]);
    assert_eq!(described["CurrentObservers"], "[]");
    let leader: i32 = described["LeaderId"].parse().unwrap();
    let replication = say(&fleet, "kafka-metadata-quorum describe --replication");
    let mut roles: Vec<_> = replication.lines().skip(1).map(|row| row.split_whitespace().last().unwrap()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["Follower", "Follower", "Leader"], "{replication}");

    let voter = *[1, 2, 3].iter().find(|id| **id != leader).unwrap();
    let others: Vec<_> = [1, 2, 3].into_iter().filter(|id| *id != voter).collect();
    let node = fleet.node(voter).unwrap();
    let (directory, properties) = (DirectoryId(node.directory_id().unwrap()), node.properties());
    let removal = format!("remove-controller --controller-id {voter} --controller-directory-id {directory}");
    say(&fleet, &format!("kafka-metadata-quorum {removal}"));
    assert_eq!(ids(&status(&fleet)["CurrentVoters"]), others);
    command::wait_for("it follows without a vote", DEADLINE, || {
        Ok((ids(&status(&fleet)["CurrentObservers"]) == [voter]).then_some(()))
    })
    .unwrap();

    let addition = format!("kafka-metadata-quorum --command-config {} add-controller", properties.display());
    say(&fleet, &addition);
    assert_eq!(ids(&status(&fleet)["CurrentVoters"]), [1, 2, 3]);
}

pub(crate) fn kafka_cluster_and_kafka_features_know_three_brokers() {
    let fleet = three_brokers(&[]);
    let endpoints = say(&fleet, "kafka-cluster list-endpoints --include-fenced-brokers");
    let rows: Vec<Vec<_>> = endpoints.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected: Vec<_> = fleet
        .nodes()
        .iter()
        .map(|node| {
            let (id, address) = (node.id().to_string(), node.address());
            [
                id,
                address.ip().to_string(),
                address.port().to_string(),
                "null".into(),
                "unfenced".into(),
                "broker".into(),
            ]
        })
        .collect();
    assert_eq!(rows, expected);
    let features = say(&fleet, "kafka-features describe");
    assert!(features.lines().any(|line| line.contains("Feature: kraft.version") && line.contains("Level: 1")));
}

pub(crate) fn kafka_reassign_partitions_moves_replicas_to_other_brokers() {
    let mut fleet = three_brokers(&[]);
    say(&fleet, "kafka-topics --create --topic moved --replica-assignment 1,1");
    let lines = "one\ntwo\nthree\n";
    let producer = "kafka-console-producer --topic moved --command-property acks=all";
    command::output_with_input(&mut tool_at(&fleet.bootstrap(), producer), lines).unwrap();
    let directory = TempDir::new().unwrap();
    let plan = directory.path().join("plan.json");
    let moved = |partition| format!(r#"{{"topic":"moved","partition":{partition},"replicas":[2,3]}}"#);
    fs::write(&plan, format!(r#"{{"version":1,"partitions":[{},{}]}}"#, moved(0), moved(1))).unwrap();
    let reassign = |action| format!("kafka-reassign-partitions --{action} --reassignment-json-file {}", plan.display());
    let executed = say(&fleet, &reassign("execute"));
    assert!(executed.contains("Successfully started partition reassignments for moved-0,moved-1"), "{executed}");
    let completed = |said: &str| said.matches("is completed.").count() == 2;
    command::wait_for("the reassignment is completed", DEADLINE, || {
        Ok(completed(&say(&fleet, &reassign("verify"))).then_some(()))
    })
    .unwrap();
    fleet.wait_until_in_sync(&["moved"]).unwrap();
    let described = say(&fleet, "kafka-topics --describe --topic moved");
    assert_eq!(described.matches("\tReplicas: 2,3\t").count(), 2, "{described}");
    let mut read: Vec<_> = {
        let consumer = "kafka-console-consumer --topic moved --from-beginning --max-messages 3";
        say(&fleet, consumer).lines().map(str::to_owned).collect()
    };
    read.sort();
    assert_eq!(read, ["one", "three", "two"]);
    assert!(!fleet.node(1).unwrap().data("moved-0").exists(), "the former replica is gone, or will be soon");
}

pub(crate) fn kafka_leader_election_brings_the_preferred_leader_back() {
    let mut fleet = three_brokers(&["auto.leader.rebalance.enable=false"]);
    say(&fleet, "kafka-topics --create --topic led --replica-assignment 2:3:1");
    fleet.node(2).unwrap().terminate().unwrap();
    let leader = |fleet: &Fleet| fleet.ask(|admin| Ok(admin.partitions("led")?[0].leader)).unwrap();
    assert_eq!(leader(&fleet), Some(3), "the next replica in the list");
    fleet.spawn(2).unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&["led"]).unwrap();
    assert_eq!(leader(&fleet), Some(3));
    let said = say(&fleet, "kafka-leader-election --election-type preferred --topic led --partition 0");
    assert_eq!(said, "Successfully completed leader election (PREFERRED) for partitions led-0\n");
    assert_eq!(leader(&fleet), Some(2));
}

pub(crate) fn snapshots_of_three_nodes_know_all_of_them() {
    let mut fleet = three_brokers(&["metadata.log.max.record.bytes.between.snapshots=2000"]);
    for topic in 0..20 {
        fleet.ask(|admin| admin.create_topic_of(&format!("topic-{topic}"), 3, 3)).unwrap();
    }
    fleet.wait_until_in_sync(&["topic-19"]).unwrap();
    for id in fleet.ids() {
        let node = fleet.node(id).unwrap();
        node.terminate().unwrap();
        let files = metadata(&node.data("__cluster_metadata-0"));
        let (name, newest) = files.iter().rfind(|(name, _)| name.ends_with(".checkpoint")).unwrap();
        assert_ne!(name, "00000000000000000000-0000000000.checkpoint", "node {id} has written none");
        let kinds = kinds(newest);
        assert_eq!([kinds.first(), kinds.last()], [Some(&"SnapshotHeader"), Some(&"SnapshotFooter")]);
        for kind in ["KRaftVersion", "KRaftVoters", "FEATURE_LEVEL_RECORD", "REGISTER_BROKER_RECORD", "TOPIC_RECORD"] {
            assert!(kinds.contains(&kind), "node {id}: no {kind} in {kinds:?}");
        }
    }
}
