//! The first start in an empty directory, and the memory of the process then.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::contender::{Contender, Site};
use super::lab::Lab;
use super::pairs::Reading;
use super::probe::{self, topic};
use super::table::Measure;
use crate::broker::Broker;
use crate::figures::machine::{Noise, Snapshot};
use crate::figures::phase::resident_mebibytes;

const TOPIC: &str = "first";
const IDLE_FOR: Duration = Duration::from_secs(5);

pub(super) fn measures() -> Vec<Measure> {
    vec![
        Measure::less("cold start to first acknowledged produce", "ms", 0).times(50.0),
        Measure::less("memory, idle", "MiB", 1).times(20.0),
    ]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    let site = lab.site(contender)?;
    let before = Snapshot::take(&[])?;
    let mut broker = site.spawn()?;
    first_start(&site, &mut broker, &before).with_context(|| broker.last_words())
}

fn first_start(site: &Site, broker: &mut Broker, before: &Snapshot) -> Result<(Vec<Reading>, Noise)> {
    let mut connection = site.connect(broker)?;
    connection.create_topic(&topic(TOPIC))?;
    probe::acknowledged(&mut connection, TOPIC, 0, 0)?;
    let elapsed = broker.spawned.elapsed();
    let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
    probe::check(&mut connection, TOPIC, &[0], 1)?;
    drop(connection);
    thread::sleep(IDLE_FOR);
    let idle = resident_mebibytes(broker.id())?;
    Ok((vec![(elapsed.as_secs_f64() * 1e3).into(), idle.into()], noise))
}
