use protocol::metadata_records::PartitionChangeRecord;
use uuid::Uuid;

use super::super::brokers::{begin_shutdown, fence};
use super::super::policy::with_minimum;
use super::super::reassignments::{FactorChange, alter_reassignments};
use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

/// `min.insync.replicas` of the topic.
const MINIMUM: usize = 2;

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// Four brokers and a topic on 0, 1 and 2, led by 0.
fn image() -> (Image, TopicId) {
    let mut image = cluster(4);
    let topic = add_topic(&mut image, "t", &[0, 1, 2]);
    (image, topic)
}

fn state(image: &Image, topic: TopicId) -> &PartitionImage {
    image.topics[&topic].partition(PartitionId(0)).unwrap()
}

/// The proposal that the leader would send now.
fn proposed(image: &Image, topic: TopicId, isr: &[i32]) -> ProposedIsr {
    let epoch = |id: &i32| image.brokers.get(&BrokerId(*id)).map_or(BrokerEpoch(-1), |broker| broker.epoch);
    let state = state(image, topic);
    ProposedIsr {
        partition: PartitionId(0),
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        recovery_state: state.recovery_state,
        isr: isr.iter().map(|id| (BrokerId(*id), epoch(id))).collect(),
    }
}

fn alter_from(
    image: &mut Image,
    sender: i32,
    topic: TopicId,
    proposed: ProposedIsr,
) -> Result<AlteredPartition, AlterPartitionError> {
    let broker = BrokerId(sender);
    let epoch = image.brokers[&broker].epoch;
    let request = AlterPartition { broker, epoch, topics: vec![(topic, vec![proposed])] };
    let decided = alter_partitions(&with_minimum(image, MINIMUM), &request);
    let (records, refusals) = decided.unwrap_or_else(|error| panic!("{error}"));
    apply(image, &records);
    answers(image, &request, &refusals).remove(0).1.remove(0).1
}

/// Sent by the leader.
fn alter(image: &mut Image, topic: TopicId, isr: &[i32]) -> Result<AlteredPartition, AlterPartitionError> {
    let leader = state(image, topic).leader.unwrap();
    let proposed = proposed(image, topic, isr);
    alter_from(image, leader.0, topic, proposed)
}

#[test]
fn the_set_shrinks_and_grows_and_the_eligible_follow() {
    let (mut image, topic) = image();
    let table: [(&[i32], &[i32]); 6] =
        [(&[0, 1], &[]), (&[0], &[1]), (&[0, 2], &[]), (&[0], &[2]), (&[0, 1, 2], &[]), (&[0], &[1, 2])];
    for (step, (isr, eligible)) in (1..).zip(table) {
        let altered = alter(&mut image, topic, isr).unwrap();
        assert_eq!((&altered.isr, altered.partition_epoch), (&ids(isr), PartitionEpoch(step)));
        assert_eq!((altered.leader, altered.leader_epoch), (BrokerId(0), LeaderEpoch(0)), "no new leader epoch");
        assert_eq!(state(&image, topic).eligible_leader_replicas, ids(eligible), "{isr:?}");
    }
}

#[test]
fn what_is_wrong_is_found_in_kafkas_order() {
    use AlterPartitionError as E;
    let (mut image, topic) = image();
    alter(&mut image, topic, &[0, 1]).unwrap();
    let moved = PartitionChangeRecord {
        leader: protocol::metadata_records::LeaderUpdate::Broker(BrokerId(0)),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(moved)]);
    let right = proposed(&image, topic, &[0, 1]);
    let with = |leader_epoch: i32, partition_epoch: i32, isr: &[i32]| ProposedIsr {
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        ..proposed(&image, topic, isr)
    };
    let recovering =
        |isr: &[i32]| ProposedIsr { recovery_state: LeaderRecoveryState::Recovering, ..proposed(&image, topic, isr) };
    let unknown_topic = TopicId(Uuid::from_u128(99));
    let unknown_partition = ProposedIsr { partition: PartitionId(1), ..right.clone() };
    let ahead =
        |leader, partition| E::Ahead { leader_epoch: LeaderEpoch(leader), partition_epoch: PartitionEpoch(partition) };
    let fenced = E::FencedLeaderEpoch { given: LeaderEpoch(0), current: LeaderEpoch(1) };
    let not_leader = E::NotLeader { leader: Some(BrokerId(0)) };
    let stale = E::StalePartitionEpoch { given: PartitionEpoch(1), current: PartitionEpoch(2) };
    let invalid = |isr: &[i32]| E::InvalidIsr { isr: ids(isr) };
    // Each row is wrong in what the later rows check, too.
    let table = [
        (1, unknown_topic, with(9, 9, &[7]), E::UnknownTopic { topic: unknown_topic }),
        (1, topic, unknown_partition, E::UnknownPartition { partition: PartitionId(1) }),
        (1, topic, with(2, 1, &[7]), ahead(2, 1)),
        (1, topic, with(0, 3, &[7]), ahead(0, 3)),
        (1, topic, with(0, 1, &[7]), fenced),
        (1, topic, with(1, 1, &[7]), not_leader),
        (0, topic, with(1, 1, &[7]), stale),
        (0, topic, with(1, 2, &[0, 3]), invalid(&[0, 3])),
        (0, topic, with(1, 2, &[1, 2]), invalid(&[1, 2])),
        (0, topic, with(1, 2, &[0, 0]), invalid(&[0, 0])),
        (0, topic, with(1, 2, &[]), invalid(&[])),
        (0, topic, recovering(&[0]), E::InvalidRecoveryState),
    ];
    for (sender, topic, proposed, error) in table {
        assert_eq!(alter_from(&mut image, sender, topic, proposed.clone()), Err(error), "{proposed:?}");
    }
    let request = AlterPartition { broker: BrokerId(0), epoch: BrokerEpoch(77), topics: vec![(topic, vec![right])] };
    let refused = alter_partitions(&with_minimum(&image, MINIMUM), &request);
    assert!(matches!(refused, Err(BrokerEpochError::Stale { .. })), "{refused:?}");
}

#[test]
fn who_may_lack_records_or_is_about_to_go_does_not_come_in() {
    let (mut image, topic) = image();
    alter(&mut image, topic, &[0, 1]).unwrap();
    let expected = |image: &mut Image, reason: Ineligibility| {
        let refused = alter(image, topic, &[0, 1, 2]);
        assert_eq!(refused, Err(AlterPartitionError::Ineligible { broker: BrokerId(2), reason }));
    };
    let before = image.clone();
    let records = fence(&with_minimum(&image, MINIMUM), BrokerId(2));
    apply(&mut image, &records);
    expected(&mut image, Ineligibility::Fenced);
    image = before.clone();
    let records = begin_shutdown(&with_minimum(&image, MINIMUM), BrokerId(2));
    apply(&mut image, &records);
    expected(&mut image, Ineligibility::ShuttingDown);
    image = before.clone();
    image.brokers.get_mut(&BrokerId(2)).unwrap().directories = vec![volume(9)];
    expected(&mut image, Ineligibility::OtherVolume);
    image = before.clone();
    image.brokers.remove(&BrokerId(2));
    expected(&mut image, Ineligibility::Epoch(BrokerEpochError::NotRegistered { id: BrokerId(2) }));
    // The leader has seen the former process fetch; a new process, which may have lost records, has registered since.
    image = before;
    let seen = proposed(&image, topic, &[0, 1, 2]);
    let given = image.brokers[&BrokerId(2)].epoch;
    let registered = BrokerEpoch(100);
    image.brokers.get_mut(&BrokerId(2)).unwrap().epoch = registered;
    let reason = Ineligibility::Epoch(BrokerEpochError::Stale { id: BrokerId(2), given, registered });
    let refused = alter_from(&mut image, 0, topic, seen);
    assert_eq!(refused, Err(AlterPartitionError::Ineligible { broker: BrokerId(2), reason }));
}

#[test]
fn a_leader_that_has_recovered_says_so_and_only_then_has_company() {
    use LeaderRecoveryState::{Recovered, Recovering};
    let (mut image, topic) = image();
    let lost = PartitionChangeRecord {
        isr: Some(ids(&[0])),
        leader_recovery_state: Some(Recovering),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(lost)]);
    assert_eq!(alter(&mut image, topic, &[0, 1]), Err(AlterPartitionError::InvalidRecoveryState));
    let recovered = ProposedIsr { recovery_state: Recovered, ..proposed(&image, topic, &[0]) };
    assert_eq!(alter_from(&mut image, 0, topic, recovered).unwrap().recovery_state, Recovered);
    assert_eq!(alter(&mut image, topic, &[0, 1]).unwrap().isr, ids(&[0, 1]));
}

#[test]
fn a_reassignment_is_finished_when_all_of_its_targets_are_in_sync_and_not_before() {
    /// Target; ISRs in turn; the leader after the last.
    type Row<'a> = (&'a [i32], &'a [&'a [i32]], i32);
    let table: [Row<'_>; 2] = [(&[0, 3], &[&[0, 1, 2, 3]], 0), (&[3, 1], &[&[0, 3], &[0, 1, 3]], 3)];
    for (target, steps, leader) in table {
        let (mut image, topic) = image();
        let wanted = [("t".to_owned(), vec![(PartitionId(0), Some(ids(target)))])];
        let (records, _) = alter_reassignments(&with_minimum(&image, MINIMUM), &wanted, FactorChange::Allowed);
        apply(&mut image, &records);
        let (last, before) = steps.split_last().unwrap();
        for isr in before {
            alter(&mut image, topic, isr).unwrap();
            assert!(state(&image, topic).is_reassigning(), "{isr:?} of {target:?}");
        }
        let altered = alter(&mut image, topic, last);
        assert_eq!(altered, Err(AlterPartitionError::NewLeaderElected), "what holds now comes with the metadata");
        let state = state(&image, topic);
        assert!(!state.is_reassigning() && state.brokers().eq(ids(target)));
        assert!(state.isr.iter().all(|id| target.contains(&id.0)));
        assert_eq!((state.leader, state.leader_epoch), (Some(BrokerId(leader)), LeaderEpoch(1)));
    }
}

#[test]
fn a_partition_that_is_there_twice_is_altered_once() {
    let (mut image, topic) = image();
    let (first, second) = (proposed(&image, topic, &[0, 1]), proposed(&image, topic, &[0]));
    let (broker, epoch) = (BrokerId(0), image.brokers[&BrokerId(0)].epoch);
    let request = AlterPartition { broker, epoch, topics: vec![(topic, vec![first, second])] };
    let (records, _) = alter_partitions(&with_minimum(&image, MINIMUM), &request).unwrap();
    apply(&mut image, &records);
    assert_eq!(state(&image, topic).isr, ids(&[0, 1]));
}
