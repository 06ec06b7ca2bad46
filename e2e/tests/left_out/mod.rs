//! Tests that a machine may be unable to run: left out aloud, and shown as ignored.
#![expect(clippy::print_stderr, reason = "what is left out is said where a person looks")]

use std::env;
use std::fmt::Display;

use libtest_mimic::{Failed, Trial};

pub(crate) const SKIP: &str = "MILLRACE_E2E_SKIP_CLUSTER";

pub(crate) fn skip_is_set() -> bool {
    env::var_os(SKIP).is_some_and(|value| value == "1")
}

pub(crate) fn trial(
    name: &'static str,
    left_out: Option<impl Display>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match left_out {
        Some(reason) => {
            eprintln!("NOT TESTED: {name}: {reason}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
        None => Trial::test(name, test),
    }
}
