//! A real Kubernetes on this machine, for a while.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::cluster::{Internal, LocalCluster, Options, State, directory};
use e2e::progress::{Progress, show_progress};

/// Runs a real Kubernetes on this machine, as root, without a container engine or a registry
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed, with the reason; 2 wrong usage; 3 `status`: no cluster is running"
)]
struct Cli {
    /// The directory of the cluster
    #[arg(long, global = true, default_value_os_t = directory())]
    directory: PathBuf,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Start a cluster, or report that it is running
    Up {
        /// How many nodes, each with its own network, containerd and kubelet
        #[arg(long, default_value_t = 1)]
        nodes: u8,
    },
    /// Remove the cluster; installed packages and the caches in ~/.cache/millrace stay
    Down,
    /// Show the nodes and how to reach them
    Status,
    /// Print the path of the administrator's kubeconfig
    Kubeconfig,
    /// Import an OCI archive into every node
    LoadImage { file: PathBuf },
    #[command(flatten)]
    Internal(Internal),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    show_progress();
    run(&cli).unwrap_or_else(|error| {
        tracing::error!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "what the command was asked to print")]
fn run(cli: &Cli) -> Result<ExitCode> {
    let progress = Progress::start();
    match &cli.command {
        Cmd::Up { nodes } => {
            let program = std::env::current_exe()?;
            let cluster =
                LocalCluster::up(&Options { directory: cli.directory.clone(), nodes: *nodes, program }, &progress)?;
            println!("{}", description(&cluster));
        }
        Cmd::Down => LocalCluster::down(&cli.directory, &progress)?,
        Cmd::Status => return status(&cli.directory),
        Cmd::Kubeconfig => println!("{}", running(cli)?.kubeconfig().display()),
        Cmd::LoadImage { file } => running(cli)?.load_image(file)?,
        Cmd::Internal(internal) => internal.run()?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "what the command was asked to print")]
fn status(directory: &Path) -> Result<ExitCode> {
    let directory_shown = directory.display();
    match LocalCluster::state(directory)? {
        State::Running(cluster) => {
            println!("{}", description(&cluster));
            return Ok(ExitCode::SUCCESS);
        }
        State::Absent => println!("no cluster is running in {directory_shown}; `up` starts one"),
        State::Broken { ended } => println!(
            "the cluster in {directory_shown} is broken, these have ended: {}; `up` starts it anew, empty",
            ended.join(", ")
        ),
    }
    Ok(ExitCode::from(3))
}

fn running(cli: &Cli) -> Result<LocalCluster> {
    LocalCluster::attach(&cli.directory)?
        .with_context(|| format!("no cluster is running in {}; `up` starts one", cli.directory.display()))
}

fn description(cluster: &LocalCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().map(|node| format!("{node} {}", cluster.node_address(node))).collect();
    format!(
        "running, {}\n\n  export KUBECONFIG={}\n  {} get pods --all-namespaces",
        nodes.join(", "),
        cluster.kubeconfig().display(),
        cluster.program("kubectl").display()
    )
}
