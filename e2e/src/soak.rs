//! Tests that take too long for every test run: fuzzing, property tests with fresh seeds, simulations, a broker that
//! is killed under load again and again, three brokers with machine faults. Each part passes or fails; a failure does
//! not stop the others.

pub mod checked;
pub mod faults;
pub mod fuzzing;
mod groups;
pub mod history;
mod journal;
mod keyed;
pub mod kills;
mod load;
mod on_disk;
pub mod properties;
mod random;
pub mod simulation;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::programs::{Profile, Programs};
use crate::progress::Progress;
use journal::Journal;

/// Parts that can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Each fuzz target for a while, guided by coverage
    Fuzz,
    /// The property tests of the workspace with the seed of this run
    Properties,
    /// The simulated quorum and the simulated cluster, many times
    Simulation,
    /// SIGKILL at random moments under mixed load with readers
    Kills,
    /// Three brokers under the same load, with machine faults
    Faults,
    /// Three brokers under the same load, one of which loses its power again and again
    PowerCuts,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// Time for each fuzz target.
    pub fuzz_for: Duration,
    pub quorum_schedules: u64,
    pub cluster_runs: u64,
    pub kills: u32,
    pub fault_runs: u32,
    pub faults_for: Duration,
    pub power_cuts: u32,
    /// A broker to kill instead of the one of this checkout.
    pub broker: Option<PathBuf>,
    /// A file that records what has passed.
    pub journal: Option<PathBuf>,
}

impl Options {
    fn program(&self, progress: &Progress) -> Result<PathBuf> {
        self.broker.clone().map_or_else(|| Programs::broker(Profile::Dev, progress), Ok)
    }
}

/// How many parts passed, and how many failed.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
    journal: Option<Journal>,
}

impl Tally {
    /// Runs one part and reports its result. Parts that have passed, according to the journal, are not run again.
    pub(crate) fn run(&mut self, what: &str, progress: &Progress, part: impl FnOnce() -> Result<String>) {
        if let Some(before) = self.journal.as_ref().and_then(|journal| journal.passed(what)) {
            self.passed += 1;
            return progress.note(format_args!("passed before: {before}"));
        }
        let verdict = match part() {
            Ok(said) => {
                self.passed += 1;
                format!("passed: {what}: {said}")
            }
            Err(error) => {
                self.failed += 1;
                format!("FAILED: {what}: {error:#}")
            }
        };
        progress.note(&verdict);
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.note(&verdict)
        {
            progress.note(format_args!("it is not noted: {error:#}"));
        }
    }
}

pub fn run(parts: &[Part], options: &Options, progress: &Progress) -> Result<Tally> {
    let journal = options.journal.as_deref().map(Journal::open).transpose()?;
    let mut tally = Tally { journal, ..Tally::default() };
    for part in parts {
        match part {
            Part::Fuzz => fuzzing::run(options, progress, &mut tally),
            Part::Properties => properties::run(options, progress, &mut tally),
            Part::Kills => kills::run(options, progress, &mut tally),
            Part::Simulation => simulation::run(options, progress, &mut tally),
            Part::Faults => faults::run(options, progress, &mut tally),
            Part::PowerCuts => faults::run_power_cuts(options, progress, &mut tally),
        }
    }
    Ok(tally)
}
