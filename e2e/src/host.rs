//! What the machine needs to run a cluster. Everything missing is reported in one message.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cluster::addresses;
use crate::cluster::cgroups::Cgroups;
use crate::command;
use crate::progress::Progress;

/// Where distributions put the CNI plugins.
const CNI_DIRECTORIES: &[&str] = &["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Where a compiler looks for headers.
const INCLUDE_DIRECTORIES: &[&str] =
    &["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"];

/// A program or a header, its location if not on the path, and its Debian package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    program: &'static str,
    directories: &'static [&'static str],
    package: &'static str,
}

pub const CLUSTER_TOOLS: &[Tool] = &[
    on_path("containerd", "containerd"),
    on_path("ctr", "containerd"),
    on_path("runc", "runc"),
    Tool { program: "host-local", directories: CNI_DIRECTORIES, package: "containernetworking-plugins" },
    on_path("nft", "nftables"),
    on_path("ip", "iproute2"),
    on_path("mkfs.xfs", "xfsprogs"),
    on_path("unshare", "util-linux"),
    on_path("losetup", "mount"),
    on_path("buildah", "buildah"),
];

/// For brokers in network namespaces, with separate file systems.
pub const FLEET_TOOLS: &[Tool] = &[
    on_path("ip", "iproute2"),
    on_path("nft", "nftables"),
    on_path("nsenter", "util-linux"),
    on_path("mkfs.ext4", "e2fsprogs"),
    on_path("xfs_io", "xfsprogs"),
    on_path("losetup", "mount"),
];

pub const CLIENT_TOOLS: &[Tool] = &[on_path("kcat", "kcat")];

pub const PIP: &[Tool] = &[on_path("pip3", "python3-pip")];

pub const JAVA: &[Tool] = &[on_path("java", "default-jdk-headless")];
pub const JAVA_AND_MAVEN: &[Tool] = &[on_path("java", "default-jdk-headless"), on_path("mvn", "maven")];

pub const LIBRDKAFKA: &[Tool] = &[
    on_path("gcc", "gcc"),
    on_path("g++", "g++"),
    on_path("make", "make"),
    header("openssl/ssl.h", "libssl-dev"),
    header("rapidjson/schema.h", "rapidjson-dev"),
    header("zlib.h", "zlib1g-dev"),
    header("zstd.h", "libzstd-dev"),
];

const fn on_path(program: &'static str, package: &'static str) -> Tool {
    Tool { program, directories: &[], package }
}

const fn header(name: &'static str, package: &'static str) -> Tool {
    Tool { program: name, directories: INCLUDE_DIRECTORIES, package }
}

/// If set to 1, tests that this machine cannot run are left out.
pub const SKIP: &str = "MILLRACE_E2E_SKIP_CLUSTER";

pub fn skip_is_set() -> bool {
    std::env::var_os(SKIP).is_some_and(|value| value == "1")
}

/// Installs what is missing and fails with everything else that prevents a cluster.
pub fn prepare(tools: &[Tool], progress: &Progress) -> Result<()> {
    require_root()?;
    install(tools, progress)?;
    let obstacles = obstacles();
    if !obstacles.is_empty() {
        bail!("this machine cannot run the local Kubernetes:\n  - {}", obstacles.join("\n  - "));
    }
    Ok(())
}

pub fn require_root() -> Result<()> {
    if !is_root() {
        bail!("root is needed: namespaces, mounts and cgroups are made for each node");
    }
    Ok(())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The packages that `install` would install.
pub fn missing_packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().filter(|tool| !present(tool)).map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

/// Why a cluster cannot run here although every tool is installed.
fn obstacles() -> Vec<String> {
    let mut found = Vec::new();
    if let Err(error) = Cgroups::detect() {
        found.push(format!("{error:#}"));
    }
    for (filesystem, used_for) in [("overlay", "containers"), ("xfs", "volumes with a real size limit")] {
        if !filesystem_known(filesystem) {
            found.push(format!(
                "the kernel has no {filesystem} file system (modprobe {filesystem}), needed for {used_for}"
            ));
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        found.push("/dev/loop-control is missing (modprobe loop), needed for volumes".to_owned());
    }
    if !bridges_filtered() {
        found.push(
            "the kernel does not filter what crosses a bridge (modprobe br_netfilter), needed for services".to_owned(),
        );
    }
    found.extend(addresses::conflicts().unwrap_or_else(|error| vec![format!("{error:#}")]));
    found
}

/// With apt-get, and only what is missing.
pub fn install(tools: &[Tool], progress: &Progress) -> Result<()> {
    let packages = missing_packages(tools);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_root() {
        bail!("not installed: {list} (Debian's package names); installing them needs root");
    }
    if !on_path_now("apt-get") {
        bail!("not installed: {list} (Debian's package names), and there is no apt-get; please install them");
    }
    progress.step(format!("install {list} with apt-get"), Duration::from_secs(30), || {
        apt("update")?;
        apt(&format!("install -y --no-install-recommends {list}"))
    })?;
    let still_missing: Vec<_> = tools.iter().filter(|tool| !present(tool)).map(|tool| tool.program).collect();
    if !still_missing.is_empty() {
        bail!("{list} installed, but still not found: {}", still_missing.join(", "));
    }
    Ok(())
}

fn apt(arguments: &str) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments.split_whitespace());
    command::output(&mut command).map(drop)
}

pub fn cni_directory() -> Option<PathBuf> {
    CNI_DIRECTORIES.iter().map(PathBuf::from).find(|directory| directory.join("host-local").is_file())
}

fn present(tool: &Tool) -> bool {
    match tool.directories {
        [] => on_path_now(tool.program),
        directories => directories.iter().any(|directory| Path::new(directory).join(tool.program).is_file()),
    }
}

fn on_path_now(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn filesystem_known(name: &str) -> bool {
    let listed = || {
        fs::read_to_string("/proc/filesystems")
            .is_ok_and(|all| all.lines().any(|line| line.ends_with(&format!("\t{name}"))))
    };
    listed() || (load_module(name) && listed())
}

fn bridges_filtered() -> bool {
    let there = || Path::new("/proc/sys/net/bridge").is_dir();
    there() || (load_module("br_netfilter") && there())
}

fn load_module(name: &str) -> bool {
    Command::new("modprobe").arg(name).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
