//! Checked load around any disturbance of running brokers: idempotent and plain producers with acks=all, readers that
//! read all the time, and at the end every acknowledged record must exist, once and in order if that was promised.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::random::Random;
use super::world::{EndAll, Load, Workload, World};
use super::{load, world};

pub const TOPICS: [&str; 2] = [world::TOPICS[0].name, world::TOPICS[1].name];

const WORKLOAD: Workload = Workload {
    topics: &world::TOPICS,
    loads: &[Load::idempotent(0, "none"), Load::idempotent(0, "lz4"), Load::plain(1, "gzip", "all")],
    // Little load, as the brokers share the machine with a whole Kubernetes: what counts is that nothing is lost.
    pause_max: Duration::from_millis(200),
    rest: Duration::from_millis(500),
};

/// An observer of the running load.
#[derive(Debug)]
pub struct Watch<'a>(&'a World);

impl Watch<'_> {
    /// The longest time that a record waited for its acknowledgement, since the last call.
    pub fn longest_wait(&self) -> Duration {
        self.0.longest_wait()
    }

    /// Fails if an invariant is broken.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }
}

/// Topics are created with the brokers' defaults, which must be three partitions. While `disturb` runs no record may
/// be refused, and afterwards none may be missing. Returns how many were acknowledged.
pub fn under_checked_load(bootstrap: &str, seed: u64, disturb: impl FnOnce(&Watch<'_>) -> Result<()>) -> Result<usize> {
    let world = Arc::new(World::new(WORKLOAD));
    let mut random = Random(seed);
    load::create_topics(bootstrap, &world)?;
    thread::scope(|scope| {
        let _end_all = EndAll(&world);
        let producers = load::start_producers(scope, bootstrap, &world, &mut random);
        load::start_readers(scope, bootstrap, &world, &mut random);
        let disturbed = disturb(&Watch(&world));
        // The producers' errors tell more than a timeout.
        world.check()?;
        disturbed?;
        world.send_no_more();
        for producer in producers {
            ensure!(producer.join().is_ok(), "a producer's thread has panicked");
        }
        world.check()?;
        load::read_to_the_end(bootstrap, &world)
    })?;
    world.check()?;
    world.conclude()?;
    world.acknowledged()
}
