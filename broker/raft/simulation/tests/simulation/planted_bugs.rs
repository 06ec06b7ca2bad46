//! Each planted bug is found: by a recorded seed, and if schedules change, by another one among the first few
//! hundred. `RAFT_FIND_BUGS=1` prints the table anew.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::Bug;
use raft_simulation::schedule::{THEMES, Theme};

use crate::{number, run};

const SEEDS_MAX: u64 = 500;

const CAUGHT: [(Bug, Theme, u64); 16] = [
    (Bug::VoteNotPersisted, Theme::Elections, 0),
    (Bug::VoteWithoutLogComparison, Theme::Elections, 0),
    (Bug::VoteTwiceInAnEpoch, Theme::PowerCuts, 0),
    (Bug::VoteOfForeignDirectory, Theme::Volumes, 0),
    (Bug::AcknowledgementOfForeignDirectory, Theme::All, 9),
    (Bug::AcknowledgementBeforePersisted, Theme::Elections, 0),
    (Bug::PersistedOfEarlierGeneration, Theme::Partitions, 21),
    (Bug::CommitOfPriorEpochByCounting, Theme::Elections, 278),
    (Bug::HighWatermarkGoesBack, Theme::All, 7),
    (Bug::TruncationKeepsVoters, Theme::Volumes, 8),
    (Bug::TruncationToHighWatermark, Theme::Elections, 10),
    (Bug::VoterChangeBeforeCommit, Theme::VoterChanges, 0),
    (Bug::TwoVoterChanges, Theme::VoterChanges, 0),
    (Bug::NewVoterNotCaughtUp, Theme::VoterChanges, 48),
    (Bug::NoCheckQuorum, Theme::Crashes, 0),
    (Bug::PreVoteIgnoresLiveLeader, Theme::Elections, 0),
];

/// What revealed it, if anything did. An assertion of the engine counts, too.
fn found(bug: Bug, theme: Theme, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, theme, Some(bug)))) {
        Ok(outcome) => outcome.err(),
        Err(_) => Some("an assertion".to_owned()),
    }
}

/// The first schedule that finds it, and finds nothing without it.
fn first(bug: Bug, mut schedules: impl Iterator<Item = (Theme, u64)>) -> Option<(Theme, u64, String)> {
    let is_sound = |theme, seed| run(seed, theme, None) == Ok(());
    schedules.find_map(|(theme, seed)| {
        let how = found(bug, theme, seed).filter(|_| is_sound(theme, seed))?;
        Some((theme, seed, how))
    })
}

fn schedules() -> impl Iterator<Item = (Theme, u64)> {
    (0..SEEDS_MAX).flat_map(|seed| THEMES.map(|theme| (theme, seed)))
}

#[test]
fn each_planted_bug_is_found() {
    for (bug, theme, seed) in CAUGHT {
        let caught = first(bug, std::iter::once((theme, seed)).chain(schedules()));
        assert!(caught.is_some(), "{bug:?} is not found by {SEEDS_MAX} seeds of each theme");
    }
}

#[test]
fn finds_seeds_for_the_table() {
    if number("RAFT_FIND_BUGS").is_none() {
        return;
    }
    for (bug, ..) in CAUGHT {
        match first(bug, schedules()) {
            Some((theme, seed, how)) => {
                println!("    (Bug::{bug:?}, Theme::{theme:?}, {seed}), // {}", how.lines().next().unwrap_or_default());
            }
            None => println!("    {bug:?}: not found"),
        }
    }
}
