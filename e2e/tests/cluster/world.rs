//! The cluster that the tests share, started by the first test that runs.

use std::env;
use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock};

use anyhow::{Context, Result};
use e2e::cluster::{LocalCluster, Options, directory};
use e2e::harness::Kubernetes;
use e2e::host::{self, SKIP, skip_is_set};
use e2e::images::{Destination, Images};
use e2e::programs::Profile;
use e2e::progress::{Progress, show_progress};

const KUBECONFIG: &str = "MILLRACE_E2E_KUBECONFIG";
const REGISTRY: &str = "MILLRACE_E2E_REGISTRY";
const KEEP: &str = "MILLRACE_E2E_KEEP";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    AnyCluster,
    /// Access to the machines below Kubernetes, which only the local cluster gives.
    Nodes,
    /// As `Nodes`, and no other test at the same time: nodes die, and the API server.
    NodesAlone,
}

/// Why a test is left out, if it is.
pub(crate) fn left_out(needs: Needs) -> Option<&'static str> {
    if skip_is_set() {
        return Some("MILLRACE_E2E_SKIP_CLUSTER=1 leaves out all tests on a Kubernetes");
    }
    (needs != Needs::AnyCluster && env::var_os(KUBECONFIG).is_some())
        .then_some("it works on the nodes themselves, which the cluster of MILLRACE_E2E_KUBECONFIG does not give")
}

#[derive(Debug)]
pub(crate) struct World {
    pub kubernetes: Kubernetes,
    local: Option<LocalCluster>,
}

/// What these tests have created and `leave` removes, even if incomplete.
#[derive(Debug)]
enum Made {
    LocalCluster,
    Operator(Kubernetes),
}

static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
static MADE: OnceLock<Made> = OnceLock::new();
/// Locked for writing by tests that must run alone.
static PRESENT: RwLock<()> = RwLock::new(());

impl World {
    pub(crate) fn shared() -> Result<&'static Self, String> {
        let world = WORLD.get_or_init(|| {
            show_progress();
            Self::enter().map_err(|error| format!("{error:#}\n({SKIP}=1 leaves out all tests on a Kubernetes)"))
        });
        world.as_ref().map_err(Clone::clone)
    }

    /// Runs a test beside others, or alone.
    pub(crate) fn take_part(&self, needs: Needs, test: fn(&Self) -> Result<()>) -> Result<()> {
        if needs == Needs::NodesAlone {
            let _alone = PRESENT.write().unwrap_or_else(PoisonError::into_inner);
            test(self)
        } else {
            let _present = PRESENT.read().unwrap_or_else(PoisonError::into_inner);
            test(self)
        }
    }

    fn enter() -> Result<Self> {
        let progress = Progress::start();
        match env::var_os(KUBECONFIG) {
            Some(kubeconfig) => Self::existing(Path::new(&kubeconfig), &progress),
            None => Self::local(&progress),
        }
    }

    fn existing(kubeconfig: &Path, progress: &Progress) -> Result<Self> {
        let registry = env::var(REGISTRY)
            .with_context(|| format!("{REGISTRY} must name a registry that the cluster pulls from"))?;
        let kubernetes = Kubernetes::existing(kubeconfig);
        progress.note(format_args!(
            "using the context {} of {}",
            kubernetes.kubectl("config current-context")?.trim(),
            kubeconfig.display()
        ));
        kubernetes.require_no_operator()?;
        let images = Images::deliver(Destination::Registry(&registry), Profile::Dev, progress)?;
        MADE.get_or_init(|| Made::Operator(kubernetes.clone()));
        kubernetes.install_operator(&images, progress)?;
        Ok(Self { kubernetes, local: None })
    }

    fn local(progress: &Progress) -> Result<Self> {
        host::prepare(&[host::CLUSTER_TOOLS, host::CLIENT_TOOLS].concat(), progress)?;
        let program = env!("CARGO_BIN_EXE_local-kubernetes").into();
        let cluster = LocalCluster::up(&Options { directory: directory(), nodes: 3, program }, progress)?;
        if cluster.started_here() {
            MADE.get_or_init(|| Made::LocalCluster);
        }
        let kubernetes = Kubernetes::local(&cluster);
        let images = Images::deliver(Destination::Nodes(&cluster), Profile::Dev, progress)?;
        kubernetes.install_operator(&images, progress)?;
        Ok(Self { kubernetes, local: Some(cluster) })
    }

    /// Takes the local cluster down if these tests started it, and the operator out of another one.
    pub(crate) fn leave() -> Result<()> {
        let keep = env::var_os(KEEP).is_some_and(|value| value == "1");
        match MADE.get() {
            Some(Made::LocalCluster) if !keep => LocalCluster::down(&directory(), &Progress::start()),
            Some(Made::Operator(kubernetes)) if !keep => kubernetes.uninstall_operator(),
            _ => Ok(()),
        }
    }

    pub(crate) fn nodes(&self) -> Result<&LocalCluster> {
        self.local.as_ref().context("this is not the local cluster")
    }

    /// A separate namespace for each test, in which Kubernetes admits only pods without special privileges. If the
    /// test fails it is kept as long as the cluster: a cluster that the tests started is removed with them, unless
    /// `MILLRACE_E2E_KEEP=1`.
    pub(crate) fn in_namespace(&self, name: &str, test: impl FnOnce(&Kubernetes) -> Result<()>) -> Result<()> {
        self.kubernetes.kubectl(&format!("delete namespace {name} --ignore-not-found"))?;
        self.kubernetes.kubectl(&format!("create namespace {name}"))?;
        self.kubernetes.kubectl(&format!("label namespace {name} pod-security.kubernetes.io/enforce=restricted"))?;
        test(&self.kubernetes).with_context(|| format!("in namespace {name}"))?;
        self.kubernetes.kubectl(&format!("delete namespace {name} --wait=false")).map(drop)
    }
}
