use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::LeaderEpoch;
use uuid::Uuid;

use super::super::brokers::unfence;
use super::super::features::supported_features;
use super::super::policy::with_minimum;
use super::super::testing::CLUSTER;
use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

/// A registration of another process each time.
fn registration(image: &Image, id: i32, directory: DirectoryId) -> Registration {
    Registration {
        id: BrokerId(id),
        cluster_id: CLUSTER.to_owned(),
        incarnation: IncarnationId(Uuid::from_u128(u128::try_from(image.end_offset.0).unwrap() + 1)),
        directory,
        previous_epoch: None,
        endpoints: Vec::new(),
        features: supported_features(),
        rack: None,
    }
}

fn leader(image: &Image, topic: &str) -> (Option<BrokerId>, LeaderEpoch) {
    let partition = &image.topic(topic).unwrap().partitions[0];
    (partition.leader, partition.leader_epoch)
}

fn register_as(image: &mut Image, registration: Registration) -> BrokerEpoch {
    let (records, epoch) = register(&with_minimum(image, 1), registration);
    apply(image, &records);
    epoch
}

/// Registers with `previous_epoch`, and is unfenced.
fn restart(image: &mut Image, id: i32, directory: DirectoryId, previous_epoch: Option<BrokerEpoch>) {
    let registration = Registration { previous_epoch, ..registration(image, id, directory) };
    let epoch = register_as(image, registration);
    assert!(image.brokers[&BrokerId(id)].fenced);
    assert_eq!(image.end_offset.0 - 1, epoch.0, "the offset of the registration");
    let records = unfence(&with_minimum(image, 1), BrokerId(id));
    apply(image, &records);
    assert!(!image.brokers[&BrokerId(id)].fenced);
}

fn recovery_state(image: &Image, topic: &str) -> LeaderRecoveryState {
    image.topic(topic).unwrap().partitions[0].recovery_state
}

#[test]
fn a_broker_that_comes_back_leads_again_in_a_new_epoch() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let previous = image.brokers[&BrokerId(0)].epoch;
    restart(&mut image, 0, volume(0), Some(previous));
    assert_eq!(leader(&image, "t"), (Some(BrokerId(0)), LeaderEpoch(2)));
    assert_eq!(recovery_state(&image, "t"), LeaderRecoveryState::Recovered);
}

#[test]
fn after_a_crash_the_last_known_leader_comes_back_recovering() {
    for previous in [None, Some(BrokerEpoch(77))] {
        let mut image = cluster(1);
        add_topic(&mut image, "t", &[0]);
        restart(&mut image, 0, volume(0), previous);
        assert_eq!(leader(&image, "t"), (Some(BrokerId(0)), LeaderEpoch(2)));
        assert_eq!(recovery_state(&image, "t"), LeaderRecoveryState::Recovering);
        assert_eq!(image.topic("t").unwrap().partitions[0].isr, [BrokerId(0)]);
    }
}

#[test]
fn a_crash_between_registration_and_service_costs_no_leader() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let previous_epoch = Some(image.brokers[&BrokerId(0)].epoch);
    let first = Registration { previous_epoch, ..registration(&image, 0, volume(0)) };
    register_as(&mut image, first);
    restart(&mut image, 0, volume(0), None);
    assert_eq!(leader(&image, "t").0, Some(BrokerId(0)));
    assert_eq!(recovery_state(&image, "t"), LeaderRecoveryState::Recovering);
}

#[test]
fn an_empty_volume_under_an_old_id_leads_nothing() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let previous = image.brokers[&BrokerId(0)].epoch;
    restart(&mut image, 0, volume(5), Some(previous));
    assert_eq!(leader(&image, "t").0, None);
    assert_eq!(image.topic("t").unwrap().partitions[0].replicas[0].directory, volume(5));
}

#[test]
fn a_volume_that_came_while_the_broker_was_unregistered_is_another_one_all_the_same() {
    let mut image = cluster(2);
    add_topic(&mut image, "t", &[0, 1]);
    let gone = super::super::brokers::unregister(&with_minimum(&image, 1), BrokerId(0)).unwrap();
    apply(&mut image, &gone);
    let new = registration(&image, 0, volume(5));
    register_as(&mut image, new);
    let replica = image.topic("t").unwrap().partitions[0].replica_on(BrokerId(0)).unwrap();
    assert_eq!(replica.directory, volume(5));
}

#[test]
fn a_broker_leaves_other_leaders_alone() {
    let mut image = cluster(2);
    add_topic(&mut image, "mine", &[0]);
    add_topic(&mut image, "other", &[1]);
    restart(&mut image, 0, volume(0), None);
    assert_eq!(leader(&image, "other"), (Some(BrokerId(1)), LeaderEpoch(0)));
    assert_eq!(leader(&image, "mine").0, Some(BrokerId(0)));
}

#[test]
fn the_process_that_is_registered_keeps_its_epoch_and_its_state() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let same = registration(&image, 0, volume(0));
    register_as(&mut image, same.clone());
    let records = unfence(&with_minimum(&image, 1), BrokerId(0));
    apply(&mut image, &records);
    let (before, led) = (image.brokers[&BrokerId(0)].clone(), leader(&image, "t"));
    let epoch = register_as(&mut image, Registration { rack: Some("b".to_owned()), ..same });
    assert_eq!(epoch, before.epoch);
    assert_eq!(image.brokers[&BrokerId(0)], BrokerImage { rack: Some("b".to_owned()), ..before });
    assert_eq!(leader(&image, "t"), led);
}

#[test]
fn refusals_name_the_reason() {
    let mut image = cluster(2);
    image.features.insert("metadata.version".to_owned(), 27);
    let cluster_id: ClusterId = CLUSTER.parse().unwrap();
    let live = image.brokers[&BrokerId(0)].incarnation;
    let right = registration(&image, 0, volume(0));
    let features = vec![FeatureRange { name: "metadata.version".to_owned(), min: 20, max: 26 }];
    let table = [
        (Registration { cluster_id: "other".to_owned(), ..right.clone() }, false, "is of cluster other, this is"),
        (Registration { id: BrokerId(-1), directory: volume(7), ..right.clone() }, false, "-1 is not a broker id"),
        (right.clone(), true, "registered as another process"),
        (Registration { directory: volume(1), ..right.clone() }, false, "is that of broker 1"),
        (Registration { id: BrokerId(5), ..right.clone() }, false, "is that of broker 0"),
        (Registration { incarnation: live, directory: volume(7), ..right.clone() }, true, "registered with directory"),
        (Registration { features, ..right.clone() }, false, "level 27, the broker works with 20 to 26"),
        (Registration { features: Vec::new(), ..right.clone() }, false, "the broker works with none"),
    ];
    for (registration, is_live, reason) in table {
        let error = check(&image, &cluster_id, &registration, is_live).unwrap_err().to_string();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
    for (registration, is_live) in [
        (right.clone(), false),
        (Registration { incarnation: live, ..right.clone() }, true),
        (Registration { directory: volume(7), ..right.clone() }, false),
        (Registration { id: BrokerId(9), directory: volume(9), ..right }, false),
    ] {
        assert_eq!(check(&image, &cluster_id, &registration, is_live), Ok(()), "{registration:?}");
    }
}
