//! One broker on this machine: how soon it answers, its memory, and the CPU time of produce and consume.
//!
//! Every sample has its own process and directory. For the CPU figures broker and client are pinned to a core each,
//! memory is touched beforehand, and what was sent is read back and compared. A sample is repeated when the host or
//! other work disturbed it; when too many were, the table says so.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::bench::Bench;
use super::compaction;
use super::latency::Latency;
use super::librdkafka::{self, Batches, Stream};
use super::load::{self, LARGE, ONE_RECORD, Sent};
use super::machine::{Noise, Snapshot, cpu_time, raise_descriptor_limit, touch_pages};
use super::phase::{Phase, phase, resident_mebibytes};
use super::process::Broker;
use super::requests::Clients;
use super::row::Row;
use super::samples::Samples;
use crate::admin::topic_name;

const TOPIC: &str = "figures";
const BATCHES: u32 = 1_000;
const DATA_BYTES: u32 = BATCHES * LARGE.records_per_batch * LARGE.record_bytes;
const TOUCHED_BYTES: u64 = (2 << 30) + DATA_BYTES as u64;
const CPU_SAMPLES: usize = 5;
const START_UP_SAMPLES: usize = 15;
/// Other work rarely ends within the milliseconds that a start takes.
const PAUSE_AFTER_DISTURBANCE: Duration = Duration::from_secs(1);
const IDLE_SAMPLES: usize = 5;
const REQUESTS: u32 = 200_000;
const REQUESTS_BEFORE: u32 = 8_000;
const LATENCY_BATCHES: u32 = 18_000;
/// Fewer where the descriptor limit asks for it: a broker gives clients somewhat less than half of its descriptors.
const CONNECTIONS: u32 = 10_000;
const CONNECTIONS_PER_20_DESCRIPTORS: u32 = 9;
const CONNECTION_SAMPLES: usize = 3;
const COMPACTION_SAMPLES: usize = 3;
const IDLE_FOR: Duration = Duration::from_secs(3);

/// Until one record is acknowledged.
pub(super) fn start_up(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let samples = Samples::collect(START_UP_SAMPLES, || {
        let before = Snapshot::take(&[])?;
        let (elapsed, cpu, noise) = bench.with_broker(|broker| {
            let mut connection = broker.connect()?;
            connection.create_topic(&topic_name(TOPIC))?;
            let sent = load::produce(&mut connection, &topic_name(TOPIC), ONE_RECORD, 1)?;
            let (elapsed, cpu) = (broker.spawned().elapsed(), cpu_time(&[broker.id()])?);
            let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
            load::consume(&mut connection, &topic_name(TOPIC), &sent)?;
            Ok((elapsed, cpu, noise))
        })?;
        let milliseconds = elapsed.as_secs_f64() * 1e3;
        bench.progress.note(format_args!("start-up {milliseconds:.0} ms, CPU {} ms; {noise}", cpu.as_millis()));
        if noise.disturbs() {
            thread::sleep(PAUSE_AFTER_DISTURBANCE);
        }
        Ok((milliseconds, noise))
    })?;
    Ok(vec![Row::new("process start to first acknowledged produce, empty directory", "ms", 0, samples).at_most(80.0)])
}

/// Memory of a broker that has served one record. Other work does not affect it.
pub(super) fn idle(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let samples = Samples::collect(IDLE_SAMPLES, || {
        let mebibytes = bench.with_broker(|broker| {
            let mut connection = broker.connect()?;
            connection.create_topic(&topic_name(TOPIC))?;
            let sent = load::produce(&mut connection, &topic_name(TOPIC), ONE_RECORD, 1)?;
            load::consume(&mut connection, &topic_name(TOPIC), &sent)?;
            drop(connection);
            thread::sleep(IDLE_FOR);
            resident_mebibytes(broker.id())
        })?;
        bench.progress.note(format_args!("idle {mebibytes:.1} MiB"));
        Ok((mebibytes, Noise::default()))
    })?;
    Ok(vec![Row::new("broker resident, idle", "MiB", 1, samples).at_most(20.0)])
}

pub(super) fn throughput(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let both = cpu_per_gigabyte(bench, CPU_SAMPLES, |broker| {
        let mut connection = broker.connect()?;
        let produce = || load::produce(&mut connection, &topic_name(TOPIC), LARGE, BATCHES);
        let (sent, produced): (Sent, _) = phase(&[broker.id()], produce)?;
        let consume = || load::consume(&mut connection, &topic_name(TOPIC), &sent);
        let ((), consumed) = phase(&[broker.id()], consume)?;
        Ok([produced, consumed])
    })?;
    let produce = "produce, 1 KiB records in 1 MB batches, acks=1, broker CPU per GB";
    Ok(vec![
        Row::new(produce, "s", 2, both.map(|cost| cost.produce)).at_most(0.8),
        Row::new("consume from page cache, broker CPU per GB", "s", 2, both.map(|cost| cost.consume)).at_most(0.5),
    ])
}

pub(super) fn through_librdkafka(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let both = cpu_per_gigabyte(bench, 1, |broker| {
        let (bootstrap, records) = (broker.bootstrap(), BATCHES * LARGE.records_per_batch);
        let stream = Stream { bootstrap: &bootstrap, topic: TOPIC, partitions: 1, records };
        let ((), produced) = phase(&[broker.id()], || librdkafka::produce(&stream, "1", Batches::Large))?;
        let ((), consumed) = phase(&[broker.id()], || librdkafka::consume(&stream, 0))?;
        Ok([produced, consumed])
    })?;
    Ok(vec![
        Row::new("the same produce through librdkafka", "s", 2, both.map(|cost| cost.produce)),
        Row::new("the same consume through librdkafka", "s", 2, both.map(|cost| cost.consume)),
    ])
}

/// CPU time of a produce request with one small record.
pub(super) fn requests(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let samples = Samples::collect(CPU_SAMPLES, || {
        bench.with_pinned(&[], |broker| {
            let mut clients = Clients::open(|| broker.connect())?;
            clients.produce(REQUESTS_BEFORE)?;
            let (requests, phase) = phase(&[broker.id()], || clients.produce(REQUESTS))?;
            clients.check()?;
            let requests = f64::from(requests);
            let micros = phase.cpu.as_secs_f64() * 1e6 / requests;
            let rate = requests / phase.elapsed.as_secs_f64() / 1e3;
            bench.progress.note(format_args!("{micros:.1} µs at {rate:.0} thousand a second; {}", phase.noise));
            Ok((micros, phase.noise))
        })
    })?;
    let what = "produce of one 100 B record, acks=1, 16 connections with 5 requests in flight, broker CPU per request";
    Ok(vec![Row::new(what, "µs", 1, samples).at_most(12.0)])
}

/// From sending a batch until a consumer has it.
pub(super) fn latency(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let latency = Samples::collect(CPU_SAMPLES, || {
        bench.with_pinned(&[], |broker| {
            broker.connect()?.create_topic(&topic_name(TOPIC))?;
            let before = Snapshot::take(&[broker.id()])?;
            let latency = Latency::measure(|| broker.connect(), &topic_name(TOPIC), LATENCY_BATCHES)?;
            let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
            bench.progress.note(format_args!("{latency}; {noise}"));
            Ok((latency, noise))
        })
    })?;
    let what = "send to read, 20 MB/s in 10 KB batches, acks=all, p99";
    Ok(vec![
        Row::new(what, "ms", 2, latency.map(|latency| latency.p99)).at_most(5.0),
        Row::new("the same, p99.9", "ms", 2, latency.map(|latency| latency.p999)).at_most(12.0),
    ])
}

/// The memory that each connection adds. Other work does not affect it.
pub(super) fn connections(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let connections = CONNECTIONS.min(raise_descriptor_limit()? / 20 * CONNECTIONS_PER_20_DESCRIPTORS);
    let samples = Samples::collect(CONNECTION_SAMPLES, || {
        let grown = bench.with_broker(|broker| {
            let mut first = broker.connect()?;
            first.create_topic(&topic_name(TOPIC))?;
            let before = resident_mebibytes(broker.id())?;
            let mut open = Vec::new();
            for batch in 0..connections {
                let mut connection = broker.connect()?;
                connection.create_topic(&topic_name(TOPIC))?;
                load::produce_one(&mut connection, &topic_name(TOPIC), batch)?;
                load::fetch(&mut connection, &topic_name(TOPIC), i64::from(batch))?;
                open.push(connection);
            }
            thread::sleep(IDLE_FOR);
            Ok(resident_mebibytes(broker.id())? - before)
        })?;
        let kibibytes = grown * 1024.0 / f64::from(connections);
        bench.progress.note(format_args!("{kibibytes:.1} KiB for each connection"));
        Ok((kibibytes, Noise::default()))
    })?;
    let what = format!("broker resident for each of {connections} idle connections that have served requests");
    Ok(vec![Row::new(what, "KiB", 1, samples).at_most(8.0)])
}

/// Each sample compacts its own log.
pub(super) fn compaction(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let both = Samples::collect(COMPACTION_SAMPLES, || {
        let measure = |broker: &mut Broker| compaction::measure(broker, &topic_name(TOPIC));
        let (compaction, noise) = bench.with_pinned(&compaction::SETTINGS, measure)?;
        bench.progress.note(format_args!("{compaction}; {noise}"));
        Ok((compaction, noise))
    })?;
    let what = "compaction of 1 GiB, 100 B values, 1,000,000 keys, uncompressed, broker CPU";
    let memory = both.map(|compaction| compaction.more_mebibytes);
    Ok(vec![
        Row::new(what, "s", 2, both.map(|compaction| compaction.cpu.as_secs_f64())).at_most(6.0),
        Row::new("broker resident, more during this compaction", "MiB", 1, memory).at_most(64.0),
    ])
}

/// Broker CPU seconds per 10⁹ bytes of values.
#[derive(Debug, Clone, Copy)]
struct Cost {
    produce: f64,
    consume: f64,
}

/// Each sample produces to a fresh broker and then reads it all from the page cache.
fn cpu_per_gigabyte(
    bench: &Bench<'_>,
    samples: usize,
    produce_and_consume: impl Fn(&mut Broker) -> Result<[Phase; 2]>,
) -> Result<Samples<Cost>> {
    let gigabytes = f64::from(DATA_BYTES) / 1e9;
    Samples::collect(samples, || {
        touch_pages(&bench.directory, TOUCHED_BYTES)?;
        let [produce, consume] = bench.with_pinned(&[], |broker| {
            broker.connect()?.create_topic(&topic_name(TOPIC))?;
            produce_and_consume(broker)
        })?;
        let cost = Cost { produce: produce.cpu_per_gigabyte(gigabytes), consume: consume.cpu_per_gigabyte(gigabytes) };
        let noise = produce.noise.max(consume.noise);
        bench.progress.note(format_args!(
            "produce {:.2} CPU s/GB at {:.2} GB/s, consume {:.2} CPU s/GB at {:.2} GB/s; {noise}",
            cost.produce,
            produce.gigabytes_per_second(gigabytes),
            cost.consume,
            consume.gigabytes_per_second(gigabytes),
        ));
        Ok((cost, noise))
    })
}
