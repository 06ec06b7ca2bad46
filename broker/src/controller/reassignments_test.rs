use protocol::metadata_records::{LeaderUpdate, PartitionChangeRecord};
use protocol::types::{LeaderEpoch, TopicId};

use super::super::configs;
use super::super::decommission::CORDONED;
use super::super::policy::with_minimum;
use super::*;
use crate::metadata::ConfigResource;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn image(replicas: &[i32]) -> (Image, TopicId) {
    let mut image = cluster(4);
    let topic = add_topic(&mut image, "t", replicas);
    (image, topic)
}

fn reassign(image: &mut Image, target: Option<&[i32]>) -> Result<usize, ReassignmentError> {
    let wanted = [("t".to_owned(), vec![(PartitionId(0), target.map(ids))])];
    let (records, mut results) = alter_reassignments(&with_minimum(image, 1), &wanted, FactorChange::Allowed);
    apply(image, &records);
    results.remove(0).1.remove(0).1.map(|()| records.len())
}

#[test]
fn the_same_replicas_are_nothing_to_do() {
    let (mut image, _) = image(&[0, 1]);
    assert_eq!(reassign(&mut image, Some(&[0, 1])), Ok(0));
}

#[test]
fn a_partition_that_is_named_twice_stays_as_it_is() {
    let (mut image, _) = image(&[0, 1, 2]);
    add_topic(&mut image, "other", &[0]);
    let to = |target| vec![(PartitionId(0), Some(ids(target)))];
    let wanted = [("t".to_owned(), to(&[3, 1, 2])), ("other".to_owned(), to(&[1])), ("t".to_owned(), to(&[2, 1, 0]))];
    let (records, results) = alter_reassignments(&with_minimum(&image, 1), &wanted, FactorChange::Allowed);
    let results: Vec<_> = results.into_iter().map(|(topic, mut altered)| (topic, altered.remove(0).1)).collect();
    let repeated = || ("t".to_owned(), Err(ReassignmentError::Repeated));
    assert_eq!(results, [repeated(), ("other".to_owned(), Ok(())), repeated()]);
    assert_eq!(records.len(), 1);
}

#[test]
fn replicas_in_sync_are_reordered_and_removed_at_once() {
    // From, to; the leader afterwards and its epoch.
    let table: [(&[i32], &[i32], i32, i32); 3] =
        [(&[0, 1, 2], &[2, 0, 1], 0, 0), (&[0, 1, 2], &[1, 0], 0, 1), (&[0, 1, 2], &[2, 1], 2, 1)];
    for (from, to, leader, epoch) in table {
        let (mut image, topic) = image(from);
        assert_eq!(reassign(&mut image, Some(to)), Ok(1));
        let partition = &image.topics[&topic].partitions[0];
        assert!(partition.brokers().eq(ids(to)) && !partition.is_reassigning());
        assert!(partition.isr.iter().all(|broker| to.contains(&broker.0)) && partition.isr.len() == to.len());
        assert_eq!((partition.leader, partition.leader_epoch), (Some(BrokerId(leader)), LeaderEpoch(epoch)), "{to:?}");
    }
}

#[test]
fn new_replicas_join_beside_the_old_ones_until_it_is_finished_or_cancelled() {
    let (mut image, topic) = image(&[0, 1]);
    assert_eq!(reassign(&mut image, None), Err(ReassignmentError::NoneInProgress));
    assert_eq!(reassign(&mut image, Some(&[2, 1])), Ok(1));
    let partition = image.topics[&topic].partitions[0].clone();
    assert!(partition.brokers().eq(ids(&[2, 1, 0])));
    assert_eq!((&partition.adding, &partition.removing, &partition.isr), (&ids(&[2]), &ids(&[0]), &ids(&[0, 1])));
    assert_eq!(partition.replicas[0].directory, volume(2));
    assert_eq!(partition.leader, Some(BrokerId(0)));
    assert_eq!(reassign(&mut image, Some(&[3, 1])), Ok(1), "another target while one is in progress");
    let partition = &image.topics[&topic].partitions[0];
    assert_eq!((&partition.adding, &partition.removing), (&ids(&[3]), &ids(&[0])));
    assert!(partition.brokers().eq(ids(&[3, 1, 0])), "2 has nothing that the others have not");
    assert_eq!(reassign(&mut image, None), Ok(1));
    let partition = &image.topics[&topic].partitions[0];
    assert!(!partition.is_reassigning() && partition.isr == ids(&[0, 1]) && partition.leader == Some(BrokerId(0)));
    assert!(partition.brokers().eq(ids(&[1, 0])));
}

#[test]
fn who_alone_has_everything_stays_whatever_becomes_of_the_reassignment() {
    let (mut image, topic) = image(&[0, 1]);
    reassign(&mut image, Some(&[2, 1])).unwrap();
    let alone = PartitionChangeRecord {
        isr: Some(ids(&[2])),
        leader: LeaderUpdate::Broker(BrokerId(2)),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(alone)]);
    assert_eq!(reassign(&mut image, None), Err(ReassignmentError::CannotRevert));
    reassign(&mut image, Some(&[3, 1])).unwrap();
    let partition = &image.topics[&topic].partitions[0];
    assert!(partition.brokers().eq(ids(&[3, 1, 2, 0])) && partition.isr == ids(&[2]), "{partition:?}");
}

#[test]
fn refusals_name_the_reason() {
    let (mut image, _) = image(&[0, 1]);
    let cordon = |id| configs::record(&ConfigResource::broker(BrokerId(id)), CORDONED, Some("*".to_owned()));
    apply(&mut image, &[cordon(0), cordon(3)]);
    let table = [
        ("t", 0, Some(ids(&[0, 3])), "broker 3 is cordoned"),
        ("x", 0, Some(ids(&[0])), "does not exist"),
        ("t", 1, Some(ids(&[0])), "has no partition 1"),
        ("t", -1, None, "has no partition -1"),
        ("t", 0, None, "no reassignment is in progress"),
        ("t", 0, Some(Vec::new()), "no broker is given"),
        ("t", 0, Some(ids(&[9, 0])), "broker 9 is not registered"),
        ("t", 0, Some(ids(&[0, 0])), "more than once"),
        ("t", 0, Some(ids(&[0])), "2 replicas and would have 1"),
        ("t", 0, Some(ids(&[0, 1, 2])), "2 replicas and would have 3"),
    ];
    for (topic, id, target, reason) in table {
        let wanted = [(topic.to_owned(), vec![(PartitionId(id), target)])];
        let (records, results) = alter_reassignments(&with_minimum(&image, 1), &wanted, FactorChange::Refused);
        let error = results[0].1[0].1.as_ref().unwrap_err().to_string();
        assert!(error.contains(reason) && records.is_empty(), "{error:?} does not say {reason:?}");
    }
}
