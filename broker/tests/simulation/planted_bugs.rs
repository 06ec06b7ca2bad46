//! Each planted bug is found: by a recorded seed, and if runs have changed since, by another one of the first 500.
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

const CAUGHT: [(Planted, u64); 18] = [
    (Planted::Broker(Bug::NoMaximalIsr), 14),
    (Planted::Broker(Bug::FormerLeadershipCounts), 4),
    (Planted::Broker(Bug::CommitBelowMinIsr), 1),
    (Planted::Broker(Bug::JoinBelowHighWatermark), 0),
    (Planted::Broker(Bug::NoBrokerEpochInAlterPartition), 1),
    (Planted::Broker(Bug::UncleanBrokerStaysInElr), 0),
    (Planted::Broker(Bug::ElrNotCleared), 0),
    (Planted::Broker(Bug::OtherVolumeIsTheSame), 4),
    (Planted::Broker(Bug::TruncationToHighWatermark), 6),
    (Planted::Broker(Bug::AcknowledgementBeforeSync), 0),
    (Planted::Broker(Bug::CreationBeforeDeletion), 12),
    (Planted::Storage(storage::bugs::Bug::CleanShutdownMarkKept), 20),
    (Planted::Storage(storage::bugs::Bug::LastBatchOnly), 0),
    (Planted::Storage(storage::bugs::Bug::RecoveryPointBeforeSync), 0),
    (Planted::Storage(storage::bugs::Bug::UncommittedCompacted), 1),
    (Planted::Broker(Bug::CutIntoCompacted), 1),
    (Planted::Broker(Bug::AnswerBeforeCommit), 3),
    (Planted::Broker(Bug::LoadedToHighWatermark), 46),
];

/// What revealed it, if anything did. An assertion counts, too.
fn found(bug: Planted, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, Some(bug)))) {
        Ok(outcome) => outcome.err(),
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "an assertion".to_owned())),
    }
}

/// The first of the seeds that finds it, and finds nothing without it.
fn first(bug: Planted, mut seeds: impl Iterator<Item = u64>) -> Option<(u64, String)> {
    seeds.find_map(|seed| found(bug, seed).map(|how| (seed, how)).filter(|_| run(seed, None) == Ok(())))
}

#[test]
fn each_planted_bug_is_found() {
    for (bug, recorded) in CAUGHT {
        let caught = first(bug, std::iter::once(recorded).chain(0..SEEDS_MAX));
        assert!(caught.is_some(), "{bug:?} is not found by {SEEDS_MAX} runs");
    }
}

#[test]
fn finds_seeds_for_the_table() {
    if number("CLUSTER_FIND_BUGS").is_none() {
        return;
    }
    for (bug, _) in CAUGHT {
        match first(bug, 0..SEEDS_MAX) {
            Some((seed, how)) => println!("    {bug:?}, {seed} // {}", how.lines().next().unwrap_or_default()),
            None => println!("    {bug:?}: not found"),
        }
    }
}
