use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

fn registration(id: i32, directory: DirectoryId) -> Registration {
    Registration {
        id: BrokerId(id),
        incarnation: IncarnationId(Uuid::from_u128(7)),
        directory,
        previous_epoch: None,
        endpoints: Vec::new(),
        rack: None,
    }
}

fn leader(image: &Image, topic: &str) -> (Option<BrokerId>, LeaderEpoch) {
    let partition = &image.topic(topic).unwrap().partitions[0];
    (partition.leader, partition.leader_epoch)
}

/// Comes back with `previous_epoch`, and serves.
fn restart(image: &mut Image, id: i32, directory: DirectoryId, previous_epoch: Option<BrokerEpoch>) {
    let registration = Registration { previous_epoch, ..registration(id, directory) };
    let (records, epoch) = register(image, registration, |_| 1);
    apply(image, &records);
    assert!(image.brokers[&BrokerId(id)].fenced);
    assert_eq!(image.end_offset.0 - 1, epoch.0, "the offset of the registration");
    let records = unfence(image, BrokerId(id), epoch, |_| 1).unwrap();
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
    let (records, _) = register(&image, Registration { previous_epoch, ..registration(0, volume(0)) }, |_| 1);
    apply(&mut image, &records);
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
fn an_epoch_that_is_over_unfences_nobody() {
    let mut image = cluster(1);
    let (records, epoch) = register(&image, registration(0, volume(0)), |_| 1);
    apply(&mut image, &records);
    let stale = BrokerEpoch(epoch.0 - 1);
    assert_eq!(
        unfence(&image, BrokerId(0), stale, |_| 1),
        Err(RegistrationError::NotRegistered { id: BrokerId(0), epoch: stale })
    );
}
