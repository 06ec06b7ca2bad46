//! Retention deletes old segments, and frees their space.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::harness::LOOK_EVERY;
use e2e::{clients, command};

use crate::trio::{MANIFEST, Trio};
use crate::world::World;

const TOPIC: &str = "events";
const MESSAGE_BYTES: usize = 32 << 10;
const MESSAGES: usize = 2048;
const WRITTEN: u64 = (MESSAGE_BYTES * MESSAGES) as u64;
/// On the volume of the broker, whose available space is observed.
const DATA: &str = "/var/lib/millrace";
const FREED_AT_MOST: Duration = Duration::from_mins(1);

pub(crate) fn gives_the_space_back(world: &World) -> Result<()> {
    let trio = Trio { world, namespace: "e2e-retention" };
    world.in_namespace(trio.namespace, |_| {
        let eager = "num.partitions: 3
    log.segment.bytes: 1048576
    log.segment.delete.delay.ms: 100
    log.retention.check.interval.ms: 500";
        let manifest = MANIFEST.replace("num.partitions: 3", eager);
        trio.start(&manifest)?;
        let bootstrap = trio.bootstrap()?;
        clients::produce(&bootstrap, TOPIC, &["the first".to_owned()])?;
        let empty = available(trio)?;
        let pods = [trio.pod(0)?, trio.pod(1)?, trio.pod(2)?];

        let messages: Vec<_> = (0..MESSAGES).map(|number| format!("{number:0MESSAGE_BYTES$}")).collect();
        clients::produce(&bootstrap, TOPIC, &messages)?;
        trio.settle(&[TOPIC])?;
        for (empty, full) in empty.iter().zip(available(trio)?) {
            let taken = empty.saturating_sub(full);
            ensure!(WRITTEN * 9 / 10 < taken, "{WRITTEN} bytes were written, {taken} are taken on a volume");
        }

        trio.start(&manifest.replace(eager, &format!("{eager}\n    log.retention.bytes: 4194304")))?;
        command::wait_for_every(LOOK_EVERY, "the space of deleted segments", FREED_AT_MOST, || {
            let now = available(trio)?;
            let is_freed = |(empty, now): (&u64, &u64)| empty.saturating_sub(*now) < WRITTEN / 4;
            Ok(empty.iter().zip(&now).all(is_freed).then_some(()))
        })?;
        let left = clients::consume_all(&bootstrap, TOPIC)?;
        let newest =
            messages.get(messages.len().saturating_sub(left.len())..).context("more is left than was written")?;
        ensure!(left.len() < MESSAGES / 4 && left == newest, "{} messages are left, not the newest ones", left.len());
        let now = [trio.pod(0)?, trio.pod(1)?, trio.pod(2)?];
        ensure!(now == pods, "a broker was restarted for an option that it follows while it runs");
        Ok(())
    })
}

/// Available bytes on the volume of each broker.
fn available(trio: Trio<'_>) -> Result<Vec<u64>> {
    (0..3).map(|id| trio.nodes()?.container(&trio.pod(id)?.container)?.available_bytes(DATA)).collect()
}
