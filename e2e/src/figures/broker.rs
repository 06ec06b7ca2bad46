//! One broker on this machine: how soon it answers, what it occupies, and the CPU time that produce and consume take.
//!
//! Every sample has a process and a directory of its own. For the CPU figures broker and client are pinned to a core
//! each, memory is touched beforehand, and what was sent is read back and compared. A sample is repeated when the
//! host or other work disturbed it; when too many were, the table says so.

mod bench;
mod compaction;
mod process;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Name;
use super::row::Row;
use crate::programs::{Profile, Programs};
use crate::progress::Progress;
use bench::{Bench, Client};

const CPU_SAMPLES: usize = 5;
const COMPACTION_SAMPLES: usize = 3;

/// The release binary, freshly built.
pub fn build(progress: &Progress) -> Result<PathBuf> {
    Programs::broker(Profile::Release, progress)
}

/// Measures that program, in directories beside it.
pub fn measure(program: &Path, names: &[Name], progress: &Progress) -> Result<Vec<Row>> {
    let bench = Bench::new(program, progress)?;
    let mut rows = Vec::new();
    if names.contains(&Name::StartUp) {
        let what = "process start to first acknowledged produce, empty directory";
        rows.push(Row { what, unit: "ms", decimals: 0, at_most: Some(80.0), samples: bench.start_up()? });
    }
    if names.contains(&Name::Idle) {
        let what = "broker resident, idle";
        rows.push(Row { what, unit: "MiB", decimals: 1, at_most: Some(20.0), samples: bench.idle()? });
    }
    let cpu = |what, at_most, samples| Row { what, unit: "s", decimals: 2, at_most, samples };
    if names.contains(&Name::Produce) || names.contains(&Name::Consume) {
        let both = bench.cpu_per_gigabyte(Client::Raw, CPU_SAMPLES)?;
        if names.contains(&Name::Produce) {
            let what = "produce, 1 KiB records in 1 MB batches, acks=1, broker CPU per GB";
            rows.push(cpu(what, Some(0.8), both.map(|cost| cost.produce)));
        }
        if names.contains(&Name::Consume) {
            let what = "consume from page cache, broker CPU per GB";
            rows.push(cpu(what, Some(0.5), both.map(|cost| cost.consume)));
        }
    }
    if names.contains(&Name::Requests) {
        let what =
            "produce of one 100 B record, acks=1, 16 connections with 5 requests in flight, broker CPU per request";
        let samples = bench.cpu_per_request(CPU_SAMPLES)?;
        rows.push(Row { what, unit: "µs", decimals: 1, at_most: Some(12.0), samples });
    }
    if names.contains(&Name::Latency) {
        let latency = bench.latency(CPU_SAMPLES)?;
        let row = |what, at_most, samples| Row { what, unit: "ms", decimals: 2, at_most: Some(at_most), samples };
        let what = "send to read, 20 MB/s in 10 KB batches, acks=all, p99";
        rows.push(row(what, 5.0, latency.map(|latency| latency.p99)));
        rows.push(row("the same, p99.9", 12.0, latency.map(|latency| latency.p999)));
    }
    if names.contains(&Name::Connections) {
        let what = "broker resident for each of 10,000 idle connections that have served requests";
        rows.push(Row { what, unit: "KiB", decimals: 1, at_most: Some(8.0), samples: bench.connections()? });
    }
    if names.contains(&Name::Compaction) {
        let both = bench.compaction(COMPACTION_SAMPLES)?;
        let what = "compaction of 1 GiB, 100 B values, 1,000,000 keys, uncompressed, broker CPU";
        rows.push(cpu(what, Some(6.0), both.map(|compaction| compaction.cpu.as_secs_f64())));
        let memory = both.map(|compaction| compaction.more_mebibytes);
        let what = "broker resident, more during this compaction";
        rows.push(Row { what, unit: "MiB", decimals: 1, at_most: Some(64.0), samples: memory });
    }
    if names.contains(&Name::Librdkafka) {
        let both = bench.cpu_per_gigabyte(Client::Librdkafka, 1)?;
        rows.push(cpu("the same produce through librdkafka", None, both.map(|cost| cost.produce)));
        rows.push(cpu("the same consume through librdkafka", None, both.map(|cost| cost.consume)));
    }
    Ok(rows)
}
