//! Test suites of other projects, each fetched or built once and then run one test at a time.

pub mod kafka_python;
pub mod librdkafka;

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The result of one of their tests, and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub passed: bool,
    pub said: String,
}

/// Whether the command succeeded, and both of its outputs.
fn run(command: &mut Command) -> Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}
