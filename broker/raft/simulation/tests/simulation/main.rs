//! The quorum passes thousands of schedules, and each planted bug is found.
//!
//! `RAFT_SCHEDULES` sets how many schedules run in all, `PROPTEST_RNG_SEED` which ones. A failure names its seed and
//! theme; `replays_a_schedule` prints the events of the schedule given by `RAFT_SEED` and `RAFT_THEME`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

mod old_copies;
mod planted_bugs;

use raft::Bug;
use raft_simulation::schedule::{Schedule, THEMES, Theme};
use raft_simulation::world::World;

const SCHEDULES: u64 = 10_000;
const SEED: u64 = 20;

fn run(seed: u64, theme: Theme, bug: Option<Bug>) -> Result<(), String> {
    let mut world = World::new(Schedule::new(seed, theme));
    world.bug = bug;
    world.run()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn run_share(theme: Theme) {
    let share = number("RAFT_SCHEDULES").unwrap_or(SCHEDULES).div_ceil(THEMES.len() as u64);
    let first = number("PROPTEST_RNG_SEED").unwrap_or(SEED) << 32;
    for seed in first..first + share {
        if let Err(violation) = run(seed, theme, None) {
            panic!("{violation}");
        }
    }
}

#[test]
fn survives_short_leaderships() {
    run_share(Theme::Elections);
}

#[test]
fn survives_crashes() {
    run_share(Theme::Crashes);
}

#[test]
fn survives_power_cuts() {
    run_share(Theme::PowerCuts);
}

#[test]
fn survives_partitions() {
    run_share(Theme::Partitions);
}

#[test]
fn survives_voter_changes() {
    run_share(Theme::VoterChanges);
}

#[test]
fn survives_snapshots() {
    run_share(Theme::Snapshots);
}

#[test]
fn survives_empty_and_old_volumes() {
    run_share(Theme::Volumes);
}

#[test]
fn survives_everything_at_once() {
    run_share(Theme::All);
}

#[test]
fn a_seed_gives_one_trace() {
    let fingerprint = |seed| {
        let mut world = World::new(Schedule::new(seed, Theme::All)).traced(false);
        world.run().unwrap();
        world.fingerprint()
    };
    let first: Vec<_> = (0..10).map(fingerprint).collect();
    let second: Vec<_> = (0..10).map(fingerprint).collect();
    assert_eq!(first, second);
    assert_ne!(first[0], first[1], "seeds make a difference");
}

/// Does nothing unless asked to: for looking into a failure.
#[test]
fn replays_a_schedule() {
    let Some(seed) = number("RAFT_SEED") else { return };
    let name = std::env::var("RAFT_THEME").unwrap_or_default();
    let theme = THEMES.into_iter().find(|theme| format!("{theme:?}") == name).unwrap_or(Theme::All);
    let mut world = World::new(Schedule::new(seed, theme)).traced(true);
    world.run().unwrap();
}
