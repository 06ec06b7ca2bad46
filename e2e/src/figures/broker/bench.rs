//! How each figure comes about.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::librdkafka;
use super::load::{self, RECORD_BYTES, RECORDS_PER_BATCH, Sent};
use super::machine::{Cores, Noise, Snapshot, on_cores, touch_pages};
use super::process::Broker;
use super::samples::Samples;
use crate::progress::Progress;

const TOPIC: &str = "figures";
const BATCHES: u32 = 1_000;
const DATA_BYTES: u32 = BATCHES * RECORDS_PER_BATCH * RECORD_BYTES;
const TOUCHED_BYTES: u64 = (2 << 30) + DATA_BYTES as u64;
const START_UP_SAMPLES: usize = 15;
/// Other work rarely ends within the milliseconds that a start takes.
const PAUSE_AFTER_DISTURBANCE: Duration = Duration::from_secs(1);
const IDLE_SAMPLES: usize = 5;
const IDLE_FOR: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Bench<'a> {
    program: PathBuf,
    directory: PathBuf,
    cores: Cores,
    progress: &'a Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Raw,
    Librdkafka,
}

/// Broker CPU seconds per 10⁹ bytes of values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) produce: f64,
    pub(super) consume: f64,
}

/// What one phase took: CPU of the broker, and time.
#[derive(Debug, Clone, Copy)]
struct Phase {
    cpu: Duration,
    elapsed: Duration,
    noise: Noise,
}

impl Phase {
    fn cpu_per_gigabyte(self) -> f64 {
        self.cpu.as_secs_f64() / gigabytes()
    }

    fn gigabytes_per_second(self) -> f64 {
        gigabytes() / self.elapsed.as_secs_f64()
    }
}

fn gigabytes() -> f64 {
    f64::from(DATA_BYTES) / 1e9
}

impl<'a> Bench<'a> {
    /// Data directories lie beside the program: on a disk, and on the same one for every sample.
    pub(super) fn new(program: &Path, progress: &'a Progress) -> Result<Self> {
        let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
        let directory = program.parent().context("a program in no directory")?.to_owned();
        Ok(Self { program, directory, cores: Cores::choose()?, progress })
    }

    /// Milliseconds until one record is acknowledged.
    pub(super) fn start_up(&self) -> Result<Samples<f64>> {
        Samples::collect(START_UP_SAMPLES, || {
            let before = Snapshot::take(None)?;
            let (elapsed, cpu, noise) = self.broker()?.explained(|broker| {
                let mut connection = broker.connect()?;
                connection.create_topic(&topic())?;
                let sent = load::produce(&mut connection, &topic(), 1, 1)?;
                let (elapsed, cpu) = (broker.spawned().elapsed(), broker.cpu_time()?);
                let noise = before.noise_until(&Snapshot::take(Some(broker.id()))?);
                load::consume(&mut connection, &topic(), &sent)?;
                Ok((elapsed, cpu, noise))
            })?;
            let milliseconds = elapsed.as_secs_f64() * 1e3;
            self.progress.note(format_args!("start-up {milliseconds:.0} ms, CPU {} ms; {noise}", cpu.as_millis()));
            if noise.disturbs() {
                thread::sleep(PAUSE_AFTER_DISTURBANCE);
            }
            Ok((milliseconds, noise))
        })
    }

    /// Resident MiB of a broker that has served one record. Other work does not change it.
    pub(super) fn idle(&self) -> Result<Samples<f64>> {
        Samples::collect(IDLE_SAMPLES, || {
            let resident = self.broker()?.explained(|broker| {
                let mut connection = broker.connect()?;
                connection.create_topic(&topic())?;
                let sent = load::produce(&mut connection, &topic(), 1, 1)?;
                load::consume(&mut connection, &topic(), &sent)?;
                drop(connection);
                thread::sleep(IDLE_FOR);
                broker.resident_bytes()
            })?;
            let mebibytes = f64::from(u32::try_from(resident >> 10)?) / 1024.0;
            self.progress.note(format_args!("idle {mebibytes:.1} MiB"));
            Ok((mebibytes, Noise::default()))
        })
    }

    /// Each sample produces to a fresh broker and then reads it all from the page cache.
    pub(super) fn cpu_per_gigabyte(&self, client: Client, samples: usize) -> Result<Samples<Cost>> {
        Samples::collect(samples, || {
            touch_pages(&self.directory, TOUCHED_BYTES)?;
            let [produce, consume] = on_cores(&self.cores.client, || self.produce_and_consume(client))?;
            let cost = Cost { produce: produce.cpu_per_gigabyte(), consume: consume.cpu_per_gigabyte() };
            let noise = produce.noise.max(consume.noise);
            self.progress.note(format_args!(
                "produce {:.2} CPU s/GB at {:.2} GB/s, consume {:.2} CPU s/GB at {:.2} GB/s; {noise}",
                cost.produce,
                produce.gigabytes_per_second(),
                cost.consume,
                consume.gigabytes_per_second(),
            ));
            Ok((cost, noise))
        })
    }

    fn broker(&self) -> Result<Broker> {
        Broker::spawn(&self.program, &self.directory)
    }

    fn produce_and_consume(&self, client: Client) -> Result<[Phase; 2]> {
        let mut broker = on_cores(&self.cores.broker, || self.broker())?;
        broker.explained(|broker| {
            let mut connection = broker.connect()?;
            connection.create_topic(&topic())?;
            match client {
                Client::Raw => {
                    let produce = || load::produce(&mut connection, &topic(), BATCHES, RECORDS_PER_BATCH);
                    let (sent, produced): (Sent, _) = phase(broker, produce)?;
                    let ((), consumed) = phase(broker, || load::consume(&mut connection, &topic(), &sent))?;
                    Ok([produced, consumed])
                }
                Client::Librdkafka => {
                    let (bootstrap, records) = (broker.bootstrap(), BATCHES * RECORDS_PER_BATCH);
                    let ((), produced) = phase(broker, || librdkafka::produce(&bootstrap, TOPIC, records))?;
                    let ((), consumed) = phase(broker, || librdkafka::consume(&bootstrap, TOPIC, records))?;
                    Ok([produced, consumed])
                }
            }
        })
    }
}

fn phase<T>(broker: &Broker, work: impl FnOnce() -> Result<T>) -> Result<(T, Phase)> {
    let quiet = broker.settled_cpu_time()?;
    let before = Snapshot::take(Some(broker.id()))?;
    let began = Instant::now();
    let done = work()?;
    let elapsed = began.elapsed();
    let after = Snapshot::take(Some(broker.id()))?;
    let cpu = broker.settled_cpu_time()?.saturating_sub(quiet);
    Ok((done, Phase { cpu, elapsed, noise: before.noise_until(&after) }))
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}
