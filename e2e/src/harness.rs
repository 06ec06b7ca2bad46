//! Kubernetes operations shared by demo, figures and tests: install the operator, apply manifests, wait, and check.
//! Uses kubectl and helm, as the operator's users do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::LocalCluster;
use crate::command;
use crate::images::Images;
use crate::progress::Progress;

pub const OPERATOR_NAMESPACE: &str = "millrace-system";

/// kubectl is a large program that starts anew for each check, on the machine that all nodes share.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

const RELEASE: &str = "millrace";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/millrace");

/// The manifest of the design, with as many brokers as one node can spread.
pub const DEMO_MANIFEST: &str = "\
apiVersion: millrace.dev/v1alpha1
kind: KafkaCluster
metadata:
  name: demo
spec:
  replicas: 1
  storage:
    size: 10Gi
";

/// A Kubernetes to work with: the kubeconfig's, and no other.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Kubernetes {
    pub fn local(cluster: &LocalCluster) -> Self {
        Self { kubeconfig: cluster.kubeconfig(), kubectl: cluster.program("kubectl"), helm: cluster.program("helm") }
    }

    /// An existing one, through the machine's own kubectl and helm.
    pub fn existing(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kubeconfig: kubeconfig.into(), kubectl: "kubectl".into(), helm: "helm".into() }
    }

    /// Runs kubectl with whitespace-separated arguments.
    pub fn kubectl(&self, arguments: &str) -> Result<String> {
        command::output(self.program(&self.kubectl).args(arguments.split_whitespace()))
    }

    pub fn helm(&self, arguments: &str) -> Result<String> {
        command::output(self.program(&self.helm).args(arguments.split_whitespace()))
    }

    /// Installs or upgrades the operator from the project's chart and waits until it runs.
    pub fn install_operator(&self, images: &Images, progress: &Progress) -> Result<()> {
        let values = [
            format!("image.repository={}", images.operator.repository),
            format!("image.tag={}", images.operator.tag),
            format!("brokerImage.repository={}", images.broker.repository),
            format!("brokerImage.tag={}", images.broker.tag),
        ]
        .join(",");
        let helm = format!(
            "upgrade --install {RELEASE} {CHART} --namespace {OPERATOR_NAMESPACE} --create-namespace --set {values} --wait --timeout 2m"
        );
        let what = "install the operator from charts/millrace with helm";
        progress.step(what, Duration::from_secs(10), || self.helm(&helm).map(drop))
    }

    /// Fails if an operator is installed, which an installation would replace.
    pub fn require_no_operator(&self) -> Result<()> {
        let found = self.helm(&format!(
            "list --all-namespaces --deployed --failed --pending --uninstalling --filter ^{RELEASE}$ --output yaml"
        ))?;
        ensure!(
            found.trim() == "[]",
            "this Kubernetes has a release {RELEASE} already, which is not to be replaced; \
             remove it with helm uninstall, or use another cluster:\n{found}"
        );
        Ok(())
    }

    pub fn uninstall_operator(&self) -> Result<()> {
        self.helm(&format!("uninstall {RELEASE} --namespace {OPERATOR_NAMESPACE} --wait")).map(drop)
    }

    pub fn chart() -> &'static Path {
        Path::new(CHART)
    }

    pub fn apply(&self, namespace: &str, manifest: &str) -> Result<String> {
        let mut kubectl = self.program(&self.kubectl);
        command::output_with_input(kubectl.args(["apply", "--namespace", namespace, "--filename", "-"]), manifest)
    }

    pub fn get(&self, namespace: &str, object: &str) -> Result<Value> {
        let text = self.kubectl(&format!("get {object} --namespace {namespace} --output json"))?;
        serde_json::from_str(&text).with_context(|| format!("kubectl's answer for {object} is not JSON"))
    }

    /// Waits until the cluster is Ready and nothing is left to do, in the generation that was applied last.
    pub fn wait_ready(&self, namespace: &str, cluster: &str, at_most: Duration) -> Result<()> {
        let seconds = at_most.as_secs();
        for condition in ["Reconciling=false", "Stalled=false", "Ready"] {
            self.kubectl(&format!(
                "wait kafkacluster/{cluster} --namespace {namespace} --for=condition={condition} --timeout={seconds}s"
            ))
            .with_context(|| self.why_not_ready(namespace, cluster))?;
        }
        Ok(())
    }

    /// The address of a listener as the cluster's status gives it.
    pub fn bootstrap(&self, namespace: &str, cluster: &str, listener: &str) -> Result<String> {
        command::wait_for(&format!("an address for the listener {listener}"), Duration::from_mins(1), || {
            let object = self.get(namespace, &format!("kafkacluster/{cluster}"))?;
            Ok(address(&object, listener))
        })
    }

    /// A condition: its status and message.
    pub fn condition(&self, namespace: &str, cluster: &str, kind: &str) -> Result<Option<(String, String)>> {
        let object = self.get(namespace, &format!("kafkacluster/{cluster}"))?;
        Ok(condition(&object, kind))
    }

    /// The one pod that a label selector finds, if its container runs.
    pub fn pod(&self, namespace: &str, selector: &str) -> Result<Pod> {
        let pods = self.get(namespace, &format!("pods --selector={selector}"))?;
        pod(&pods).with_context(|| format!("no running pod in {namespace} has {selector}"))
    }

    /// Waits until the pod matches and is Ready.
    pub fn wait_for_pod(
        &self,
        namespace: &str,
        selector: &str,
        at_most: Duration,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<Pod> {
        command::wait_for_every(LOOK_EVERY, &format!("the pod with {selector}"), at_most, || {
            let pod = pod(&self.get(namespace, &format!("pods --selector={selector}"))?);
            Ok(pod.filter(|pod| pod.ready && wanted(pod)))
        })
    }

    fn why_not_ready(&self, namespace: &str, cluster: &str) -> String {
        let message = self
            .condition(namespace, cluster, "Ready")
            .ok()
            .flatten()
            .map_or_else(|| "no status yet".to_owned(), |(_, message)| message);
        format!("KafkaCluster {namespace}/{cluster} did not become Ready: {message}")
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

/// Distinguishes one incarnation of a pod from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// The container runtime's id of the one container.
    pub container: String,
    pub restarts: u64,
    pub ready: bool,
}

fn pod(list: &Value) -> Option<Pod> {
    let pod = list["items"].as_array()?.first()?;
    let status = pod.pointer("/status/containerStatuses/0")?;
    status.pointer("/state/running")?;
    Some(Pod {
        name: pod.pointer("/metadata/name")?.as_str()?.to_owned(),
        uid: pod.pointer("/metadata/uid")?.as_str()?.to_owned(),
        container: status["containerID"].as_str()?.trim_start_matches("containerd://").to_owned(),
        restarts: status["restartCount"].as_u64()?,
        ready: status["ready"].as_bool()?,
    })
}

fn address(cluster: &Value, listener: &str) -> Option<String> {
    let entries = cluster.pointer("/status/bootstrap")?.as_array()?;
    let entry = entries.iter().find(|entry| entry["listener"] == listener)?;
    Some(entry["addresses"].get(0)?.as_str()?.to_owned())
}

fn condition(cluster: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = cluster.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}
