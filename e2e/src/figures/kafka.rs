//! Millrace against Apache Kafka on one machine, in one run, interleaved: one broker each, or three, the same
//! configuration, the same clients. What counts is the ratio of each pair of samples; absolute values depend on the
//! machine.
//!
//! ```text
//! contender          what is compared, and how it is run
//! lab                programs, cores, directory, sizes; warming up
//! probe              single records to any partition, and reading them back
//! throughput, one_record, latency, start, loaded, many_partitions, replicated   one kind of measurement each
//! null_broker        the most that a client can do
//! pairs, table       statistics, and how they are told
//! ```
//!
//! CPU times and latencies are taken with broker and client pinned to a core each. What includes the start of a
//! process is not pinned: a JVM starts faster on two cores, and the client has nothing to do meanwhile.

mod contender;
mod lab;
mod latency;
mod loaded;
mod many_partitions;
pub(super) mod null_broker;
mod one_record;
mod pairs;
mod probe;
mod replicated;
mod start;
mod table;
mod throughput;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::machine::{Cores, Noise};
use super::samples::Samples;
use crate::kafka_tools::KafkaTools;
use crate::progress::Progress;
use contender::Contender;
use lab::{Lab, Programs, Sizes};
use many_partitions::Partitions;
use pairs::Reading;
use table::{Measure, Row};

/// Fewer are shown, but say little.
const PAIRS_MIN: usize = 5;

/// Groups of rows that are measured together, and can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// CPU time and speed of produce (acks=1, acks=all) and consume
    Throughput,
    /// CPU time of requests with one record of 100 B
    OneRecord,
    /// End to end at 20 MB/s with acks=all
    Latency,
    /// Cold start to the first acknowledged produce, and idle memory
    Start,
    /// Memory with 6 GB in 20 partitions, and restarts after SIGKILL and SIGTERM
    Loaded,
    /// 1,000 partitions: creation, memory, restarts
    FewerPartitions,
    /// 10,000 partitions: the same
    MorePartitions,
    /// CPU time and speed of produce (acks=all) to three replicas on three brokers
    ReplicatedThroughput,
    /// How long clients wait when one of three brokers is killed or stops
    Failover,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub names: Vec<Name>,
    pub pairs: usize,
    /// 1 for a measurement; less shows that everything runs.
    pub scale: f64,
    /// Whether Kafka with a small heap and more recovery threads takes part.
    pub tuned: bool,
}

/// All results.
#[derive(Debug)]
pub struct Comparison {
    contenders: Vec<Contender>,
    rows: Vec<Row>,
    failed: Vec<(Name, anyhow::Error)>,
    options: Options,
}

/// Measures that Millrace against Apache Kafka, in directories beside the program. If a group fails the others are
/// still measured.
pub fn compare(millrace: &Path, options: &Options, progress: &Progress) -> Result<Comparison> {
    ensure!(0 < options.pairs, "at least one pair is needed");
    ensure!(0.0 < options.scale && options.scale <= 1.0, "a scale is more than 0 and at most 1");
    let millrace = millrace.to_owned();
    let directory = millrace.parent().context("a program in no directory")?.to_owned();
    let rivals = if options.tuned { vec![Contender::Kafka, Contender::TunedKafka] } else { vec![Contender::Kafka] };
    let lab = Lab {
        programs: Programs { millrace, kafka: KafkaTools::fetch(progress)? },
        directory,
        cores: Cores::choose()?,
        sizes: Sizes::scaled(options.scale),
        contenders: [vec![Contender::Millrace], rivals].concat(),
        pairs: options.pairs,
        whole: 1.0 <= options.scale,
        progress,
    };
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for name in &options.names {
        match lab.measure(*name) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                progress.note(format_args!("{name:?} failed: {error:#}"));
                failed.push((*name, error));
            }
        }
    }
    Ok(Comparison { contenders: lab.contenders, rows, failed, options: options.clone() })
}

impl Lab<'_> {
    fn measure(&self, name: Name) -> Result<Vec<Row>> {
        let fewer = Partitions(self.sizes.fewer_partitions);
        let more = Partitions(self.sizes.more_partitions);
        match name {
            Name::Throughput => {
                let rows =
                    self.rounds(name, throughput::measures(), |contender| throughput::sample(self, contender))?;
                Ok(with_ceilings(rows, throughput::ceilings(self)?))
            }
            Name::OneRecord => {
                let rows =
                    self.rounds(name, one_record::measures(), |contender| one_record::sample(self, contender))?;
                Ok(with_ceilings(rows, one_record::ceilings(self)?))
            }
            Name::Latency => self.rounds(name, latency::measures(), |contender| latency::sample(self, contender)),
            Name::Start => self.rounds(name, start::measures(), |contender| start::sample(self, contender)),
            Name::Loaded => self.rounds(name, loaded::measures(self), |contender| loaded::sample(self, contender)),
            Name::FewerPartitions => self.rounds(name, fewer.measures(), |contender| fewer.sample(self, contender)),
            Name::MorePartitions => {
                self.rounds(name, more.measures_with_limits(), |contender| more.sample(self, contender))
            }
            Name::ReplicatedThroughput => {
                self.rounds(name, replicated::measures(), |contender| replicated::sample(self, contender))
            }
            Name::Failover => {
                self.rounds(name, replicated::outages(), |contender| replicated::sample_outages(self, contender))
            }
        }
    }

    /// One contender after the other, round by round. A disturbed round is repeated.
    fn rounds(
        &self,
        name: Name,
        measures: Vec<Measure>,
        sample: impl Fn(Contender) -> Result<(Vec<Reading>, Noise)>,
    ) -> Result<Vec<Row>> {
        let mut number = 0;
        let rounds = Samples::collect(self.pairs, || {
            let (mut round, mut noise) = (Vec::new(), Noise::default());
            number += 1;
            self.progress.note(format_args!("{name:?}: round {number}; {} undisturbed ones are wanted", self.pairs));
            for contender in &self.contenders {
                let (readings, disturbance) = sample(*contender).with_context(|| contender.name())?;
                ensure!(readings.len() == measures.len(), "{} readings of {}", readings.len(), measures.len());
                for (measure, reading) in measures.iter().zip(&readings) {
                    let (name, what, value) = (contender.name(), &measure.what, measure.shown(reading.value));
                    self.progress.note(format_args!("{name}: {what}: {value}"));
                }
                self.progress.note(format_args!("  {disturbance}"));
                round.push(readings);
                noise = noise.max(disturbance);
            }
            if noise.disturbs() {
                self.progress.note("the round was disturbed");
            }
            Ok(((round, noise), noise))
        })?;
        let noise: Vec<_> = rounds.taken.iter().map(|(_, noise)| *noise).collect();
        let rows = measures.into_iter().enumerate().map(|(index, measure)| {
            let of_measure = |(round, _): &(Vec<Vec<Reading>>, Noise)| {
                round.iter().filter_map(|all| all.get(index).copied()).collect()
            };
            let measure = if self.whole { measure } else { measure.without_promises() };
            Row { measure, rounds: rounds.map(of_measure), noise: noise.clone(), ceiling: None }
        });
        Ok(rows.collect())
    }
}

fn with_ceilings(rows: Vec<Row>, ceilings: Vec<Option<f64>>) -> Vec<Row> {
    rows.into_iter().zip(ceilings).map(|(row, ceiling)| Row { ceiling, ..row }).collect()
}

impl Comparison {
    /// Whether everything could be measured.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether every promise is kept.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds() != Some(false))
    }

    /// In Markdown, with notes.
    pub fn table(&self) -> String {
        let mut lines = vec![table::markdown(&self.rows, &self.contenders)];
        if self.options.scale < 1.0 {
            lines.push(format!(
                "Sizes × {}: this shows that everything runs, and measures nothing.",
                self.options.scale
            ));
        }
        if self.options.pairs < PAIRS_MIN {
            lines.push(format!("Rounds asked for: {}; fewer than {PAIRS_MIN} say little.", self.options.pairs));
        }
        lines.extend(self.failed.iter().map(|(name, error)| format!("{name:?} could not be measured: {error:#}")));
        lines.join("\n\n")
    }

    pub fn json(&self) -> Value {
        let failed =
            self.failed.iter().map(|(name, error)| json!({"name": format!("{name:?}"), "error": format!("{error:#}")}));
        json!({
            "scale": self.options.scale,
            "pairs": self.options.pairs,
            "rows": table::json(&self.rows, &self.contenders),
            "failed": failed.collect::<Value>(),
        })
    }
}
