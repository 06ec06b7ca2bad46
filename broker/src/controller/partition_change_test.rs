use protocol::types::{LeaderEpoch, PartitionEpoch};

use super::*;
use crate::metadata::testing::volume;

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// ISR, ELR, last known leader; leader.
type State<'a> = (&'a [i32], &'a [i32], &'a [i32], Option<i32>);

fn partition(replicas: &[i32], (isr, elr, last_known, leader): State<'_>) -> PartitionImage {
    let replica = |broker: &i32| Replica { broker: BrokerId(*broker), directory: volume(*broker) };
    PartitionImage {
        replicas: replicas.iter().map(replica).collect(),
        isr: ids(isr),
        adding: Vec::new(),
        removing: Vec::new(),
        leader: leader.map(BrokerId),
        recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        eligible_leader_replicas: ids(elr),
        last_known_elr: ids(last_known),
    }
}

fn after(was: &PartitionImage, change: Option<MetadataRecord>) -> PartitionImage {
    let Some(MetadataRecord::PartitionChange(record)) = change else { return was.clone() };
    let mut state = was.clone();
    match record.leader {
        LeaderUpdate::Unchanged => {}
        LeaderUpdate::Nobody => state.leader = None,
        LeaderUpdate::Broker(leader) => state.leader = Some(leader),
    }
    state.isr = record.isr.unwrap_or(state.isr);
    state.eligible_leader_replicas = record.eligible_leader_replicas.unwrap_or(state.eligible_leader_replicas);
    state.last_known_elr = record.last_known_elr.unwrap_or(state.last_known_elr);
    state.recovery_state = record.leader_recovery_state.unwrap_or(state.recovery_state);
    state
}

#[test]
fn a_broker_that_goes_leaves_isr_and_leadership() {
    use Departure::{Clean, Unclean};
    let table: &[(&[i32], usize, State<'_>, Departure, State<'_>)] = &[
        // Broker 1 goes; 2 and 3 stay. Enough are in sync: the ELR stays empty.
        (&[1, 2, 3], 2, (&[1, 2, 3], &[], &[], Some(1)), Clean, (&[2, 3], &[], &[], Some(2))),
        (&[1, 2, 3], 2, (&[1, 2, 3], &[], &[], Some(3)), Unclean, (&[2, 3], &[], &[], Some(3))),
        // Too few in sync: the broker that goes has all that was committed, unless it crashed.
        (&[1, 2, 3], 2, (&[1, 2], &[], &[], Some(1)), Clean, (&[2], &[1], &[], Some(2))),
        (&[1, 2, 3], 2, (&[1, 2], &[], &[], Some(1)), Unclean, (&[2], &[], &[1], Some(2))),
        (&[1, 2, 3], 2, (&[2], &[1, 3], &[], Some(2)), Unclean, (&[2], &[3], &[1], Some(2))),
        // The last one goes: the eligible ones lead, if there are any.
        (&[1, 2, 3], 2, (&[1], &[3], &[], Some(1)), Clean, (&[3], &[1], &[], Some(3))),
        (&[1, 2, 3], 2, (&[1], &[], &[], Some(1)), Clean, (&[], &[1], &[1], None)),
        (&[1, 2, 3], 2, (&[1], &[], &[], Some(1)), Unclean, (&[], &[], &[1], None)),
        // It was gone already, and crashed before it came back.
        (&[1, 2, 3], 2, (&[], &[1], &[1], None), Unclean, (&[], &[], &[1], None)),
        (&[1], 1, (&[1], &[], &[], Some(1)), Clean, (&[], &[1], &[1], None)),
        (&[1], 1, (&[1], &[], &[], Some(1)), Unclean, (&[], &[], &[1], None)),
        // It had no part in it.
        (&[1, 2, 3], 2, (&[2, 3], &[], &[], Some(2)), Unclean, (&[2, 3], &[], &[], Some(2))),
    ];
    for (replicas, min_insync_replicas, was, departure, becomes) in table {
        let was = partition(replicas, *was);
        let change = PartitionChange::new(TopicId::default(), PartitionId(0), &was, *min_insync_replicas);
        let change = change.without(BrokerId(1), *departure).elect(|replica| replica.broker != BrokerId(1));
        assert_eq!(after(&was, change), partition(replicas, *becomes), "{was:?}, {departure:?}");
    }
}

#[test]
fn a_leader_is_found_in_isr_then_elr_then_where_the_last_one_was() {
    use LeaderRecoveryState::{Recovered, Recovering};
    let table: &[(State<'_>, State<'_>, LeaderRecoveryState)] = &[
        ((&[2], &[1], &[], None), (&[2], &[1], &[], Some(2)), Recovered),
        ((&[], &[1, 2], &[2], None), (&[1], &[2], &[], Some(1)), Recovered),
        ((&[], &[], &[2], None), (&[2], &[], &[], Some(2)), Recovering),
        // Unless it is known as the last leader, a replica may have nothing.
        ((&[], &[], &[], None), (&[], &[], &[], None), Recovered),
        ((&[], &[], &[1, 2], None), (&[], &[], &[1, 2], None), Recovered),
        // In the ISR, but away: no other replica may take its place.
        ((&[3], &[1], &[], None), (&[3], &[1], &[], None), Recovered),
        ((&[], &[3], &[2], None), (&[], &[3], &[2], None), Recovered),
    ];
    for (was, becomes, recovery_state) in table {
        let was = partition(&[1, 2, 3], *was);
        let change = PartitionChange::new(TopicId::default(), PartitionId(0), &was, 2);
        let change = change.elect(|replica| replica.broker != BrokerId(3));
        let expected = PartitionImage { recovery_state: *recovery_state, ..partition(&[1, 2, 3], *becomes) };
        assert_eq!(after(&was, change), expected, "{was:?}");
    }
}

#[test]
fn nothing_that_was_on_a_replaced_volume_counts() {
    for state in [(&[1][..], &[][..], &[][..], Some(1)), (&[], &[1], &[1], None)] {
        let was = partition(&[1], state);
        let change = PartitionChange::new(TopicId::default(), PartitionId(0), &was, 1);
        let change = change.without(BrokerId(1), Departure::VolumeReplaced(volume(9))).elect(|_| true);
        let Some(MetadataRecord::PartitionChange(record)) = change.clone() else { panic!("{change:?}") };
        assert_eq!(record.directories, Some(vec![volume(9)]));
        assert_eq!(after(&was, change), partition(&[1], (&[], &[], &[], None)), "{was:?}");
    }
}

#[test]
fn what_is_as_it_should_be_takes_no_record() {
    let was = partition(&[1, 2], (&[1, 2], &[], &[], Some(1)));
    let change = PartitionChange::new(TopicId::default(), PartitionId(0), &was, 2);
    assert_eq!(change.elect(|_| true), None);
}
