//! What takes too long for every test run: fuzzing, property tests with fresh seeds, a broker that is killed under
//! load again and again. Each part counts as passed or failed; a failure does not stop the others.

pub mod fuzzing;
pub mod history;
pub mod kills;
pub mod properties;
mod random;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

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
}

#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// For each fuzz target.
    pub fuzz_for: Duration,
    pub kills: u32,
    /// What is killed instead of the broker of this checkout.
    pub broker: Option<PathBuf>,
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
            Part::Kills => tally.run("SIGKILL under load", progress, || kills::run(options, progress)),
        }
    }
    tally
}
