//! Three brokers with replicated topics, idempotent and plain producers with acks=all, readers and a group that read
//! all the time, and machine faults: processes die and hang, links are cut in either direction, volumes run full,
//! lose their power, and come back empty. At the end everything must have been acknowledged, read, and committed by
//! the group, every history must hold, and the replicas must be equal byte for byte; those of compacted logs must
//! have the same last record of each key.
//!
//! A power cut takes what was not synced. If one broker loses power at a time nothing acknowledged may be lost; nor
//! if all of them do at once, provided that records are synced before they are acknowledged (`flush.messages=1`).

mod plan;
mod run;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Options, Tally};
use crate::fleet::Controllers;
use crate::progress::Progress;
use plan::{Kind, Pace};
use run::{Run, Until};

/// In runs with separate controllers.
const CONTROLLERS: u8 = 3;
/// The smallest segments, compacted as soon as possible, and metadata snapshots after a few records, so that many
/// faults coincide with all of that.
const SETTINGS: &[&str] = &[
    "num.partitions=3",
    "log.segment.bytes=1048576",
    "offsets.topic.segment.bytes=1048576",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.cleaner.backoff.ms=200",
    "metadata.log.max.record.bytes.between.snapshots=20000",
];
const SYNCED: &str = "log.flush.interval.messages=1";
const CUTS_PER_RUN: u32 = 10;
const CUT_EXPECTED: Duration = Duration::from_secs(8);

/// The configuration of the brokers, and their faults.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    name: &'static str,
    controllers: Controllers,
    /// Whether what was acknowledged is on disk.
    is_synced: bool,
    kinds: &'static [Kind],
    pace: Pace,
}

const COMBINED: Scenario = Scenario {
    name: "faults",
    controllers: Controllers::Combined,
    is_synced: false,
    kinds: plan::WHATEVER,
    pace: plan::LEISURELY,
};
const SEPARATE: Scenario = Scenario { controllers: Controllers::Separate(CONTROLLERS), ..COMBINED };
const POWER_OF_ONE: Scenario =
    Scenario { name: "power-cuts", kinds: plan::POWER_OF_ONE, pace: plan::BRISK, ..COMBINED };
const POWER_OF_ALL: Scenario = Scenario { kinds: plan::POWER_OF_ALL, is_synced: true, ..POWER_OF_ONE };

impl Scenario {
    fn settings(self) -> impl Iterator<Item = &'static str> {
        SETTINGS.iter().copied().chain(self.is_synced.then_some(SYNCED))
    }
}

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    for number in 0..options.fault_runs {
        let seed = options.seed.wrapping_add(number.into());
        let what = format!("faults for {} s, seed {seed}", options.faults_for.as_secs());
        tally.run(&what, progress, || {
            let program = options.program(progress)?;
            progress.step(&what, options.faults_for, || run_for(&program, seed, options.faults_for, progress))
        });
    }
}

/// Injects faults for that long, and every kind at least once, and then checks that nothing was lost. One of four
/// seeds has controllers on separate nodes. Returns a summary.
pub fn run_for(program: &Path, seed: u64, time: Duration, progress: &Progress) -> Result<String> {
    let scenario = if seed.is_multiple_of(4) { SEPARATE } else { COMBINED };
    Run::start(program, scenario, seed, progress)?.go(Until::Over(time))
}

pub(super) fn run_power_cuts(options: &Options, progress: &Progress, tally: &mut Tally) {
    let mut left = options.power_cuts;
    for number in 0.. {
        let cuts = left.min(CUTS_PER_RUN);
        if cuts == 0 {
            break;
        }
        left -= cuts;
        let seed = options.seed.wrapping_add(number);
        let what = format!("{cuts} power cuts, seed {seed}");
        tally.run(&what, progress, || {
            let program = options.program(progress)?;
            progress.step(&what, CUT_EXPECTED * cuts, || cut_power(&program, seed, cuts, progress))
        });
    }
}

/// Cuts the power of one broker at a time, or with every other seed of all, and then checks that nothing was lost.
/// Returns a summary.
pub fn cut_power(program: &Path, seed: u64, cuts: u32, progress: &Progress) -> Result<String> {
    let scenario = if seed.is_multiple_of(2) { POWER_OF_ALL } else { POWER_OF_ONE };
    Run::start(program, scenario, seed, progress)?.go(Until::Steps(cuts))
}
