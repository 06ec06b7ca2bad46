//! Kubernetes itself: one binary for etcd, the five components, CoreDNS and kubectl, one for helm, and the
//! pause program, compiled from the Go module in `e2e/kubernetes` and kept in the user's cache under the
//! hash of that module's files. No container registry and no download page takes part, only Go's module
//! proxy, whose contents `go.sum` pins.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::progress::{Progress, REMINDER_EVERY, spoken};

pub const KUBERNETES_VERSION: &str = "v1.34.4";

/// On two idle cores with empty caches; a fraction of a minute if Go has compiled the parts before.
pub const BUILD_EXPECTED: Duration = Duration::from_mins(12);

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes");
const MODULE_FILES: [&str; 5] = ["coredns.go", "go.mod", "go.sum", "main.go", "pause/main.go"];
const PARTS: [&str; 8] = [
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The binaries of this version of the module, if they were built before.
    pub fn cached() -> Result<Option<Self>> {
        let directory = cache_directory()?;
        Ok(directory.join("helm").is_file().then(|| Self::at(directory)))
    }

    pub fn build(progress: &Progress) -> Result<Self> {
        let directory = cache_directory()?;
        let (cache, _lock) = cache::lock(&directory, "kubernetes")?;
        if let Some(built) = Self::cached()? {
            return Ok(built);
        }
        let what = format!("compile Kubernetes {KUBERNETES_VERSION} and helm, once");
        progress.step(what, BUILD_EXPECTED, || compile(&cache, &directory, progress))?;
        Ok(Self { directory })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn cache_directory() -> Result<PathBuf> {
    let read = |file| fs::read(Path::new(MODULE).join(file)).with_context(|| format!("cannot read {MODULE}/{file}"));
    let files: Vec<_> = MODULE_FILES.into_iter().map(read).collect::<Result<_>>()?;
    cache::entry("kubernetes", files.into_iter().chain([linker_flags().into_bytes()]))
}

/// Builds beside the final directory, which appears complete and at once.
fn compile(cache: &Path, directory: &Path, progress: &Progress) -> Result<()> {
    let unfinished = tempfile::tempdir_in(cache)?;
    let log = cache.join("kubernetes-build.log");
    let began = Instant::now();
    for (output, package) in [("kubernetes", "."), ("helm", "helm.sh/helm/v3/cmd/helm"), ("pause", "./pause")] {
        let mut go = Command::new("go");
        go.current_dir(MODULE)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &linker_flags(), "-o"])
            .arg(unfinished.path().join(output))
            .arg(package);
        run_go(&mut go, &log, began, progress)?;
    }
    for part in PARTS {
        symlink("kubernetes", unfinished.path().join(part))?;
    }
    fs::rename(unfinished.keep(), directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn run_go(go: &mut Command, log: &Path, began: Instant, progress: &Progress) -> Result<()> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = go
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("cannot run `go`; Go 1.25 or newer is needed to compile Kubernetes")?;
    let mut reminded = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if REMINDER_EVERY <= reminded.elapsed() {
            reminded = Instant::now();
            progress.note(format_args!(
                "  compiling for {} of about {}",
                spoken(began.elapsed()),
                spoken(BUILD_EXPECTED)
            ));
        }
        thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<_> = said.lines().rev().take(20).collect();
        bail!(
            "go build failed, {status}; the end of {}:\n{}",
            log.display(),
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}

/// A component without a version refuses to work with the others, and helm to render charts for this one.
fn linker_flags() -> String {
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let kubernetes = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].map(|package| {
        format!(
            "-X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )
    });
    let helm = ["pkg/chartutil", "pkg/lint/rules"].map(|package| {
        let package = format!("helm.sh/helm/v3/{package}");
        format!("-X {package}.k8sVersionMajor={major} -X {package}.k8sVersionMinor={minor}")
    });
    format!("-s -w {} {}", kubernetes.join(" "), helm.join(" "))
}
