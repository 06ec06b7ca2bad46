//! What takes too long for every test run: fuzzing, property tests with fresh seeds, a broker that is killed under
//! load again and again, three brokers to which happens what happens to machines. Each part counts as passed or failed;
//! a failure does not stop the others.

pub mod checked;
pub mod faults;
pub mod fuzzing;
mod groups;
pub mod history;
pub mod kills;
mod load;
mod on_disk;
pub mod properties;
mod random;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::programs::{Profile, Programs};
use crate::progress::Progress;

/// What can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Each fuzz target for a while, guided by coverage
    Fuzz,
    /// The property tests of the workspace with the seed of this run
    Properties,
    /// SIGKILL at random moments under mixed load with readers
    Kills,
    /// Three brokers under the same load, and what happens to machines
    Faults,
    /// Three brokers under the same load, one of which loses its power again and again
    PowerCuts,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// For each fuzz target.
    pub fuzz_for: Duration,
    pub kills: u32,
    pub fault_runs: u32,
    pub faults_for: Duration,
    pub power_cuts: u32,
    /// What is killed instead of the broker of this checkout.
    pub broker: Option<PathBuf>,
}

impl Options {
    fn program(&self, progress: &Progress) -> Result<PathBuf> {
        match &self.broker {
            Some(program) => program.canonicalize().with_context(|| format!("there is no {}", program.display())),
            None => Programs::broker(Profile::Dev, progress),
        }
    }
}

/// How many parts passed, and how many failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
}

impl Tally {
    /// Runs one part and tells why it failed, if it did.
    pub(crate) fn run(&mut self, what: &str, progress: &Progress, part: impl FnOnce() -> Result<()>) {
        match part() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                self.failed += 1;
                progress.note(format_args!("FAILED: {what}: {error:#}"));
            }
        }
    }
}

pub fn run(parts: &[Part], options: &Options, progress: &Progress) -> Tally {
    let mut tally = Tally::default();
    for part in parts {
        match part {
            Part::Fuzz => fuzzing::run(options, progress, &mut tally),
            Part::Properties => properties::run(options, progress, &mut tally),
            Part::Faults => faults::run(options, progress, &mut tally),
            Part::PowerCuts => faults::run_power_cuts(options, progress, &mut tally),
            Part::Kills => tally.run("SIGKILL under load", progress, || kills::run(options, progress)),
        }
    }
    tally
}
