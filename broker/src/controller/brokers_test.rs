use protocol::types::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

fn registration(id: i32, directory: DirectoryId) -> Registration {
    Registration {
        id: BrokerId(id),
        incarnation: IncarnationId(Uuid::from_u128(7)),
        directory,
        endpoints: Vec::new(),
        rack: None,
    }
}

fn leader(image: &Image, topic: &str) -> (Option<BrokerId>, LeaderEpoch) {
    let partition = &image.topic(topic).unwrap().partitions[0];
    (partition.leader, partition.leader_epoch)
}

#[test]
fn a_broker_that_comes_back_leads_again_in_a_new_epoch() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let expected_epoch = image.end_offset.0;
    let (records, epoch) = register(&image, registration(0, volume(0)));
    assert_eq!(epoch, BrokerEpoch(expected_epoch), "the offset of the registration");
    apply(&mut image, &records);
    assert_eq!(leader(&image, "t"), (None, LeaderEpoch(1)));
    assert!(image.brokers[&BrokerId(0)].fenced);
    let records = unfence(&image, BrokerId(0), epoch).unwrap();
    apply(&mut image, &records);
    assert_eq!(leader(&image, "t"), (Some(BrokerId(0)), LeaderEpoch(2)));
    assert!(!image.brokers[&BrokerId(0)].fenced);
}

#[test]
fn an_empty_volume_under_an_old_id_leads_nothing() {
    let mut image = cluster(1);
    add_topic(&mut image, "t", &[0]);
    let (records, epoch) = register(&image, registration(0, volume(5)));
    apply(&mut image, &records);
    let records = unfence(&image, BrokerId(0), epoch).unwrap();
    apply(&mut image, &records);
    assert_eq!(leader(&image, "t").0, None);
}

#[test]
fn a_broker_out_of_sync_leads_nothing_and_leaves_other_leaders_alone() {
    let mut image = cluster(2);
    add_topic(&mut image, "mine", &[0]);
    add_topic(&mut image, "other", &[1]);
    let (records, epoch) = register(&image, registration(0, volume(0)));
    apply(&mut image, &records);
    assert_eq!(leader(&image, "other"), (Some(BrokerId(1)), LeaderEpoch(0)));
    let records = unfence(&image, BrokerId(0), epoch).unwrap();
    apply(&mut image, &records);
    assert_eq!(leader(&image, "other"), (Some(BrokerId(1)), LeaderEpoch(0)));
    assert_eq!(leader(&image, "mine").0, Some(BrokerId(0)));
}

#[test]
fn an_epoch_that_is_over_unfences_nobody() {
    let mut image = cluster(1);
    let (records, epoch) = register(&image, registration(0, volume(0)));
    apply(&mut image, &records);
    let stale = BrokerEpoch(epoch.0 - 1);
    assert_eq!(
        unfence(&image, BrokerId(0), stale),
        Err(RegistrationError::NotRegistered { id: BrokerId(0), epoch: stale })
    );
}
