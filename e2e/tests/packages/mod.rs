//! Tests of commands from Debian packages.

#[path = "../left_out/mod.rs"]
mod left_out;

use std::process::ExitCode;

use e2e::host::{SKIP, Tool, is_root, missing_packages, skip_is_set};
use libtest_mimic::Arguments;

use left_out::trial;

/// Runs the tests, which fail by panicking. They are left out if packages are missing and only tests without root
/// were requested.
pub(crate) fn run(tools: &[Tool], tests: &[(&'static str, fn())]) -> ExitCode {
    let missing = missing_packages(tools);
    let left_out = (skip_is_set() && !is_root() && !missing.is_empty())
        .then(|| format!("{SKIP}=1, and {} would have to be installed, as root", missing.join(" ")));
    let trials = tests.iter().map(|&(name, test)| {
        trial(name, left_out.as_ref(), move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
