//! The figures the project promises, measured. One module per kind of figure; each returns its rows. What drives and
//! watches a broker lies beside them.

pub mod broker;
pub mod groups;
pub mod images;
pub mod kafka;
pub mod kubernetes;
pub mod replicated;
pub mod row;

mod latency;
mod librdkafka;
mod load;
mod machine;
mod phase;
mod requests;
mod samples;

use clap::ValueEnum;

/// What can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// From the start of the process to the first acknowledged produce
    StartUp,
    /// Resident memory of an idle broker
    Idle,
    /// CPU time of produce
    Produce,
    /// CPU time of consume
    Consume,
    /// CPU time of small produce requests
    Requests,
    /// From sending a record to reading it
    Latency,
    /// Resident memory of idle connections
    Connections,
    /// CPU time and memory of a pass of compaction
    Compaction,
    /// CPU time of both once more, through librdkafka; without a limit
    Librdkafka,
    /// CPU time of commits of offsets
    Commits,
    /// Resident memory and CPU time of groups whose members do nothing but be there
    IdleGroups,
    /// From the first join of a large group to its last assignment
    Rebalance,
    /// How long a coordinator reads its log
    GroupLoad,
    /// What clients wait for when one of three brokers dies, hangs, is cut off or stops
    Failover,
    /// Until the metadata of 3,000 partitions are administered again
    ControllerFailover,
    /// CPU time of produce to three replicas
    ReplicatedProduce,
    /// From sending a record to reading it, of three replicas
    ReplicatedLatency,
    /// Resident memory and CPU time of three idle brokers
    ReplicatedIdle,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub what: &'static str,
    pub measured: String,
    pub promised: &'static str,
}

/// A table in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let rows = figures.iter().map(|figure| [figure.what, &figure.measured, figure.promised]);
    let lines: Vec<_> = [["figure", "measured", "promised"], ["---", "---", "---"]]
        .into_iter()
        .chain(rows)
        .map(|[what, measured, promised]| format!("| {what} | {measured} | {promised} |"))
        .collect();
    lines.join("\n")
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, expected) in [(0, "0.0 MiB"), (1 << 20, "1.0 MiB"), ((20 << 20) + (1 << 19), "20.5 MiB")] {
            assert_eq!(mebibytes(bytes), expected);
        }
    }
}
