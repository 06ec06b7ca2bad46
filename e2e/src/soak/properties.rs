//! The property tests again, with the seed of this run instead of the fixed one of every test run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Options, Tally};
use crate::programs::cargo;
use crate::progress::Progress;

/// The packages that have some.
const PACKAGES: [&str; 4] = ["protocol", "storage", "raft", "fuzz"];
const EXPECTED: Duration = Duration::from_mins(2);

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    for package in PACKAGES {
        let what = format!("property tests of {package}, seed {}", options.seed);
        tally.run(&what, progress, || progress.step(&what, EXPECTED, || test(package, options.seed)));
    }
}

fn test(package: &str, seed: u64) -> Result<String> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", package]).env("PROPTEST_RNG_SEED", seed.to_string());
    let result = test.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&result.stdout);
    ensure!(result.status.success(), "{said}\n{}", String::from_utf8_lossy(&result.stderr));
    Ok("all of them hold".to_owned())
}
