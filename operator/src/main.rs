//! `millrace-operator`: runs the operator, or writes the custom resource definitions.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use futures::future::pending;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use operator::admin::HttpBrokerAdmin;
use operator::controller::{self, Scope};
use operator::crd::crd_files;
use operator::health::{self, Ready};
use operator::metrics::Metrics;
use operator::observe::Reach;
use operator::reconcile::Context;
use operator::validate::Release;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

const LEASE_SECONDS: u64 = 15;
const LEASE_GRACE_SECONDS: u64 = 5;
const LEASE_RETRY: Duration = Duration::from_secs(2);

/// Runs Kafka clusters on Kubernetes. Without a command: `run`.
#[derive(Debug, Parser)]
#[command(name = "millrace-operator", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch KafkaClusters and run them.
    Run(RunArguments),
    /// Write the custom resource definitions, to files or to standard output.
    Crd {
        /// Directory to write into; may be given more than once.
        #[arg(long, value_name = "DIRECTORY")]
        output: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Namespaces to watch, separated by commas; without any all of them.
    #[arg(long, env = "MILLRACE_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    watch_namespaces: Vec<String>,
    /// Image of the brokers. Without tag and digest, each cluster's own version is the tag.
    #[arg(long, env = "MILLRACE_BROKER_IMAGE", default_value = "millrace-broker")]
    broker_image: String,
    /// Where probes and metrics are answered.
    #[arg(long, env = "MILLRACE_HEALTH_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    health_address: SocketAddr,
    /// Namespace of the Lease by which one of several instances is chosen; without it there is no choosing.
    #[arg(long, env = "MILLRACE_LEASE_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<String>,
    /// Name of that Lease: instances that share it share the work.
    #[arg(long, env = "MILLRACE_LEASE_NAME", default_value = "millrace-operator", value_name = "NAME")]
    lease_name: String,
    /// Name of this instance.
    #[arg(long, env = "POD_NAME", default_value = "millrace-operator")]
    instance: String,
    /// Whether there is a right to read nodes, which belong to no namespace. Without it brokers do not learn their
    /// zone, and a lost node is not told from a broker that starts slowly.
    #[arg(long, env = "MILLRACE_CLUSTER_SCOPED", action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    cluster_scoped: bool,
    /// How log lines look. RUST_LOG selects them.
    #[arg(long, env = "MILLRACE_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Crd { output }) => write_crds(&output),
        Some(Command::Run(arguments)) => run(arguments).await,
        None => run(cli.run).await,
    }
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn write_crds(directories: &[PathBuf]) -> anyhow::Result<()> {
    let files = crd_files()?;
    for file in &files {
        if directories.is_empty() {
            print!("---\n{}", file.yaml);
        }
        for directory in directories {
            let path = directory.join(file.name);
            std::fs::write(&path, &file.yaml).with_context(|| format!("could not write {}", path.display()))?;
        }
    }
    Ok(())
}

async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    start_logging(arguments.log_format);
    let client = Client::try_default().await.context("no way to reach Kubernetes")?;
    let context = Arc::new(context(client.clone(), &arguments));
    let stop = stop_on_signals()?;
    let ready = Ready::default();
    let serving = health::serve(arguments.health_address, ready.clone(), context.metrics.clone());
    info!(version = env!("CARGO_PKG_VERSION"), broker_image = arguments.broker_image, "operator starting");
    tokio::select! {
        served = serving => served.with_context(|| format!("could not serve probes on {}", arguments.health_address)),
        finished = lead(client, &arguments, context, ready, stop) => finished,
    }
}

fn context(client: Client, arguments: &RunArguments) -> Context {
    Context {
        client,
        instance: arguments.instance.clone(),
        admin: Box::new(HttpBrokerAdmin::default()),
        release: Release {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker_image: arguments.broker_image.clone(),
        },
        reach: if arguments.cluster_scoped { Reach::Nodes } else { Reach::Namespaces },
        metrics: Metrics::default(),
    }
}

/// Reconciles while this instance holds the Lease. Losing it ends the process: another instance has taken over.
async fn lead(
    client: Client,
    arguments: &RunArguments,
    context: Arc<Context>,
    ready: Ready,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(namespace) = &arguments.lease_namespace else {
        watch(arguments, &context, &ready, &stop).await;
        return Ok(());
    };
    let lease = &arguments.lease_name;
    let manager = tokio::select! {
        manager = lease_manager(&client, namespace, arguments) => manager,
        () = stop.cancelled() => return Ok(()),
    };
    let (mut leads, keeper) = manager.watch().await;
    let chosen = tokio::select! {
        chosen = leads.wait_for(|leads| *leads) => chosen.is_ok(),
        () = stop.cancelled() => false,
        () = stand_by(&ready) => false,
    };
    let lost = if chosen {
        info!("became leader");
        ready.set(false);
        tokio::select! {
            () = watch(arguments, &context, &ready, &stop) => false,
            _ = leads.wait_for(|leads| !*leads) => true,
        }
    } else {
        !stop.is_cancelled()
    };
    drop(leads);
    keeper.await?.context("could not give the lease back")?;
    if lost {
        anyhow::bail!("lost Lease {namespace}/{lease}")
    }
    info!("operator stopped");
    Ok(())
}

/// Repeated until the API server, which may come after the operator, gives the Lease or makes it.
async fn lease_manager(client: &Client, namespace: &str, arguments: &RunArguments) -> LeaseManager {
    let lease = &arguments.lease_name;
    loop {
        let manager = LeaseManagerBuilder::new(client.clone(), lease)
            .with_namespace(namespace)
            .with_identity(&arguments.instance)
            .with_duration(LEASE_SECONDS)
            .with_grace(LEASE_GRACE_SECONDS);
        match manager.build().await {
            Ok(manager) => return manager,
            Err(error) => warn!(%error, "could not use Lease {namespace}/{lease}; retrying"),
        }
        tokio::time::sleep(LEASE_RETRY).await;
    }
}

/// An instance that waits for the Lease is on standby, and ready. Never ends.
async fn stand_by(ready: &Ready) {
    tokio::time::sleep(Duration::from_secs(LEASE_SECONDS)).await;
    ready.set(true);
    pending::<()>().await;
}

async fn watch(arguments: &RunArguments, context: &Arc<Context>, ready: &Ready, stop: &CancellationToken) {
    let named = arguments.watch_namespaces.iter().filter(|name| !name.is_empty());
    let mut scopes: Vec<_> = named.cloned().map(Scope::Namespace).collect();
    if scopes.is_empty() {
        scopes.push(Scope::All);
    }
    controller::run(&scopes, context, ready, stop).await;
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopper.cancel();
    });
    Ok(stop)
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
