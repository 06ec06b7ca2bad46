//! The first process of a node. It creates the node's namespaces, starts containerd, the kubelet and kube-proxy,
//! restarts them when they end, and reaps orphans until it is killed.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, WaitOptions};
use tracing::{info, warn};

use super::addresses::{GATEWAY, NodeId, PODS, SERVICES, UNREACHABLE_METRIC};
use super::cgroups::Cgroups;
use super::layout::Layout;
use super::processes;
use crate::command;

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Directories of the node that it sees under their default paths.
pub(super) const BOUND: [(&str, &str); 3] =
    [("kubelet", "/var/lib/kubelet"), ("cni-results", "/var/lib/cni"), ("log", "/var/log")];

const RESTART_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct NodeInit {
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    binaries: PathBuf,
    #[arg(long)]
    node: u8,
    #[arg(long)]
    nodes: u8,
}

impl NodeInit {
    /// Returns only if the node cannot be started.
    pub fn run(&self) -> Result<()> {
        let node = NodeId(self.node);
        let layout = Layout::new(&self.directory)?;
        self.wait_for_network()?;
        Cgroups::detect()?.enter(&layout, node)?;
        mount_file_systems(&layout.node(node))?;
        rustix::system::sethostname(node.to_string().as_bytes()).context("cannot set the host name")?;
        self.configure_network(node)?;
        let mut services = self.services(node, &layout);
        services[0].start()?;
        command::wait_for("containerd's socket", Duration::from_mins(1), || {
            Ok(Path::new(CONTAINERD_SOCKET).exists().then_some(()))
        })?;
        for service in &mut services[1..] {
            service.start()?;
        }
        supervise(&mut services)
    }

    /// `/proc` still belongs to the machine, so it knows this process by the machine's pid.
    fn wait_for_network(&self) -> Result<()> {
        let pid = fs::read_link("/proc/self").context("cannot read /proc/self")?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", pid.display())?;
        stdout.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        if line.trim() != "connected" {
            bail!("the machine did not connect the network of node {}", self.node);
        }
        Ok(())
    }

    fn configure_network(&self, node: NodeId) -> Result<()> {
        let address = node.address();
        let others = NodeId::all(self.nodes).filter(|other| *other != node);
        let own = [
            "link set lo up".to_owned(),
            format!("address add {address}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add unreachable {PODS} metric {UNREACHABLE_METRIC}"),
            // Only so that connect() finds a route before the destination is translated.
            format!("route add {SERVICES} via {GATEWAY}"),
        ];
        for arguments in
            own.into_iter().chain(others.map(|other| format!("route add {} via {}", other.pods(), other.address())))
        {
            command::run("ip", &arguments)?;
        }
        for (setting, value) in
            [("ipv4/ip_forward", "1"), ("bridge/bridge-nf-call-iptables", "1"), ("ipv4/conf/all/rp_filter", "0")]
        {
            fs::write(Path::new("/proc/sys/net").join(setting), value)
                .with_context(|| format!("cannot set net/{setting}; is the module br_netfilter loaded?"))?;
        }
        Ok(())
    }

    fn services(&self, node: NodeId, layout: &Layout) -> [Service; 3] {
        let directory = layout.node(node);
        let binaries = &self.binaries;
        let service = |name: &'static str, program: PathBuf, arguments: Vec<String>| Service {
            name,
            program,
            arguments,
            log: layout.log(&format!("{node}-{name}")),
            pid: None,
        };
        let containerd = vec![format!("--config={}/containerd.toml", directory.display())];
        let kubelet = vec![
            format!("--config={}/kubelet.yaml", directory.display()),
            format!("--kubeconfig={}", layout.kubeconfig(&node.to_string()).display()),
            format!("--hostname-override={node}"),
            format!("--node-ip={}", node.address()),
            format!("--node-labels=topology.kubernetes.io/zone={}", node.zone()),
        ];
        let proxy = vec![format!("--config={}/kube-proxy.yaml", directory.display())];
        [
            service("containerd", "containerd".into(), containerd),
            service("kubelet", binaries.join("kubelet"), kubelet),
            service("kube-proxy", binaries.join("kube-proxy"), proxy),
        ]
    }
}

fn mount_file_systems(directory: &Path) -> Result<()> {
    let hidden = MountFlags::NOSUID | MountFlags::NODEV;
    mount("proc", "/proc", "proc", hidden | MountFlags::NOEXEC, None).context("cannot mount /proc")?;
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context("cannot share mounts")?;
    mount("run", "/run", "tmpfs", hidden, Some(c"mode=755")).context("cannot mount /run")?;
    for (source, target) in BOUND {
        fs::create_dir_all(target)?;
        mount_bind(directory.join(source), target).with_context(|| format!("cannot bind {target}"))?;
        // By way of private, otherwise what is mounted below the target would also appear below the source.
        for propagation in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
            mount_change(target, propagation).with_context(|| format!("cannot share {target}"))?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Service {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    pid: Option<Pid>,
}

impl Service {
    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        let child = processes::detach(command.args(&self.arguments), &self.log)?
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.pid = Some(Pid::from_child(&child));
        info!("{} started", self.name);
        Ok(())
    }
}

/// Reaps whatever ends. If a service ends that is a failure; it is restarted after a pause.
fn supervise(services: &mut [Service]) -> Result<()> {
    loop {
        let Some((pid, status)) = rustix::process::wait(WaitOptions::empty())? else { continue };
        if let Some(service) = services.iter_mut().find(|service| service.pid == Some(pid)) {
            warn!("{} ended: {status:?}", service.name);
            thread::sleep(RESTART_DELAY);
            service.start()?;
        }
    }
}
