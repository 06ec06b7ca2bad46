//! libFuzzer over the targets of `broker/fuzz`. Coverage comes from LLVM's own pass, which the stable compiler runs
//! like any other; everything is compiled with it into a separate target directory.
//!
//! An engine begins with the committed corpus, or continues with what an earlier run has found. An input that breaks
//! a target is kept in `target/soak/TARGET`, and reported as a line for `broker/fuzz/corpus`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Options, Tally};
use crate::command;
use crate::programs::{WORKSPACE, cargo};
use crate::progress::Progress;

const TARGETS: [&str; 4] = ["frame", "body", "batch", "segment"];
const COMPILE_EXPECTED: Duration = Duration::from_mins(3);
/// No hostile request needs to be longer.
const INPUT_BYTES_MAX: &str = "-max_len=4096";
const MEMORY_MIB_MAX: &str = "-rss_limit_mb=1024";
const SECONDS_PER_INPUT_MAX: &str = "-timeout=10";

/// Edges are counted, comparisons are traced.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    let engine = progress.step("compile the fuzz targets with instrumentation", COMPILE_EXPECTED, compile);
    match engine {
        Ok(engine) => {
            for target in TARGETS {
                tally.run(&format!("fuzz {target}"), progress, || {
                    progress.step(format!("fuzz {target}"), options.fuzz_for, || fuzz(&engine, target, options))
                });
            }
        }
        Err(error) => tally.run("fuzz", progress, || Err(error)),
    }
}

fn compile() -> Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--package=fuzz",
        "--features=engine",
        "--bin=fuzz-engine",
        "--target-dir=target/soak/build",
    ]);
    build.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"));
    let programs = crate::programs::built(&mut build)?;
    Ok(programs.path("fuzz-engine")?.to_owned())
}

/// Returns how many inputs were tried.
fn fuzz(engine: &Path, target: &str, options: &Options) -> Result<String> {
    let work = Path::new(WORKSPACE).join("target/soak").join(target);
    let inputs = work.join("inputs");
    fs::create_dir_all(&inputs).with_context(|| format!("cannot create {}", inputs.display()))?;
    let mut unpack = cargo();
    unpack.args(["run", "--quiet", "--package=fuzz", "--bin=corpus", "--", "unpack", target]).arg(&inputs);
    command::output(&mut unpack)?;
    let mut engine = Command::new(engine);
    engine.env("MILLRACE_FUZZ_TARGET", target).current_dir(&work);
    engine.args([INPUT_BYTES_MAX, MEMORY_MIB_MAX, SECONDS_PER_INPUT_MAX, "-print_final_stats=1"]);
    engine.arg(format!("-seed={}", options.seed & 0xFFFF_FFFF));
    engine.arg(format!("-max_total_time={}", options.fuzz_for.as_secs()));
    let result = engine.arg("-artifact_prefix=./").arg("inputs").output().context("cannot run the engine")?;
    let said = String::from_utf8_lossy(&result.stderr);
    fs::write(work.join("log"), said.as_bytes())?;
    if !result.status.success() {
        bail!("{}; all it said is in {}", verdict(&work, &said), work.join("log").display());
    }
    let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!("{} inputs", tried.context("the engine does not tell how many inputs it tried")?.trim()))
}

/// What broke, and the input as a line of the corpus.
fn verdict(work: &Path, said: &str) -> String {
    let panic: Vec<_> = said.lines().skip_while(|line| !line.contains("panicked at")).take(4).collect();
    let written = said.lines().find_map(|line| line.rsplit_once("Test unit written to ")).map(|(_, path)| path);
    let input = written.and_then(|path| fs::read(work.join(path)).ok()).unwrap_or_default();
    let line: Vec<_> = input.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}\nthe input: {}", panic.join("\n"), line.concat())
}
