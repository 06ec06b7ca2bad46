//! Each rule left out is found: by a recorded seed, and if runs change, by another one among the first few hundred.
//! `CLUSTER_FIND_BUGS=1` prints the table anew.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{number, run};
use crate::bugs::Bug;

const SEEDS_MAX: u64 = 500;

#[derive(Debug, Clone, Copy)]
pub(super) enum Planted {
    Broker(Bug),
    Storage(storage::bugs::Bug),
}

const CAUGHT: [(Planted, u64); 15] = [
    (Planted::Broker(Bug::NoMaximalIsr), 0),
    (Planted::Broker(Bug::FormerLeadershipCounts), 0),
    (Planted::Broker(Bug::CommitBelowMinIsr), 0),
    (Planted::Broker(Bug::JoinBelowHighWatermark), 0),
    (Planted::Broker(Bug::NoBrokerEpochInAlterPartition), 0),
    (Planted::Broker(Bug::StaleBrokerEpochCounts), 0),
    (Planted::Broker(Bug::UncleanBrokerStaysInElr), 0),
    (Planted::Broker(Bug::ElrNotCleared), 0),
    (Planted::Broker(Bug::OtherVolumeIsTheSame), 0),
    (Planted::Broker(Bug::TruncationToHighWatermark), 0),
    (Planted::Broker(Bug::AcknowledgementBeforeSync), 0),
    (Planted::Storage(storage::bugs::Bug::CleanShutdownMarkKept), 0),
    (Planted::Storage(storage::bugs::Bug::EpochsKeptOnRestart), 0),
    (Planted::Storage(storage::bugs::Bug::LastBatchOnly), 0),
    (Planted::Storage(storage::bugs::Bug::RecoveryPointBeforeSync), 0),
];

/// What gave it away, if anything did. An assertion does too.
fn found(bug: Planted, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, Some(bug)))) {
        Ok(outcome) => outcome.err(),
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "an assertion".to_owned())),
    }
}

#[test]
fn each_planted_bug_is_found() {
    for (bug, seed) in CAUGHT {
        assert_eq!(run(seed, None), Ok(()), "without {bug:?}");
        assert!(found(bug, seed).is_some(), "{bug:?} is not found by seed {seed}");
    }
}

#[test]
fn finds_seeds_for_the_table() {
    if number("CLUSTER_FIND_BUGS").is_none() {
        return;
    }
    for (bug, _) in CAUGHT {
        let mut hits = (0..SEEDS_MAX).filter_map(|seed| found(bug, seed).map(|how| (seed, how)));
        match hits.next() {
            Some((seed, how)) => println!("    {bug:?}, {seed} // {}", how.lines().next().unwrap_or_default()),
            None => println!("    {bug:?}: not found"),
        }
    }
}
