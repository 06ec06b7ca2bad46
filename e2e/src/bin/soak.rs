//! Looks for faults for a given time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum as _};
use e2e::programs;
use e2e::progress::{Progress, show_progress};
use e2e::soak::{self, Options, Part};

/// Fuzzes, repeats the property tests with other cases, simulates the quorum and the cluster, kills a broker under
/// load, and exposes three brokers to machine faults, for longer than a test run may take
///
/// Faults and power cuts need root: each broker gets its own network namespace and file system.
///
/// Compiles the fuzz targets with instrumentation into target/soak, where inputs that it finds are kept, too.
#[derive(Debug, Parser)]
#[command(after_help = "The last line is `N passed, N failed`. Exit codes: 0 all passed; 1 something failed, with \
                        what it takes to repeat it; 2 wrong usage")]
struct Cli {
    /// Run only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// How long each of the four fuzz targets runs
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    fuzz_seconds: u64,
    /// How many schedules of the simulated quorum are run
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    quorum_schedules: u64,
    /// How many runs of the simulated cluster are made
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    cluster_runs: u64,
    /// How often the broker is killed
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: u32,
    /// How many fault runs of three brokers are made
    #[arg(long, value_name = "N", default_value_t = 20)]
    fault_runs: u32,
    /// How long faults are injected in each of these runs
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    fault_seconds: u64,
    /// How often one of three brokers loses its power
    #[arg(long, value_name = "N", default_value_t = 50)]
    power_cuts: u32,
    /// A broker to kill instead of the one of this checkout
    #[arg(long, value_name = "FILE", value_parser = programs::given)]
    broker: Option<PathBuf>,
    /// Seed of all random choices, to repeat an earlier run; derived from the clock by default
    #[arg(long)]
    seed: Option<u64>,
    /// A file with a line for each run: those that have passed are not run again
    #[arg(long, value_name = "FILE", requires = "seed")]
    journal: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "the closing line is what the command was asked for")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    show_progress();
    let progress = Progress::start();
    let seed = cli.seed.unwrap_or_else(seed_of_now);
    progress.note(format_args!("seed {seed}"));
    let options = Options {
        seed,
        fuzz_for: Duration::from_secs(cli.fuzz_seconds),
        quorum_schedules: cli.quorum_schedules,
        cluster_runs: cli.cluster_runs,
        kills: cli.kills,
        fault_runs: cli.fault_runs,
        faults_for: Duration::from_secs(cli.fault_seconds),
        power_cuts: cli.power_cuts,
        broker: cli.broker,
        journal: cli.journal,
    };
    let parts = if cli.only.is_empty() { Part::value_variants() } else { &cli.only };
    match soak::run(parts, &options, &progress) {
        Ok(tally) => {
            println!("{} passed, {} failed", tally.passed, tally.failed);
            if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            tracing::error!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
