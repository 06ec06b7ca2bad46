//! How each figure comes about.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::compaction::{self, Compaction};
use super::process::Broker;
use crate::figures::latency::Latency;
use crate::figures::librdkafka::{self, Batches, Stream};
use crate::figures::load::{self, LARGE, ONE_RECORD, Sent};
use crate::figures::machine::{Cores, Noise, Snapshot, cpu_time, on_cores, raise_descriptor_limit, touch_pages};
use crate::figures::phase::{Phase, phase, resident_mebibytes};
use crate::figures::requests::Clients;
use crate::figures::samples::Samples;
use crate::progress::Progress;

const TOPIC: &str = "figures";
const BATCHES: u32 = 1_000;
const DATA_BYTES: u32 = BATCHES * LARGE.records_per_batch * LARGE.record_bytes;
const TOUCHED_BYTES: u64 = (2 << 30) + DATA_BYTES as u64;
const START_UP_SAMPLES: usize = 15;
/// Other work rarely ends within the milliseconds that a start takes.
const PAUSE_AFTER_DISTURBANCE: Duration = Duration::from_secs(1);
const IDLE_SAMPLES: usize = 5;
const REQUESTS: u32 = 200_000;
const REQUESTS_BEFORE: u32 = 8_000;
const LATENCY_BATCHES: u32 = 18_000;
const CONNECTIONS: u32 = 10_000;
const CONNECTION_SAMPLES: usize = 3;
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

fn gigabytes() -> f64 {
    f64::from(DATA_BYTES) / 1e9
}

impl<'a> Bench<'a> {
    /// Data directories lie beside the program: on a disk, and on the same one for every sample.
    pub(super) fn new(program: &Path, progress: &'a Progress) -> Result<Self> {
        let (program, directory) =
            (program.to_owned(), program.parent().context("a program in no directory")?.to_owned());
        Ok(Self { program, directory, cores: Cores::choose()?, progress })
    }

    /// Milliseconds until one record is acknowledged.
    pub(super) fn start_up(&self) -> Result<Samples<f64>> {
        Samples::collect(START_UP_SAMPLES, || {
            let before = Snapshot::take(&[])?;
            let (elapsed, cpu, noise) = self.broker()?.explained(|broker| {
                let mut connection = broker.connect()?;
                connection.create_topic(&topic())?;
                let sent = load::produce(&mut connection, &topic(), ONE_RECORD, 1)?;
                let (elapsed, cpu) = (broker.spawned().elapsed(), cpu_time(&[broker.id()])?);
                let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
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
            let mebibytes = self.broker()?.explained(|broker| {
                let mut connection = broker.connect()?;
                connection.create_topic(&topic())?;
                let sent = load::produce(&mut connection, &topic(), ONE_RECORD, 1)?;
                load::consume(&mut connection, &topic(), &sent)?;
                drop(connection);
                thread::sleep(IDLE_FOR);
                resident_mebibytes(broker.id())
            })?;
            self.progress.note(format_args!("idle {mebibytes:.1} MiB"));
            Ok((mebibytes, Noise::default()))
        })
    }

    /// Each sample produces to a fresh broker and then reads it all from the page cache.
    pub(super) fn cpu_per_gigabyte(&self, client: Client, samples: usize) -> Result<Samples<Cost>> {
        Samples::collect(samples, || {
            touch_pages(&self.directory, TOUCHED_BYTES)?;
            let [produce, consume] = on_cores(&self.cores.client, || self.produce_and_consume(client))?;
            let cost =
                Cost { produce: produce.cpu_per_gigabyte(gigabytes()), consume: consume.cpu_per_gigabyte(gigabytes()) };
            let noise = produce.noise.max(consume.noise);
            self.progress.note(format_args!(
                "produce {:.2} CPU s/GB at {:.2} GB/s, consume {:.2} CPU s/GB at {:.2} GB/s; {noise}",
                cost.produce,
                produce.gigabytes_per_second(gigabytes()),
                cost.consume,
                consume.gigabytes_per_second(gigabytes()),
            ));
            Ok((cost, noise))
        })
    }

    /// Microseconds of broker CPU for a produce request with one small record.
    pub(super) fn cpu_per_request(&self, samples: usize) -> Result<Samples<f64>> {
        Samples::collect(samples, || {
            let mut broker = on_cores(&self.cores.broker, || self.broker())?;
            broker.explained(|broker| {
                on_cores(&self.cores.client, || {
                    let mut clients = Clients::open(|| broker.connect())?;
                    clients.produce(REQUESTS_BEFORE)?;
                    let (requests, phase) = phase(&[broker.id()], || clients.produce(REQUESTS))?;
                    clients.check()?;
                    let requests = f64::from(requests);
                    let micros = phase.cpu.as_secs_f64() * 1e6 / requests;
                    let rate = requests / phase.elapsed.as_secs_f64() / 1e3;
                    self.progress.note(format_args!("{micros:.1} µs at {rate:.0} thousand a second; {}", phase.noise));
                    Ok((micros, phase.noise))
                })
            })
        })
    }

    /// Milliseconds from sending a batch until a consumer has it.
    pub(super) fn latency(&self, samples: usize) -> Result<Samples<Latency>> {
        Samples::collect(samples, || {
            let mut broker = on_cores(&self.cores.broker, || self.broker())?;
            broker.explained(|broker| {
                on_cores(&self.cores.client, || {
                    broker.connect()?.create_topic(&topic())?;
                    let before = Snapshot::take(&[broker.id()])?;
                    let latency = Latency::measure(|| broker.connect(), &topic(), LATENCY_BATCHES)?;
                    let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
                    self.progress.note(format_args!("{latency}; {noise}"));
                    Ok((latency, noise))
                })
            })
        })
    }

    /// Resident KiB that each connection adds. Other work does not change it.
    pub(super) fn connections(&self) -> Result<Samples<f64>> {
        raise_descriptor_limit()?;
        Samples::collect(CONNECTION_SAMPLES, || {
            let grown = self.broker()?.explained(|broker| {
                let mut first = broker.connect()?;
                first.create_topic(&topic())?;
                let before = resident_mebibytes(broker.id())?;
                let mut open = Vec::new();
                for batch in 0..CONNECTIONS {
                    let mut connection = broker.connect()?;
                    connection.create_topic(&topic())?;
                    load::produce_one(&mut connection, &topic(), batch)?;
                    load::fetch(&mut connection, &topic(), i64::from(batch))?;
                    open.push(connection);
                }
                thread::sleep(IDLE_FOR);
                Ok(resident_mebibytes(broker.id())? - before)
            })?;
            let kibibytes = grown * 1024.0 / f64::from(CONNECTIONS);
            self.progress.note(format_args!("{kibibytes:.1} KiB for each connection"));
            Ok((kibibytes, Noise::default()))
        })
    }

    /// Each sample compacts a log of its own.
    pub(super) fn compaction(&self, samples: usize) -> Result<Samples<Compaction>> {
        Samples::collect(samples, || {
            let broker = || Broker::spawn(&self.program, &self.directory, &compaction::SETTINGS);
            let compact = |broker: &mut Broker| on_cores(&self.cores.client, || compaction::measure(broker, &topic()));
            let (compaction, noise) = on_cores(&self.cores.broker, broker)?.explained(compact)?;
            self.progress.note(format_args!("{compaction}; {noise}"));
            Ok((compaction, noise))
        })
    }

    fn broker(&self) -> Result<Broker> {
        Broker::spawn(&self.program, &self.directory, &[])
    }

    fn produce_and_consume(&self, client: Client) -> Result<[Phase; 2]> {
        let mut broker = on_cores(&self.cores.broker, || self.broker())?;
        broker.explained(|broker| {
            let mut connection = broker.connect()?;
            connection.create_topic(&topic())?;
            match client {
                Client::Raw => {
                    let produce = || load::produce(&mut connection, &topic(), LARGE, BATCHES);
                    let (sent, produced): (Sent, _) = phase(&[broker.id()], produce)?;
                    let ((), consumed) = phase(&[broker.id()], || load::consume(&mut connection, &topic(), &sent))?;
                    Ok([produced, consumed])
                }
                Client::Librdkafka => {
                    let (bootstrap, records) = (broker.bootstrap(), BATCHES * LARGE.records_per_batch);
                    let stream = Stream { bootstrap: &bootstrap, topic: TOPIC, partitions: 1, records };
                    let ((), produced) = phase(&[broker.id()], || librdkafka::produce(&stream, "1", Batches::Large))?;
                    let ((), consumed) = phase(&[broker.id()], || librdkafka::consume(&stream, 0))?;
                    Ok([produced, consumed])
                }
            }
        })
    }
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}
