//! Measures the figures that the project promises and prints a table.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum as _};
use e2e::cluster::{Internal, LocalCluster, Options, directory};
use e2e::figures::row::{Row, table};
use e2e::figures::{self, Name};
use e2e::harness::Kubernetes;
use e2e::images::{Destination, Images};
use e2e::programs::{self, Profile};
use e2e::progress::{Progress, show_progress};

/// Measures one broker, then three, then on a real Kubernetes that is started on this machine, or already running
/// there
///
/// Exit codes: 0 if all figures hold; 1 if one does not, or could not be measured.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    internal: Option<Internal>,
    /// Measure only these broker figures, without Kubernetes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Name>,
    /// How often each fault happens; fewer than 20 are not significant
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// A broker to measure instead of the release build of this checkout
    #[arg(long, value_name = "FILE", value_parser = programs::given, requires = "only")]
    broker: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    show_progress();
    let outcome = match &cli.internal {
        Some(internal) => internal.run().map(|()| true),
        None => measure(&cli),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the figures hold.
fn measure(cli: &Cli) -> Result<bool> {
    let progress = Progress::start();
    let of_brokers = measure_brokers(cli, &progress)?;
    Ok(if cli.only.is_empty() { measure_on_kubernetes(&progress)? && of_brokers } else { of_brokers })
}

fn measure_brokers(cli: &Cli, progress: &Progress) -> Result<bool> {
    let program = cli.broker.clone().map_or_else(|| figures::build(progress), Ok)?;
    let names = if cli.only.is_empty() { Name::value_variants() } else { &cli.only };
    Ok(show(&figures::of_brokers(&program, names, cli.samples.into(), progress)?))
}

fn measure_on_kubernetes(progress: &Progress) -> Result<bool> {
    let program = std::env::current_exe()?;
    let cluster = LocalCluster::up(&Options { directory: directory(), nodes: 1, program }, progress)?;
    let measured = measure_in(&cluster, progress);
    if cluster.started_here() {
        progress.note(cluster.how_to_remove());
    }
    Ok(show(&measured?))
}

fn measure_in(cluster: &LocalCluster, progress: &Progress) -> Result<Vec<Row>> {
    let images = Images::deliver(Destination::Nodes(cluster), Profile::Release, progress)?;
    Kubernetes::local(cluster).install_operator(&images, progress)?;
    Ok([figures::kubernetes::measure(cluster)?, figures::images::measure(&images)].concat())
}

/// Prints the table. Returns whether all figures hold.
#[expect(clippy::print_stdout, reason = "the table is what the command was asked for")]
fn show(rows: &[Row]) -> bool {
    println!("{}\n", table(rows));
    rows.iter().all(Row::holds)
}
