//! A node as seen from the machine: one init process in its own pid, mount, network, host name and IPC namespaces.
//! Killing that one process is the death of the node, with everything that ran in it; its disks stay in the node's
//! directory.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::LocalCluster;
use super::addresses::{DNS_SERVICE, NODES, NodeId, PODS};
use super::cgroups::Cgroups;
use super::processes::{self, ProcessRecord};
use crate::{command, host};

/// The name of the image that holds a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:1";

impl LocalCluster {
    /// Starts a node and returns when its services are being started.
    ///
    /// 1. `unshare` runs the init program in new namespaces;
    /// 2. it answers with its pid, as the machine counts it;
    /// 3. the machine connects the node's network namespace to the bridge;
    /// 4. a line on the init's standard input lets it continue.
    pub(super) fn start_node(&self, node: NodeId) -> Result<()> {
        Cgroups::detect()?.create(&self.layout, node)?;
        self.write_node_configuration(node)?;
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
                "--fork",
                "--propagation=private",
                "--kill-child=KILL",
                "--",
            ])
            .arg(&self.program)
            .args(["node-init", "--node", &node.0.to_string(), "--nodes", &self.nodes.to_string(), "--binaries"])
            .arg(self.binaries.directory())
            .arg("--directory")
            .arg(self.layout.root());
        processes::detach(&mut unshare, &self.layout.log(&node.to_string()))?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = processes::start(&mut unshare, &self.layout.record(&format!("{node}-parent")))?;
        let mut answer = String::new();
        BufReader::new(child.stdout.take().context("init has no output")?).read_line(&mut answer)?;
        let Ok(init) = answer.trim().parse() else {
            bail!("{node} did not start; see {}", self.layout.log(&node.to_string()).display());
        };
        ProcessRecord::of(init)?.write(&self.layout.record(&node.to_string()))?;
        super::machine::connect_node(node, init)?;
        writeln!(child.stdin.take().context("init has no input")?, "connected")?;
        Ok(())
    }

    /// A command that runs inside the node.
    fn in_node(&self, node: NodeId, program: &str) -> Result<Command> {
        let init = super::node_init(&self.layout, node)?.with_context(|| format!("{node} is not running"))?;
        Ok(enter(init, program))
    }

    /// Imports an OCI archive into every node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.canonicalize().with_context(|| format!("cannot find {}", archive.display()))?;
        for node in NodeId::all(self.nodes) {
            command::output(self.in_node(node, "ctr")?.args(["--namespace=k8s.io", "images", "import"]).arg(&archive))
                .with_context(|| format!("cannot import {} into {node}", archive.display()))?;
        }
        Ok(())
    }

    /// Whether every node has the image.
    pub fn has_image(&self, reference: &str) -> Result<bool> {
        for node in NodeId::all(self.nodes) {
            let listed =
                command::output(self.in_node(node, "ctr")?.args(["--namespace=k8s.io", "images", "list", "--quiet"]))?;
            if !listed.lines().any(|line| line == reference) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The process of a running container, on whichever node it is.
    pub fn container(&self, id: &str) -> Result<ContainerProcess> {
        for node in self.nodes() {
            let tasks = command::output(self.in_node(node, "ctr")?.args(["--namespace=k8s.io", "tasks", "list"]))?;
            let fields = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            if let Some(pid) =
                fields.filter(|fields| fields.first() == Some(&id)).find_map(|fields| fields.get(1)?.parse().ok())
            {
                return Ok(ContainerProcess { cluster: self.clone(), node, pid });
            }
        }
        bail!("container {id} runs on no node")
    }

    pub(super) fn wait_for_containerd(&self, node: NodeId) -> Result<()> {
        command::wait_for("containerd", Duration::from_mins(1), || {
            let mut ctr = self.in_node(node, "ctr")?;
            Ok(command::output(ctr.arg("version")).ok())
        })
        .map(drop)
        .with_context(|| self.log_to_see(node, "containerd"))
    }

    /// The log of a node's service, or of its init if that has died and the service with it.
    pub(super) fn log_to_see(&self, node: NodeId, service: &str) -> String {
        let alive = super::node_init(&self.layout, node).is_ok_and(|init| init.is_some());
        let log = if alive { format!("{node}-{service}") } else { node.to_string() };
        format!("see {}", self.layout.log(&log).display())
    }

    fn write_node_configuration(&self, node: NodeId) -> Result<()> {
        let directory = self.layout.node(node);
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))
        };
        write("containerd.toml", &containerd(&directory)?)?;
        write("cni/10-millrace.conflist", &cni(node).to_string())?;
        write("kubelet.yaml", &self.kubelet(node).to_string())?;
        write("kube-proxy.yaml", &self.kube_proxy(node).to_string())
    }

    fn kubelet(&self, node: NodeId) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node.address(),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.layout.certificate("ca")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.layout.certificate(&node.to_string()),
            "tlsPrivateKeyFile": self.layout.key(&node.to_string()),
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS_SERVICE],
            "resolvConf": "",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}/{node}", self.layout.name()),
            "enforceNodeAllocatable": [],
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "makeIPTablesUtilChains": false,
            "failSwapOn": false,
            // A machine without CAP_SYS_RESOURCE may not lower it.
            "oomScoreAdj": 0,
            // There is no registry to get a collected image back from, and the disk is not only ours.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
            // Node monitoring, shortened together with the controller manager's grace period.
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 8,
        })
    }

    fn kube_proxy(&self, node: NodeId) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": self.layout.kubeconfig("kube-proxy")},
            "hostnameOverride": node.to_string(),
            "oomScoreAdj": 0,
            "clusterCIDR": PODS,
            "detectLocalMode": "ClusterCIDR",
            "nodePortAddresses": [NODES],
            // Zero leaves the machine's own connection tracking settings alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        })
    }
}

/// A command in all namespaces of a node's init.
pub(super) fn enter(init: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &init.to_string(), "--all", "--", program]);
    command
}

/// The first process of a container, by its pid on the node.
#[derive(Debug, Clone)]
pub struct ContainerProcess {
    cluster: LocalCluster,
    node: NodeId,
    pid: u32,
}

impl ContainerProcess {
    /// SIGKILL, as the kernel does when memory runs out.
    pub fn kill(&self) -> Result<()> {
        self.run("kill", &format!("-KILL {}", self.pid)).map(drop)
    }

    pub fn resident_bytes(&self) -> Result<u64> {
        let status = self.run("cat", &format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has no memory")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number")?;
        Ok(kibibytes << 10)
    }

    /// Free bytes at a path in the container.
    pub fn available_bytes(&self, path: &str) -> Result<u64> {
        let stat = self.run("stat", &format!("--file-system --format=%a*%S /proc/{}/root{path}", self.pid))?;
        let (blocks, block) = stat.trim().split_once('*').with_context(|| format!("stat says {stat:?}"))?;
        let (blocks, block): (u64, u64) = (blocks.parse()?, block.parse()?);
        Ok(blocks * block)
    }

    fn run(&self, program: &str, arguments: &str) -> Result<String> {
        command::output(self.cluster.in_node(self.node, program)?.args(arguments.split_whitespace()))
    }
}

fn cni(node: NodeId) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "millrace",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                // Forgotten with the node, so that no address of a dead pod stays taken.
                "dataDir": "/run/cni-addresses",
                "ranges": [[{"subnet": node.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn containerd(directory: &Path) -> Result<String> {
    let plugins = host::cni_directory().context("the CNI plugins are not installed")?;
    Ok(format!(
        r#"version = 2
root = "{directory}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE runc may not give a container a lower score than its parent has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
"#,
        directory = directory.display(),
        plugins = plugins.display(),
    ))
}
