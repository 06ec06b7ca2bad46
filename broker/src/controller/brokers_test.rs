use protocol::types::{LeaderEpoch, PartitionId, TopicId};

use super::super::configs;
use super::super::policy::with_minimum;
use super::*;
use crate::metadata::PartitionImage;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// Three brokers, `min.insync.replicas` 2, a topic on all of them led by broker 0.
fn image() -> (Image, TopicId) {
    let mut image = cluster(3);
    let topic = add_topic(&mut image, "t", &[0, 1, 2]);
    (image, topic)
}

fn partition(image: &Image, topic: TopicId) -> &PartitionImage {
    image.topics[&topic].partition(PartitionId(0)).unwrap()
}

fn apply_to(image: &mut Image, decide: impl Fn(&Policy<'_>) -> Vec<MetadataRecord>) -> usize {
    let records = decide(&with_minimum(image, 2));
    apply(image, &records);
    records.len()
}

#[test]
fn a_fenced_broker_leaves_isr_and_leadership_and_leads_again_where_nobody_else_does() {
    let (mut image, topic) = image();
    for (id, isr, eligible, leader) in
        [(0, &[1, 2][..], &[][..], Some(1)), (1, &[2], &[1], Some(2)), (2, &[], &[1, 2], None)]
    {
        assert_eq!(apply_to(&mut image, |policy| fence(policy, BrokerId(id))), 2);
        let partition = partition(&image, topic);
        assert_eq!((&partition.isr, &partition.eligible_leader_replicas), (&ids(isr), &ids(eligible)), "{id}");
        assert_eq!(partition.leader, leader.map(BrokerId), "{id}");
        assert!(image.brokers[&BrokerId(id)].fenced);
    }
    apply_to(&mut image, |policy| unfence(policy, BrokerId(0)));
    assert_eq!(partition(&image, topic).leader, None, "it lacks what the others have committed since");
    apply_to(&mut image, |policy| unfence(policy, BrokerId(1)));
    let partition = partition(&image, topic);
    assert_eq!((partition.leader, &partition.isr), (Some(BrokerId(1)), &ids(&[1])));
    assert_eq!(partition.leader_epoch, LeaderEpoch(4));
}

#[test]
fn fencing_twice_changes_no_partition_twice() {
    let (mut image, _) = image();
    assert_eq!(apply_to(&mut image, |policy| fence(policy, BrokerId(0))), 2);
    assert_eq!(apply_to(&mut image, |policy| fence(policy, BrokerId(0))), 1);
}

#[test]
fn a_broker_that_is_about_to_stop_hands_over_and_gets_nothing_back() {
    let (mut image, topic) = image();
    apply_to(&mut image, |policy| begin_shutdown(policy, BrokerId(0)));
    let broker = &image.brokers[&BrokerId(0)];
    assert!(!broker.fenced && broker.in_controlled_shutdown);
    let partition = partition(&image, topic);
    assert_eq!((partition.leader, &partition.isr), (Some(BrokerId(1)), &ids(&[1, 2])));
}

#[test]
fn an_unregistered_broker_is_in_no_isr_and_not_eligible_either() {
    let (mut image, topic) = image();
    let cordon = configs::record(&ConfigResource::broker(BrokerId(0)), CORDONED, Some("*".to_owned()));
    apply(&mut image, &[cordon]);
    for id in [2, 1] {
        apply_to(&mut image, |policy| fence(policy, BrokerId(id)));
    }
    assert_eq!(partition(&image, topic).eligible_leader_replicas, ids(&[1]));
    for id in [1, 0] {
        apply_to(&mut image, |policy| unregister(policy, BrokerId(id)).unwrap());
        assert!(!image.brokers.contains_key(&BrokerId(id)));
        let partition = partition(&image, topic);
        assert!(!partition.isr.contains(&BrokerId(id)) && partition.eligible_leader_replicas.is_empty());
    }
    assert_eq!(partition(&image, topic).leader, None);
    assert!(!image.configs.contains_key(&ConfigResource::broker(BrokerId(0))), "its number may come again");
    let gone = BrokerEpochError::NotRegistered { id: BrokerId(0) };
    assert_eq!(unregister(&with_minimum(&image, 2), BrokerId(0)), Err(gone));
}

#[test]
fn only_the_process_that_is_registered_speaks_for_the_broker() {
    let (image, _) = image();
    let registered = image.brokers[&BrokerId(1)].epoch;
    let check = |id, epoch| check_epoch(&image, BrokerId(id), BrokerEpoch(epoch)).map(|broker| broker.epoch);
    assert_eq!(check(1, registered.0), Ok(registered));
    for other in [registered.0 - 1, registered.0 + 1, -1] {
        let stale = BrokerEpochError::Stale { id: BrokerId(1), given: BrokerEpoch(other), registered };
        assert_eq!(check(1, other), Err(stale));
    }
    assert_eq!(check(7, 0), Err(BrokerEpochError::NotRegistered { id: BrokerId(7) }));
}

#[test]
fn a_copy_on_another_volume_than_the_brokers_leads_nothing() {
    let (mut image, topic) = image();
    for id in [0, 1, 2] {
        apply_to(&mut image, |policy| fence(policy, BrokerId(id)));
    }
    image.brokers.get_mut(&BrokerId(2)).unwrap().directories = vec![volume(9)];
    apply_to(&mut image, |policy| unfence(policy, BrokerId(2)));
    assert_eq!(partition(&image, topic).leader, None);
}
