//! The whole cluster under a seeded scheduler. At the bottom the quorum with its own simulation: nodes, links, disks
//! of the metadata, and all their faults. On each node a broker: the controller's decisions, the partitions with
//! their real logs, on a disk that loses or tears what was not synced, their cleaner, and the group coordinator.
//! Clients write with acks=all and read, members of a group commit; what they see is checked at the end, when all
//! faults have ended.
//!
//! ```text
//! cluster        the queue, and what becomes of machines
//! controllers, sessions, replication, serving
//!                the thin shell around what a broker decides: here without sockets, threads and clocks
//! clients, groups, history, truth, facts, invariants
//!                what is written, seen, and has to hold
//! options, disturbances, liveness, planted_bugs
//!                what goes wrong, that it works again, and what would be found
//! ```
//!
//! `CLUSTER_SEEDS` sets the number of runs, `PROPTEST_RNG_SEED` which ones. A failure names its seed; `replays_a_run`
//! prints the events of the run given by `CLUSTER_SEED`, of the first one if it is not set.

mod clients;
mod cluster;
mod contents;
mod controllers;
mod disturbances;
mod facts;
mod groups;
mod history;
mod invariants;
mod liveness;
mod machine;
mod messages;
mod options;
mod planted_bugs;
mod replication;
mod serving;
mod sessions;
mod topics;
mod truth;

use cluster::Cluster;
use options::Options;
use planted_bugs::Planted;
use raft_simulation::world::World;

use crate::bugs;

const SEEDS: u64 = 3000;
const SEED: u64 = 20;
/// Each takes its share of the seeds.
const SHARES: u64 = 2;

fn run(seed: u64, bug: Option<Planted>) -> Result<(), String> {
    bugs::plant(if let Some(Planted::Broker(bug)) = bug { Some(bug) } else { None });
    storage::bugs::plant(if let Some(Planted::Storage(bug)) = bug { Some(bug) } else { None });
    let options = Options::new(seed);
    Cluster::new(options, World::new(options.schedule)).run()
}

/// A run of which everything is traced.
fn traced(seed: u64, prints: bool) -> Cluster {
    let options = Options::new(seed);
    Cluster::new(options, World::new(options.schedule).traced(prints))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn run_share(share: u64) {
    let first = number("PROPTEST_RNG_SEED").unwrap_or(SEED) << 32;
    let seeds = number("CLUSTER_SEEDS").unwrap_or(SEEDS);
    for seed in (first..first + seeds).filter(|seed| seed % SHARES == share) {
        let ran = std::panic::catch_unwind(|| run(seed, None));
        if let Err(violation) = ran.unwrap_or_else(|_| Err("an assertion".to_owned())) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_even_runs() {
    run_share(0);
}

#[test]
fn nothing_acknowledged_is_lost_in_odd_runs() {
    run_share(1);
}

#[test]
fn a_seed_gives_one_trace() {
    let fingerprint = |seed| {
        let mut cluster = traced(seed, false);
        cluster.run().unwrap();
        cluster.world.fingerprint()
    };
    let first: Vec<_> = (0..12).map(fingerprint).collect();
    let second: Vec<_> = (0..12).map(fingerprint).collect();
    assert_eq!(first, second);
    assert_ne!(first[0], first[1], "seeds make a difference");
}

/// For looking into a failure.
#[test]
fn replays_a_run() {
    let seed = number("CLUSTER_SEED").unwrap_or(SEED << 32);
    traced(seed, true).run().unwrap();
}
