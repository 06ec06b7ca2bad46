//! The checked load around whatever somebody else does to brokers that run already: idempotent and plain producers with
//! acks=all, readers that read all the time, and at the end every acknowledged record is there, once and in order where
//! that was promised.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::history::Delivery;
use super::load;
use super::random::Random;
use super::world::{EndAll, Load, Topic, Workload, World};

const WORKLOAD: Workload = Workload {
    topics: &[
        Topic { name: "idempotent", delivery: Delivery::ExactlyOnce },
        Topic { name: "plain", delivery: Delivery::AtLeastOnce },
    ],
    loads: &[Load::idempotent(0, "none"), Load::idempotent(0, "lz4"), Load::plain(1, "gzip", "all")],
    pause_max: Duration::from_millis(40),
};

/// Topics come into being with the brokers' defaults, which must be three partitions. No record may be refused while
/// `disturb` does what it does, and none may be missing afterwards. Returns how many were acknowledged.
pub fn under_checked_load(bootstrap: &str, seed: u64, disturb: impl FnOnce() -> Result<()>) -> Result<usize> {
    let (world, random) = (Arc::new(World::new(WORKLOAD)), &mut Random(seed));
    load::create_topics(bootstrap, &world)?;
    thread::scope(|scope| {
        let _end_all = EndAll(&world);
        let producers = load::start_producers(scope, bootstrap, &world, random);
        load::start_readers(scope, bootstrap, &world, random);
        let disturbed = disturb();
        // What the producers saw tells more than what somebody waited for in vain.
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
