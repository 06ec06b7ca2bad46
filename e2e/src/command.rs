//! Runs other programs: their output as a value, their failure as an error with what they printed.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The interval at which a condition is checked.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs `program` with whitespace-separated `arguments`; returns its standard output.
pub fn run(program: &str, arguments: &str) -> Result<String> {
    output(Command::new(program).args(arguments.split_whitespace()))
}

pub fn output(command: &mut Command) -> Result<String> {
    let result = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))?;
    checked(command, &result)
}

/// Runs the command with `input` as its standard input.
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let result = child.wait_with_output()?;
    let stdout = checked(command, &result)?;
    written.with_context(|| format!("{} did not read its input", shown(command)))?;
    Ok(stdout)
}

/// Asks repeatedly until there is an answer.
pub fn wait_for<T>(what: &str, at_most: Duration, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_for_every(LOOK_AGAIN, what, at_most, ask)
}

/// For checks that are expensive.
pub fn wait_for_every<T>(
    pause: Duration,
    what: &str,
    at_most: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if deadline <= Instant::now() {
            bail!("{what}: not within {} s", at_most.as_secs());
        }
        thread::sleep(pause);
    }
}

/// Retries until it succeeds; after `at_most` it returns the last failure.
pub fn retry<T>(at_most: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            outcome => return outcome,
        }
    }
}

fn checked(command: &Command, result: &Output) -> Result<String> {
    if !result.status.success() {
        bail!("{} failed, {}: {}", shown(command), result.status, String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
