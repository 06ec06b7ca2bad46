//! Measures Millrace against Apache Kafka and prints one table of ratios.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum as _};
use e2e::figures::build;
use e2e::figures::kafka::{Comparison, Name, Options, compare};
use e2e::programs;
use e2e::progress::{Progress, show_progress};

/// Measures Millrace against Apache Kafka 4.3.1 from Maven: one broker each, or three, the same configuration and
/// clients, interleaved
///
/// It needs two quiet cores, 8 GB of memory and 20 GB of disk beside the program, and takes some hours in all; Java
/// and Maven are installed if they are missing. A round disturbed by the host or other work is repeated, at most as
/// often as rounds were requested.
///
/// Exit codes: 0 if every target is met; 1 if one is missed; 2 for a wrong command line; 3 if something could not be
/// measured or a broker answered wrongly.
#[derive(Debug, Parser)]
#[command(verbatim_doc_comment)]
struct Cli {
    /// Measure only these groups of rows
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Name>,
    /// How often each contender is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Leave out Kafka with a small heap and more recovery threads
    #[arg(long)]
    without_tuned: bool,
    /// Scale all sizes by a factor between 0 and 1: shows that everything runs, and measures nothing
    #[arg(long, value_name = "PART", default_value_t = 1.0)]
    scale: f64,
    /// A broker to measure instead of the release build of this checkout
    #[arg(long, value_name = "FILE", value_parser = programs::given)]
    broker: Option<PathBuf>,
    /// Also write every reading to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const TARGET_MISSED: u8 = 1;
const NOT_MEASURED: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    show_progress();
    match run(&cli) {
        Ok(comparison) if !comparison.is_complete() => ExitCode::from(NOT_MEASURED),
        Ok(comparison) if !comparison.holds() => ExitCode::from(TARGET_MISSED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("error: {error:#}");
            ExitCode::from(NOT_MEASURED)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the command was asked for")]
fn run(cli: &Cli) -> Result<Comparison> {
    let progress = Progress::start();
    let program = cli.broker.clone().map_or_else(|| build(&progress), Ok)?;
    let names = if cli.only.is_empty() { Name::value_variants() } else { &cli.only };
    let options =
        Options { names: names.to_vec(), pairs: cli.pairs.into(), scale: cli.scale, tuned: !cli.without_tuned };
    let comparison = compare(&program, &options, &progress)?;
    println!("{}", comparison.table());
    if let Some(file) = &cli.json {
        fs::write(file, format!("{:#}\n", comparison.json()))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(comparison)
}
