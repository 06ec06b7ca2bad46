//! From an empty machine to a Kafka cluster that survives the loss of its pod, step by step.

use std::net::TcpStream;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::binaries::{BUILD_EXPECTED, Binaries};
use e2e::cluster::{Internal, LocalCluster, Options, addresses, directory};
use e2e::harness::{DEMO_MANIFEST, Kubernetes};
use e2e::images::{Destination, Images};
use e2e::programs::Profile;
use e2e::progress::{Progress, show_progress, spoken};
use e2e::{clients, command, host};

const NAMESPACE: &str = "default";
const TOPIC: &str = "greetings";
const MESSAGES: [&str; 3] = ["one", "two", "three"];
const READY_AT_MOST: Duration = Duration::from_mins(2);

const LISTENERS: &str = concat!(
    "  listeners:\n",
    "    - name: clients\n",
    "      port: 9092\n",
    "    - name: outside\n",
    "      port: 9094\n",
    "      type: nodeport\n",
);

/// Shows Millrace on a real Kubernetes that it starts on this machine
#[derive(Debug, Parser)]
struct Cli {
    /// Remove the demo and its Kubernetes; installed packages and the caches in ~/.cache/millrace stay
    #[arg(long)]
    down: bool,
    /// Compile without optimisation: saves minutes, for slower and larger programs
    #[arg(long)]
    dev: bool,
    #[command(subcommand)]
    internal: Option<Internal>,
}

fn main() -> ExitCode {
    // The alias `cargo demo` ends in `--`; a second one, as other commands need it, is not an argument.
    let arguments = std::env::args_os().enumerate().filter(|(at, argument)| *at != 1 || argument != "--");
    let cli = Cli::parse_from(arguments.map(|(_, argument)| argument));
    show_progress();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let progress = Progress::start();
    match &cli.internal {
        Some(internal) => internal.run(),
        None if cli.down => LocalCluster::down(&directory(), &progress),
        None => demonstrate(cli, &progress),
    }
}

fn demonstrate(cli: &Cli, progress: &Progress) -> Result<()> {
    say_what_is_needed(progress)?;
    host::prepare(&[host::CLUSTER_TOOLS, host::CLIENT_TOOLS].concat(), progress)?;
    let options = Options { directory: directory(), nodes: 1, program: std::env::current_exe()? };
    let cluster = LocalCluster::up(&options, progress)?;
    let kubernetes = Kubernetes::local(&cluster);
    let profile = if cli.dev { Profile::Dev } else { Profile::Release };
    let images = Images::deliver(Destination::Nodes(&cluster), profile, progress)?;
    kubernetes.install_operator(&images, progress)?;
    remove_former(&kubernetes, progress)?;
    let ready_after = apply(&kubernetes, progress)?;
    let address = open_to_the_outside(&kubernetes, progress)?;
    produce(&address, progress)?;
    consume(&address, progress)?;
    lose_the_pod(&kubernetes, progress)?;
    consume(&address, progress)?;
    say_what_next(&cluster, &address, ready_after, progress);
    Ok(())
}

fn say_what_is_needed(progress: &Progress) -> Result<()> {
    let packages = [host::missing_packages(host::CLUSTER_TOOLS), host::missing_packages(host::CLIENT_TOOLS)].concat();
    let packages = if packages.is_empty() { "none are missing".to_owned() } else { packages.join(" ") };
    let kubernetes = match Binaries::cached()? {
        Some(built) => format!("compiled already, in {}", built.directory().display()),
        None => format!("compiled now, once: about {} and 4 GB for it and Go's caches", spoken(BUILD_EXPECTED)),
    };
    progress.note("This demo needs");
    progress.note("  root           for namespaces, mounts and cgroups; `cargo demo --down` removes all of them");
    progress.note("                 (packages and the caches in ~/.cache/millrace stay)");
    progress.note(format_args!("  packages       {packages}"));
    progress.note(format_args!("  Kubernetes     {kubernetes}"));
    progress.note(format_args!(
        "  address ranges {}, which nothing here may use; checked now",
        addresses::RANGES.join(", ")
    ));
    Ok(())
}

/// A second run also begins from nothing.
fn remove_former(kubernetes: &Kubernetes, progress: &Progress) -> Result<()> {
    if kubernetes.kubectl("get kafkacluster demo").is_err() {
        return Ok(());
    }
    progress.step("remove the cluster of the last run and its volume", Duration::from_secs(10), || {
        kubernetes.kubectl("delete kafkacluster demo")?;
        kubernetes.kubectl("wait pod/demo-0 --for=delete --timeout=60s")?;
        kubernetes.kubectl("delete pvc data-demo-0 --ignore-not-found").map(drop)
    })
}

/// Returns how long it took from the manifest to a cluster that serves.
fn apply(kubernetes: &Kubernetes, progress: &Progress) -> Result<Duration> {
    progress.note(format_args!("kubectl apply of these eight lines:\n\n{}", indented(DEMO_MANIFEST)));
    let began = Instant::now();
    progress.step("wait until the cluster is Ready", Duration::from_secs(20), || {
        kubernetes.apply(NAMESPACE, DEMO_MANIFEST)?;
        kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)
    })?;
    Ok(began.elapsed())
}

fn open_to_the_outside(kubernetes: &Kubernetes, progress: &Progress) -> Result<String> {
    progress.note(format_args!(
        "A listener for clients outside of Kubernetes; these lines are added:\n\n{}",
        indented(LISTENERS)
    ));
    let address = progress.step("wait for the new listener", Duration::from_secs(20), || {
        kubernetes.apply(NAMESPACE, &format!("{DEMO_MANIFEST}{LISTENERS}"))?;
        let address = kubernetes.bootstrap(NAMESPACE, "demo", "outside")?;
        kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)?;
        // kube-proxy learns of a ready pod a moment after the operator does.
        command::retry(READY_AT_MOST, || Ok(TcpStream::connect(&address)?))?;
        Ok(address)
    })?;
    progress.note(format_args!("  its address in status: {address}"));
    Ok(address)
}

fn produce(address: &str, progress: &Progress) -> Result<()> {
    progress.step(format!("produce: kcat -b {address} -t {TOPIC} -p 0 -P"), Duration::from_secs(2), || {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", address, "-t", TOPIC, "-p", "0", "-P", "-X", "message.timeout.ms=30000"]);
        command::output_with_input(&mut kcat, &format!("{}\n", MESSAGES.join("\n"))).map(drop)
    })
}

fn consume(address: &str, progress: &Progress) -> Result<()> {
    let read = progress.step(
        format!("consume: kcat -b {address} -t {TOPIC} -C -p 0 -o beginning -e"),
        Duration::from_secs(2),
        || {
            let read = clients::consume_all(address, TOPIC)?;
            ensure!(read == MESSAGES, "expected {MESSAGES:?}, but read {read:?}");
            Ok(read)
        },
    )?;
    progress.note(format_args!("  read: {}", read.join(", ")));
    Ok(())
}

fn lose_the_pod(kubernetes: &Kubernetes, progress: &Progress) -> Result<()> {
    progress.step("kubectl delete pod demo-0, and wait until its successor serves", Duration::from_secs(15), || {
        kubernetes.kubectl("delete pod demo-0 --wait=true")?;
        command::retry(READY_AT_MOST, || kubernetes.kubectl("wait pod/demo-0 --for=condition=Ready --timeout=30s"))
            .context("the pod did not come back")?;
        kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)
    })
}

fn say_what_next(cluster: &LocalCluster, address: &str, ready_after: Duration, progress: &Progress) {
    progress.note(format_args!(
        "Done. From the eight lines to a serving cluster: {}. The data outlived the pod.

To go on:
  export KUBECONFIG={kubeconfig}
  export PATH=$PATH:{binaries}
  kubectl get kc                                   the cluster and how it is
  kubectl describe kc demo                         what the operator says about it
  kubectl patch kc demo --type merge -p '{{\"spec\":{{\"config\":{{\"log.retention.hour\":48}}}}}}'
                                                   a mistake, and what comes of it
  kcat -b {address} -L                      the cluster as a client sees it

To remove all of it:
  cargo demo --down                                packages and ~/.cache/millrace stay",
        spoken(ready_after),
        kubeconfig = cluster.kubeconfig().display(),
        binaries = cluster.program("").display(),
    ));
}

fn indented(text: &str) -> String {
    format!("    {}\n", text.trim_end().replace('\n', "\n    "))
}
