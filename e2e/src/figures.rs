//! Measures the figures that the project promises. One module per kind of figure; each returns its rows. The tools
//! that drive and observe a broker are beside them.

pub mod images;
pub mod kafka;
pub mod kubernetes;
pub mod row;

mod bench;
mod broker;
mod compaction;
mod echo;
mod groups;
mod latency;
mod librdkafka;
mod load;
mod machine;
mod phase;
mod process;
mod replicated;
mod requests;
mod samples;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::programs::{Profile, Programs};
use crate::progress::Progress;
use bench::Bench;
use replicated::Trio;
use row::Row;

/// Figures that can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// From the start of the process to the first acknowledged produce
    StartUp,
    /// Resident memory of an idle broker
    Idle,
    /// CPU time of produce and consume
    Produce,
    /// CPU time of small produce requests
    Requests,
    /// From sending a record to reading it
    Latency,
    /// Resident memory of idle connections
    Connections,
    /// CPU time and memory of a pass of compaction
    Compaction,
    /// CPU time of both again, through librdkafka; without a limit
    Librdkafka,
    /// CPU time of offset commits
    Commits,
    /// Resident memory and CPU time of groups with idle members
    IdleGroups,
    /// From the first join of a large group to its last assignment
    Rebalance,
    /// How long a coordinator takes to load its log
    GroupLoad,
    /// How long clients wait when one of three brokers is killed, hangs, is cut off or stops
    Failover,
    /// Until the metadata of 3,000 partitions can be changed again
    ControllerFailover,
    /// CPU time of produce to three replicas
    ReplicatedProduce,
    /// From sending a record to reading it, of three replicas
    ReplicatedLatency,
    /// Resident memory and CPU time of three idle brokers
    ReplicatedIdle,
}

/// The release binary of the broker, freshly built.
pub fn build(progress: &Progress) -> Result<PathBuf> {
    Programs::broker(Profile::Release, progress)
}

/// Measures that program, with so many samples of every fault. Rows that cannot be measured say so.
pub fn of_brokers(program: &Path, names: &[Name], samples: usize, progress: &Progress) -> Result<Vec<Row>> {
    let (one, three) = (Bench::new(program, progress)?, Trio::new(program, samples, progress));
    let rows = |name: &Name| {
        measure(*name, &one, &three).unwrap_or_else(|error| {
            progress.note(format_args!("NOT MEASURED: {name:?}: {error:#}"));
            vec![Row::not_measured(format!("{name:?}"))]
        })
    };
    Ok(names.iter().flat_map(rows).collect())
}

fn measure(name: Name, one: &Bench<'_>, three: &Trio<'_>) -> Result<Vec<Row>> {
    match name {
        Name::StartUp => broker::start_up(one),
        Name::Idle => broker::idle(one),
        Name::Produce => broker::throughput(one),
        Name::Requests => broker::requests(one),
        Name::Latency => broker::latency(one),
        Name::Connections => broker::connections(one),
        Name::Compaction => broker::compaction(one),
        Name::Librdkafka => broker::through_librdkafka(one),
        Name::Commits => groups::commits(one),
        Name::IdleGroups => groups::idle(one),
        Name::Rebalance => groups::rebalances(one),
        Name::GroupLoad => groups::loading(one),
        Name::Failover => three.failover(),
        Name::ControllerFailover => three.controller_failover(),
        Name::ReplicatedProduce => three.produce(),
        Name::ReplicatedLatency => three.latency(),
        Name::ReplicatedIdle => three.idle(),
    }
}
