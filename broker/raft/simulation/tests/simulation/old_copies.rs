//! A volume comes back as an older copy of itself: its directory id is a voter's, but it lacks what it has
//! acknowledged. The leader knows what that was.

use raft::{Bug, Failure, Raft};
use raft_simulation::schedule::{Schedule, Theme};
use raft_simulation::volume::position;
use raft_simulation::world::World;

const SEEDS: u64 = 100;
const PATIENCE: u64 = 60_000_000;
const LOOK_EVERY: u64 = 50_000;
/// Records are committed meanwhile.
const COPY_AGE: u64 = 1_000_000;

fn wait_until(world: &mut World, is_so: impl Fn(&World) -> bool) -> bool {
    let deadline = world.now + PATIENCE;
    while !is_so(world) && world.now < deadline {
        world.run_until(world.now + LOOK_EVERY);
    }
    is_so(world)
}

/// Whether the copy is recognised.
fn is_refused(seed: u64, bug: Option<Bug>) -> bool {
    let schedule = Schedule { faults_until: 0, ..Schedule::new(seed, Theme::Crashes) };
    let mut world = World::new(schedule);
    world.bug = bug;
    assert!(wait_until(&mut world, |world| world.controller().is_some()));
    let leader = world.controller().unwrap();
    let voter = (leader + 1) % schedule.voters;
    let acknowledged = |world: &World| {
        let key = world.nodes[voter].key();
        let replicas = world.nodes[leader].raft.as_ref().map(Raft::replicas).unwrap_or_default();
        replicas.into_iter().find(|replica| replica.key == key).and_then(|replica| replica.log_end_offset)
    };
    assert!(wait_until(&mut world, |world| acknowledged(world).is_some()));
    let copy = world.nodes[voter].volume.copy();
    let copied = Some(position(copy.log.end()));
    world.run_until(world.now + COPY_AGE);
    assert!(wait_until(&mut world, |world| copied < acknowledged(world)));
    world.kill(voter);
    // What it has acknowledged is on the disks of others: otherwise nothing would help.
    let has_moved_on =
        |world: &World| acknowledged(world) < world.nodes[leader].raft.as_ref().map(Raft::high_watermark);
    assert!(wait_until(&mut world, has_moved_on));

    world.put_back(voter, copy);
    let is_back = |world: &World| {
        let node = &world.nodes[voter];
        node.failure.is_some() || copied < Some(position(node.volume.log.end()))
    };
    let came = wait_until(&mut world, is_back);
    assert_eq!((world.violation.take(), came), (None, true), "{}", world.state(voter));
    assert_eq!(world.controller(), Some(leader), "the others are not concerned");
    matches!(world.nodes[voter].failure, Some(Failure::VolumeWentBack { .. }))
}

#[test]
fn a_volume_that_went_back_is_refused() {
    for seed in 0..SEEDS {
        assert!(is_refused(seed, None), "seed {seed}");
        assert!(!is_refused(seed, Some(Bug::VolumeMayGoBack)), "seed {seed}: nobody else would notice");
    }
}
