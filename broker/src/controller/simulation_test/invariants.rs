//! Invariants of every partition, checked after every batch.

use std::collections::BTreeSet;

use protocol::types::{BrokerId, LeaderEpoch, PartitionEpoch};

use crate::metadata::{Image, PartitionImage, Replica};

pub(in crate::controller) fn check(before: &Image, after: &Image, min_insync_replicas: usize) {
    for (topic, id, state) in after.partitions() {
        sets_are_sound(state, min_insync_replicas);
        leader_can_lead(after, state);
        if let Some(was) = before.topics.get(&topic.id).and_then(|topic| topic.partition(id))
            && was != state
        {
            epochs_move(was, state);
            nobody_leaves_before_all_have_come(was, state);
        }
    }
}

fn sets_are_sound(state: &PartitionImage, min_insync_replicas: usize) {
    let set = |ids: &[BrokerId]| {
        let distinct: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len(), "somebody is there twice: {state:?}");
        distinct
    };
    let replicas = set(&state.brokers().collect::<Vec<_>>());
    let (isr, eligible) = (set(&state.isr), set(&state.eligible_leader_replicas));
    assert!(isr.is_subset(&replicas) && eligible.is_subset(&replicas), "no replica: {state:?}");
    assert!(isr.is_disjoint(&eligible), "in sync and eligible: {state:?}");
    let is_enough = min_insync_replicas.min(replicas.len()) <= isr.len();
    assert!(eligible.is_empty() || !is_enough, "eligible though the leader need not wait for it: {state:?}");
}

fn leader_can_lead(image: &Image, state: &PartitionImage) {
    let serves = |replica: Replica| {
        let broker = image.brokers.get(&replica.broker);
        broker.is_some_and(|broker| !broker.fenced && broker.directories.contains(&replica.directory))
    };
    for member in &state.isr {
        assert!(state.replica_on(*member).is_some_and(serves), "in sync, but away or on another volume: {state:?}");
    }
    if let Some(leader) = state.leader {
        assert!(state.isr.contains(&leader), "leads and is not in sync: {state:?}");
    }
}

fn epochs_move(was: &PartitionImage, state: &PartitionImage) {
    assert_eq!(state.partition_epoch, PartitionEpoch(was.partition_epoch.0 + 1), "{was:?} {state:?}");
    let somebody_left = was.brokers().any(|id| state.replica_on(id).is_none());
    let expected = was.leader_epoch.0 + i32::from(was.leader != state.leader || somebody_left);
    assert_eq!(state.leader_epoch, LeaderEpoch(expected), "{was:?} {state:?}");
}

/// When a reassignment removes a replica all the others are in sync.
fn nobody_leaves_before_all_have_come(was: &PartitionImage, state: &PartitionImage) {
    let left = was.removing.iter().any(|id| state.replica_on(*id).is_none());
    assert!(!left || state.isr.len() == state.replicas.len(), "{was:?} {state:?}");
}
