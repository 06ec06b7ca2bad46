//! A broker with 6 GB in 20 partitions: its memory, and how soon it is back after SIGKILL and after SIGTERM.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::contender::{Contender, Site};
use super::lab::{Lab, gigabytes};
use super::pairs::Reading;
use super::probe;
use super::table::Measure;
use crate::broker::Broker;
use crate::figures::librdkafka::{self, Batches, Stream};
use crate::figures::machine::{Noise, Snapshot};
use crate::figures::phase::resident_mebibytes;

const TOPIC: &str = "loaded";
const PARTITIONS: u16 = 20;
const STOP_PATIENCE: Duration = Duration::from_mins(3);

pub(super) fn measures(lab: &Lab<'_>) -> Vec<Measure> {
    let data = format!("{:.1} GB in {PARTITIONS} partitions", gigabytes(lab.sizes.loaded_records));
    let restart = |after, to| Measure::less(format!("restart after {after} with {data}, to {to}"), "ms", 0);
    let (first, all) = ("first acknowledged produce", "one in every partition");
    vec![
        Measure::less(format!("memory, after {data}"), "MiB", 1).times(15.0),
        restart("SIGKILL", first).times(20.0).at_most(500.0),
        restart("SIGKILL", all),
        restart("SIGTERM", first).at_most(500.0),
        restart("SIGTERM", all),
    ]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.touch_pages(lab.sizes.loaded_records)?;
    let site = lab.site(contender)?;
    let bootstrap = site.bootstrap();
    let records = lab.sizes.loaded_records;
    let stream = Stream { bootstrap: &bootstrap, topic: TOPIC, partitions: PARTITIONS.into(), records };

    let mut broker = site.spawn()?;
    let memory = load(&site, &mut broker, &stream).with_context(|| broker.last_words())?;
    broker.kill()?;
    let mut broker = site.spawn()?;
    let killed = back(&site, &mut broker, &stream, 0).with_context(|| broker.last_words())?;
    broker.terminate(STOP_PATIENCE)?;
    let mut broker = site.spawn()?;
    let terminated = back(&site, &mut broker, &stream, 1).with_context(|| broker.last_words())?;
    librdkafka::consume(&stream, 2).with_context(|| broker.last_words())?;

    let times = [killed.first, killed.all, terminated.first, terminated.all].map(|time| time.as_secs_f64() * 1e3);
    let readings = [memory].into_iter().chain(times).map(Reading::from).collect();
    Ok((readings, killed.noise.max(terminated.noise)))
}

/// Resident memory after everything was produced.
fn load(site: &Site, broker: &mut Broker, stream: &Stream<'_>) -> Result<f64> {
    probe::create(&mut site.connect(broker)?, TOPIC, PARTITIONS.into())?;
    librdkafka::produce(stream, "all", Batches::Large)?;
    resident_mebibytes(broker.id())
}

struct Back {
    first: Duration,
    all: Duration,
    noise: Noise,
}

/// From the start of the process until records are acknowledged after all existing ones; each earlier start has added
/// one to every partition.
fn back(site: &Site, broker: &mut Broker, stream: &Stream<'_>, starts_before: i64) -> Result<Back> {
    let before = Snapshot::take(&[broker.id()])?;
    let mut connection = site.connect(broker)?;
    let mut first = None;
    for partition in 0..PARTITIONS {
        let end = stream.share(partition.into()) + starts_before;
        probe::acknowledged(&mut connection, TOPIC, partition.into(), end)?;
        first.get_or_insert_with(|| broker.spawned.elapsed());
    }
    let all = broker.spawned.elapsed();
    let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
    Ok(Back { first: first.unwrap_or(all), all, noise })
}
