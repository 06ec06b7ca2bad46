//! Tests that a machine may be unable to run: left out with a message, and shown as ignored.
#![expect(clippy::print_stderr, reason = "what is left out is said where a person looks")]

use std::fmt::Display;

use libtest_mimic::{Failed, Trial};

pub(crate) fn trial(
    name: &str,
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
