//! The simulated quorum and the simulated cluster, in many more runs than every test run has time for. In parts with
//! a seed each, so that a failure can be repeated alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Options, Tally};
use crate::programs::cargo;
use crate::progress::Progress;

const PARTS: u64 = 10;

/// A simulation, and its name.
struct Simulation {
    name: &'static str,
    /// Arguments of the test command.
    arguments: &'static [&'static str],
    /// The variable that sets the number of runs.
    variable: &'static str,
    runs: u64,
    /// Runs per minute, on two cores.
    per_minute: u64,
}

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    let simulations = [
        Simulation {
            name: "quorum",
            arguments: &["--package", "raft-simulation", "--test", "simulation", "--", "survives"],
            variable: "RAFT_SCHEDULES",
            runs: options.quorum_schedules,
            per_minute: 60_000,
        },
        Simulation {
            name: "cluster",
            arguments: &["--package", "broker", "--lib", "--", "cluster_simulation::nothing"],
            variable: "CLUSTER_SEEDS",
            runs: options.cluster_runs,
            per_minute: 1200,
        },
    ];
    for simulation in simulations {
        let runs = simulation.runs.div_ceil(PARTS);
        let expected = Duration::from_mins(runs.div_ceil(simulation.per_minute));
        for seed in (options.seed..).take(usize::try_from(PARTS).unwrap_or_default()) {
            let what = format!("{runs} runs of the simulated {}, seed {seed}", simulation.name);
            tally.run(&what, progress, || progress.step(&what, expected, || test(&simulation, runs, seed)));
        }
    }
}

fn test(simulation: &Simulation, runs: u64, seed: u64) -> Result<String> {
    let mut test = cargo();
    test.args(["test", "--quiet"]).args(simulation.arguments);
    test.env(simulation.variable, runs.to_string()).env("PROPTEST_RNG_SEED", seed.to_string());
    let result = test.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&result.stdout);
    ensure!(result.status.success(), "{said}\n{}", String::from_utf8_lossy(&result.stderr));
    Ok("nothing found".to_owned())
}
