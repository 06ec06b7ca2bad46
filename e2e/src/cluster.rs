//! A real Kubernetes on one machine, without a container engine, a registry or a virtual machine.
//!
//! The control plane and DNS are processes of the machine, a node is one process in its own namespaces that runs
//! containerd, kubelet and kube-proxy, and volumes are files. All of it is below one directory, and everything
//! outside that directory is undone by `down`, whatever state a crash left it in.

pub mod addresses;
mod certificates;
pub mod cgroups;
mod control_plane;
mod init;
mod layout;
mod machine;
mod node;
mod outages;
pub(crate) mod processes;
mod provisioner;
mod quantity;
mod volumes;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::binaries::Binaries;
use crate::progress::Progress;
use crate::{command, host, images};
use addresses::{NODE_COUNT_MAX, NodeId};
use layout::Layout;
use node::PAUSE_IMAGE;
use processes::ProcessRecord;

pub use node::ContainerProcess;

/// Where the cluster lies unless `MILLRACE_KUBERNETES_DIRECTORY` says otherwise. Addresses are fixed, so a
/// second cluster on the same machine also needs a network namespace of its own.
pub fn directory() -> PathBuf {
    let default = || PathBuf::from("/var/lib/millrace-kubernetes");
    std::env::var_os("MILLRACE_KUBERNETES_DIRECTORY").map_or_else(default, PathBuf::from)
}

#[derive(Debug, Clone)]
pub struct Options {
    pub directory: PathBuf,
    pub nodes: u8,
    /// An executable that offers the [`Internal`] subcommands: nodes and the provisioner run it.
    pub program: PathBuf,
}

/// A running cluster.
#[derive(Debug, Clone)]
pub struct LocalCluster {
    layout: Layout,
    binaries: Binaries,
    program: PathBuf,
    nodes: u8,
    started_here: bool,
}

#[derive(Debug, Clone)]
pub enum State {
    Absent,
    /// Some of its parts have ended.
    Broken {
        ended: Vec<String>,
    },
    Running(LocalCluster),
}

/// The record of a cluster on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    nodes: u8,
    binaries: PathBuf,
    program: PathBuf,
}

/// The parts of a cluster that are this project's own programs. Not meant to be run by hand.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// The first process of a node
    #[command(hide = true)]
    NodeInit(init::NodeInit),
    /// The provisioner of volumes
    #[command(hide = true)]
    Provision(provisioner::Provision),
}

impl Internal {
    pub fn run(&self) -> Result<()> {
        match self {
            Self::NodeInit(init) => init.run(),
            Self::Provision(provision) => tokio::runtime::Runtime::new()?.block_on(provision.run()),
        }
    }
}

impl LocalCluster {
    /// Starts a cluster, or returns the one that is running.
    pub fn up(options: &Options, progress: &Progress) -> Result<Self> {
        host::require_root()?;
        let _lock = lock(&options.directory)?;
        if let Some(running) = Self::attach(&options.directory)? {
            if running.nodes < options.nodes {
                bail!(
                    "a cluster with {} node(s) is running, {} are asked for; take it down first",
                    running.nodes,
                    options.nodes
                );
            }
            return Ok(running);
        }
        if !(1..=NODE_COUNT_MAX).contains(&options.nodes) {
            bail!("{} nodes: from 1 to {NODE_COUNT_MAX} are possible", options.nodes);
        }
        let layout = Layout::new(&options.directory)?;
        layout.require_own()?;
        host::prepare(host::CLUSTER_TOOLS, progress)?;
        let binaries = Binaries::build(progress)?;
        clear(&layout).context("cannot clear away what a former cluster left")?;
        let program = options.program.clone();
        let cluster = Self { layout, binaries, program, nodes: options.nodes, started_here: true };
        cluster.start(progress).with_context(|| cluster.how_to_remove())?;
        Ok(cluster)
    }

    /// The cluster in `directory`, if all of it is running.
    pub fn attach(directory: &Path) -> Result<Option<Self>> {
        Ok(match Self::state(directory)? {
            State::Running(cluster) => Some(cluster),
            State::Absent | State::Broken { .. } => None,
        })
    }

    pub fn state(directory: &Path) -> Result<State> {
        let layout = Layout::new(directory)?;
        let Ok(description) = fs::read(layout.description()) else { return Ok(State::Absent) };
        let Ok(Description { nodes, binaries, program }) = serde_json::from_slice(&description) else {
            return Ok(State::Broken { ended: vec![format!("what {} said", layout.description().display())] });
        };
        let cluster = Self { layout, binaries: Binaries::at(binaries), program, nodes, started_here: false };
        let ended = cluster.dead_parts()?;
        Ok(if ended.is_empty() { State::Running(cluster) } else { State::Broken { ended } })
    }

    /// Removes every trace of the cluster in `directory`, running, crashed or half started.
    pub fn down(directory: &Path, progress: &Progress) -> Result<()> {
        host::require_root()?;
        let _lock = lock(directory)?;
        let layout = Layout::new(directory)?;
        // The bridge and the routes may be those of a cluster in another directory.
        if !layout.root().exists() {
            progress.note(format_args!("no local Kubernetes in {}: nothing to take down", layout.root().display()));
            return Ok(());
        }
        progress.step("take the local Kubernetes down", Duration::from_secs(4), || clear(&layout))
    }

    fn start(&self, progress: &Progress) -> Result<()> {
        progress.step("start the control plane", Duration::from_secs(9), || {
            self.layout.create(self.nodes)?;
            machine::save(&self.layout)?;
            machine::create_network()?;
            certificates::create(&self.layout, self.nodes)?;
            self.start_control_plane()?;
            self.start_provisioner()
        })?;
        progress.step(format!("start {} node(s)", self.nodes), Duration::from_secs(6), || {
            for node in NodeId::all(self.nodes) {
                self.start_node(node)?;
            }
            self.load_pause_image()?;
            self.wait_for_nodes()
        })?;
        let description = Description {
            nodes: self.nodes,
            binaries: self.binaries.directory().into(),
            program: self.program.clone(),
        };
        layout::write_whole(&self.layout.description(), &serde_json::to_string_pretty(&description)?)
    }

    fn start_provisioner(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("provision").arg("--directory").arg(self.layout.root());
        let command = processes::detach(&mut command, &self.layout.log("provisioner"))?;
        processes::start(command, &self.layout.record("provisioner")).map(drop)
    }

    fn load_pause_image(&self) -> Result<()> {
        for node in NodeId::all(self.nodes) {
            self.wait_for_containerd(node)?;
        }
        let image =
            images::Contents { program: &self.binaries.program("pause"), containerfile: images::PAUSE_CONTAINERFILE };
        self.load_image(image.archive(PAUSE_IMAGE)?.path())
    }

    fn wait_for_nodes(&self) -> Result<()> {
        for node in NodeId::all(self.nodes) {
            for condition in ["create", "condition=Ready"] {
                let arguments = format!("wait node/{node} --for={condition} --timeout=120s");
                command::output(self.kubectl().args(arguments.split(' ')))
                    .with_context(|| self.log_to_see(node, "kubelet"))?;
            }
        }
        Ok(())
    }

    /// Whether this value comes from the call of [`LocalCluster::up`] that started the cluster.
    pub fn started_here(&self) -> bool {
        self.started_here
    }

    /// For users who leave the cluster behind, complete or half started.
    pub fn how_to_remove(&self) -> String {
        format!(
            "the local Kubernetes in {directory} stays, its logs too; to remove it: \
             cargo local-kubernetes down --directory {directory}",
            directory = self.layout.root().display()
        )
    }

    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        NodeId::all(self.nodes)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The address of NodePorts.
    pub fn node_address(&self, node: NodeId) -> Ipv4Addr {
        node.address()
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    pub fn kubectl(&self) -> Command {
        self.client_program("kubectl")
    }

    pub fn helm(&self) -> Command {
        self.client_program("helm")
    }

    fn client_program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.program(name));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }
}

/// The pid of a node's init on the machine, if the node is alive.
fn node_init(layout: &Layout, node: NodeId) -> Result<Option<i32>> {
    let record = ProcessRecord::read(&layout.record(&node.to_string()))?;
    Ok(record.filter(ProcessRecord::is_alive).map(|record| record.pid))
}

/// One command at a time works on a cluster. The lock is outside of its directory, which comes and goes.
fn lock(directory: &Path) -> Result<File> {
    let file = format!("/run/{}.lock", Layout::new(directory)?.name());
    let lock = File::create(&file).with_context(|| format!("cannot create {file}"))?;
    lock.lock()?;
    Ok(lock)
}

/// Undoes everything, in the order of dependencies. Whatever does not exist is skipped.
fn clear(layout: &Layout) -> Result<()> {
    layout.require_own()?;
    for (file, record) in processes::recorded(&layout.records())? {
        let Some(record) = record else { continue };
        record.kill().with_context(|| format!("cannot end {}", file.display()))?;
    }
    machine::remove_network()?;
    machine::detach_loop_devices(layout)?;
    cgroups::Cgroups::detect()?.remove(layout)?;
    machine::restore(layout)?;
    layout.remove()
}
