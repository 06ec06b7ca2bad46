//! The control plane as plain processes of the machine, listening on its end of the bridge. Settings stay
//! at Kubernetes' defaults except that a dead node is noticed in seconds instead of most of a minute, and
//! that etcd, whose data lives as long as the cluster, does not sync its files.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::LocalCluster;
use super::addresses::{DNS_SERVICE, GATEWAY, SERVICES};
use super::processes::{self, ProcessRecord};
use crate::command;

const API_SERVER: &str = "kube-apiserver";
const BASE_OBJECTS: &str = include_str!("base.yaml");
const READY_AT_MOST: Duration = Duration::from_mins(2);

impl LocalCluster {
    pub(super) fn start_control_plane(&self) -> Result<()> {
        self.start_part("etcd", &etcd(self))?;
        self.start_api_server()?;
        self.start_part("kube-controller-manager", &controller_manager(self))?;
        self.start_part("kube-scheduler", &scheduler(self))?;
        command::output_with_input(self.kubectl().args(["apply", "--filename", "-"]), &base_objects())?;
        fs::write(self.layout.corefile(), corefile(self))?;
        self.start_part("coredns", &[format!("-conf={}", self.layout.corefile().display())])
    }

    /// Until `start_api_server` no object can be read or changed. What runs continues.
    pub fn kill_api_server(&self) -> Result<()> {
        let record = ProcessRecord::read(&self.layout.record(API_SERVER))?;
        record.context("the API server was never started")?.kill()
    }

    pub fn start_api_server(&self) -> Result<()> {
        self.start_part(API_SERVER, &api_server(self))?;
        self.wait_for_api()
    }

    fn start_part(&self, name: &str, arguments: &[String]) -> Result<()> {
        let mut part = Command::new(self.binaries.program(name));
        let part = processes::detach(part.args(arguments), &self.layout.log(name))?;
        processes::start(part, &self.layout.record(name)).map(drop)
    }

    fn wait_for_api(&self) -> Result<()> {
        command::wait_for("the API server", READY_AT_MOST, || {
            if let Some(dead) = self.dead_parts()?.first() {
                bail!("{dead} has ended; see {}", self.layout.log(dead).display());
            }
            let listening = TcpStream::connect((GATEWAY, 6443)).is_ok();
            Ok((listening && command::output(self.kubectl().args(["get", "--raw=/readyz"])).is_ok()).then_some(()))
        })
    }

    /// Parts of the control plane and nodes that were started and are no longer alive.
    pub(super) fn dead_parts(&self) -> Result<Vec<String>> {
        let records = processes::recorded(&self.layout.records())?;
        let dead = records.iter().filter(|(_, record)| !record.as_ref().is_some_and(ProcessRecord::is_alive));
        dead.map(|(file, _)| Ok(file.file_name().context("a record without a name")?.to_string_lossy().into_owned()))
            .collect()
    }
}

fn etcd(cluster: &LocalCluster) -> Vec<String> {
    let (clients, peers) = (format!("http://{GATEWAY}:2379"), format!("http://{GATEWAY}:2380"));
    vec![
        format!("--data-dir={}", cluster.layout.etcd().display()),
        "--name=default".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ]
}

fn api_server(cluster: &LocalCluster) -> Vec<String> {
    let layout = &cluster.layout;
    vec![
        format!("--etcd-servers=http://{GATEWAY}:2379"),
        format!("--bind-address={GATEWAY}"),
        format!("--advertise-address={GATEWAY}"),
        "--secure-port=6443".to_owned(),
        format!("--tls-cert-file={}", layout.certificate("kube-apiserver").display()),
        format!("--tls-private-key-file={}", layout.key("kube-apiserver").display()),
        format!("--client-ca-file={}", layout.certificate("ca").display()),
        format!("--kubelet-certificate-authority={}", layout.certificate("ca").display()),
        format!("--kubelet-client-certificate={}", layout.certificate("kubelet-client").display()),
        format!("--kubelet-client-key={}", layout.key("kubelet-client").display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", layout.service_account_public_key().display()),
        format!("--service-account-signing-key-file={}", layout.key("service-accounts").display()),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]
}

fn controller_manager(cluster: &LocalCluster) -> Vec<String> {
    let layout = &cluster.layout;
    vec![
        format!("--kubeconfig={}", layout.kubeconfig("kube-controller-manager").display()),
        format!("--bind-address={GATEWAY}"),
        format!("--root-ca-file={}", layout.certificate("ca").display()),
        format!("--service-account-private-key-file={}", layout.key("service-accounts").display()),
        "--use-service-account-credentials=true".to_owned(),
        "--allocate-node-cidrs=false".to_owned(),
        "--leader-elect=false".to_owned(),
        "--node-monitor-period=1s".to_owned(),
        "--node-monitor-grace-period=8s".to_owned(),
    ]
}

fn scheduler(cluster: &LocalCluster) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", cluster.layout.kubeconfig("kube-scheduler").display()),
        format!("--bind-address={GATEWAY}"),
        "--leader-elect=false".to_owned(),
    ]
}

/// As installed by kubeadm, but without forwarding out of the cluster.
fn corefile(cluster: &LocalCluster) -> String {
    let kubeconfig = cluster.layout.kubeconfig("coredns");
    format!(
        ".:53 {{
    bind {GATEWAY}
    errors
    ready {GATEWAY}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {}
        pods insecure
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
",
        kubeconfig.display()
    )
}

fn base_objects() -> String {
    BASE_OBJECTS
        .replace("${DNS_SERVICE}", &DNS_SERVICE.to_string())
        .replace("${GATEWAY}", &GATEWAY.to_string())
        .replace("${PROVISIONER}", super::provisioner::NAME)
}
