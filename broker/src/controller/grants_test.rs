use std::sync::Arc;

use protocol::metadata_records::control::Voter;
use protocol::types::DirectoryId;

use super::super::brokers::fence;
use super::super::policy::with_minimum;
use super::*;
use crate::metadata::testing::{add_topic, apply, cluster};

const TTL: Duration = Duration::from_mins(1);

fn ids<C: FromIterator<BrokerId>>(brokers: &[i32]) -> C {
    brokers.iter().copied().map(BrokerId).collect()
}

/// Brokers 0 to 3, of which the first three are voters; a topic on those three, led by 0.
fn image() -> Image {
    let mut image = cluster(4);
    add_topic(&mut image, "t", &[0, 1, 2]);
    image.voters = voters(3);
    image
}

fn voters(count: i32) -> Arc<[Voter]> {
    let voter = |id: i32| Voter {
        voter_id: BrokerId(id),
        directory_id: DirectoryId::default(),
        endpoints: Vec::new(),
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    (0..count).map(voter).collect()
}

fn wish(image: &Image, broker: i32, caught_up: &[i32]) -> RestartWish {
    RestartWish {
        broker: BrokerId(broker),
        epoch: image.brokers[&BrokerId(broker)].epoch,
        ttl: TTL,
        reason: "upgrade".to_owned(),
        voters_caught_up: ids(caught_up),
    }
}

fn grant(grants: &mut Grants, image: &Image, broker: i32, caught_up: &[i32]) -> Result<(), GrantError> {
    grants.grant(&with_minimum(image, 2), &wish(image, broker, caught_up), Vec::new(), Duration::ZERO)
}

fn status(grants: &Grants, image: &Image, broker: i32) -> Option<GrantStatus> {
    let policy = with_minimum(image, 2).sparing(grants.brokers());
    grants.status(&policy, BrokerId(broker), &ids(&[0, 1, 2]), Duration::from_secs(1))
}

#[test]
fn whoever_may_restart_leads_nothing_before_it_stops() {
    let (mut image, mut grants) = (image(), Grants::default());
    grant(&mut grants, &image, 0, &[0, 1, 2]).unwrap();
    let before = status(&grants, &image, 0).unwrap();
    assert!(before.leaders_left == 1 && !before.is_safe_to_stop());
    let records = hand_over(&with_minimum(&image, 2).sparing(grants.brokers()), BrokerId(0));
    apply(&mut image, &records);
    let partition = &image.topic("t").unwrap().partitions[0];
    assert_eq!((partition.leader, partition.isr.len()), (Some(BrokerId(1)), 3), "it stays in sync until it stops");
    let after = status(&grants, &image, 0).unwrap();
    assert!(after.is_safe_to_stop() && after.will_be_unavailable.is_empty() && !after.quorum_will_wait);
    assert_eq!((after.remaining, after.reason.as_str()), (Duration::from_secs(59), "upgrade"));
    assert!(grants.end(BrokerId(0)) && !grants.end(BrokerId(0)));
    assert_eq!(status(&grants, &image, 0), None);
}

#[test]
fn what_forbids_a_restart_is_named() {
    let (mut image, mut grants) = (image(), Grants::default());
    grant(&mut grants, &image, 1, &[0, 1, 2]).unwrap();
    let refused = grant(&mut grants, &image, 0, &[0, 1, 2]).unwrap_err();
    let partition = TopicPartition { topic: "t".to_owned(), partition: PartitionId(0) };
    let in_sync = |left: &[i32]| Obstacle::InSync { partition: partition.clone(), left: ids(left), needed: 2 };
    let quorum = |left: &[i32]| Obstacle::Quorum { voters: 3, left: ids(left), needed: 2 };
    assert_eq!(refused, GrantError::Forbidden(vec![in_sync(&[2]), quorum(&[2])]), "another one has a grant");
    assert_eq!(grant(&mut grants, &image, 3, &[0, 1, 2]), Ok(()), "nothing depends on it");
    grants.clear();
    assert_eq!(grant(&mut grants, &image, 0, &[0, 1]), Err(GrantError::Forbidden(vec![quorum(&[1])])));
    let records = fence(&with_minimum(&image, 2), BrokerId(2));
    apply(&mut image, &records);
    assert_eq!(grant(&mut grants, &image, 0, &[0, 1, 2]), Err(GrantError::Forbidden(vec![in_sync(&[1])])));
    assert_eq!(grant(&mut grants, &image, 2, &[0, 1]), Ok(()), "it is not in sync, so it takes nothing away");
    let message = GrantError::Forbidden(vec![in_sync(&[1]), quorum(&[1])]).to_string();
    assert!(message.contains("partition t-0 would have [BrokerId(1)] in sync and needs 2; of 3 voters"), "{message}");
}

#[test]
fn a_controller_that_has_not_heard_everybody_grants_nothing() {
    let (image, mut grants) = (image(), Grants::default());
    let wish = wish(&image, 3, &[0, 1, 2]);
    let refused = grants.grant(&with_minimum(&image, 2), &wish, ids(&[1]), Duration::ZERO);
    assert_eq!(refused, Err(GrantError::Forbidden(vec![Obstacle::NotHeard { brokers: ids(&[1]) }])));
    let stale = RestartWish { epoch: BrokerEpoch(77), ..wish };
    let refused = grants.grant(&with_minimum(&image, 2), &stale, Vec::new(), Duration::ZERO);
    assert!(matches!(refused, Err(GrantError::Epoch(BrokerEpochError::Stale { .. }))), "{refused:?}");
}

#[test]
fn what_nobody_can_serve_meanwhile_does_not_forbid_it() {
    let (mut image, mut grants) = (cluster(3), Grants::default());
    add_topic(&mut image, "one", &[0]);
    add_topic(&mut image, "two", &[1, 0]);
    image.voters = voters(1);
    grant(&mut grants, &image, 0, &[0]).unwrap();
    let status = status(&grants, &image, 0).unwrap();
    let named: Vec<_> = status.will_be_unavailable.iter().map(ToString::to_string).collect();
    assert_eq!((named, status.quorum_will_wait), (vec!["one-0".to_owned(), "two-0".to_owned()], true));
    assert!(status.is_safe_to_stop(), "there is nobody to hand it over to");
    assert_eq!(hand_over(&with_minimum(&image, 2).sparing(grants.brokers()), BrokerId(0)), []);
}

#[test]
fn a_grant_ends_by_itself() {
    let (image, mut grants) = (image(), Grants::default());
    let forever = RestartWish { ttl: Duration::MAX, ..wish(&image, 0, &[0, 1, 2]) };
    grants.grant(&with_minimum(&image, 2), &forever, Vec::new(), TTL).unwrap();
    let expires = grants.deadline().unwrap();
    assert_eq!(expires, TTL + TTL_MAX);
    grants.expire(expires.saturating_sub(Duration::from_millis(1)));
    assert_eq!(grants.brokers().count(), 1);
    grants.expire(expires);
    assert_eq!(grants.brokers().count(), 0);
}
