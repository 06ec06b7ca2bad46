//! Members of a group over a log that commits late, refuses now and then, and loses uncommitted records when another
//! broker takes over. The invariants are in [`super::simulated::members`].

mod world;

use super::simulated::Violation;
use crate::bugs::{self, Bug};
use world::World;

const STEPS: usize = 400;
const SEEDS: u64 = 150;

/// Each planted bug is found by one of this many seeds.
const SEEDS_MAX: u64 = 500;
const BUGS: [Bug; 8] = [
    Bug::AnswerBeforeCommit,
    Bug::LoadedTakenForCommitted,
    Bug::SyncOfEarlierGeneration,
    Bug::GenerationNotCounted,
    Bug::ReplacedMemberNotFenced,
    Bug::SilenceUnnoticed,
    Bug::NoAlarm,
    Bug::DepartureUnnoticed,
];

fn run(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    bugs::plant(bug);
    let mut world = World::new(seed);
    (0..STEPS).try_for_each(|_| world.step())?;
    world.calm_down();
    (0..STEPS).try_for_each(|_| world.step())?;
    world.check_calm()
}

#[test]
fn no_offset_goes_back_no_partition_has_two_owners_and_no_group_is_stuck() {
    for seed in 0..SEEDS {
        assert_eq!(run(seed, None), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_planted_bug_is_found() {
    let find = |bug| {
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, run(seed, Some(bug)).err()?)));
        println!("{bug:?}: {found:?}");
        (bug, found.is_some())
    };
    assert_eq!(BUGS.map(find), BUGS.map(|bug| (bug, true)));
}
