//! Three brokers on three nodes. Producers with acks=all write, and readers read, all the time: whatever happens around
//! the brokers, no record fails and none is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::addresses::NodeId;
use e2e::command;
use e2e::harness::{Kubernetes, OPERATOR_NAMESPACE, Pod};
use e2e::soak::checked::under_checked_load;
use serde_json::Value;

use crate::survival::{READY_AT_MOST, SELECTOR};
use crate::world::World;

const MANIFEST: &str = "\
apiVersion: millrace.dev/v1alpha1
kind: KafkaCluster
metadata:
  name: demo
spec:
  replicas: 3
  storage:
    size: 1Gi
    deleteClaim: true
  config:
    num.partitions: 3
  listeners:
    - name: outside
      port: 9094
      type: nodeport
";
/// Any other would do.
const SEED: u64 = 1;
const SETTLED_AT_MOST: Duration = Duration::from_mins(3);

pub(crate) fn come_from_eight_lines(world: &World) -> Result<()> {
    let namespace = "e2e-three-brokers";
    world.in_namespace(namespace, |kubernetes| {
        kubernetes.apply(namespace, &e2e::harness::DEMO_MANIFEST.replace("replicas: 1", "replicas: 3"))?;
        kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
        let status = status(kubernetes, namespace)?;
        ensure!(status["readyReplicas"] == 3, "{status:#}");
        ensure!(status["controller"].is_u64(), "no controller is told: {status:#}");
        ensure!(status["voters"].as_array().is_some_and(|voters| voters.len() == 3), "not three voters: {status:#}");
        for field in ["node", "zone", "directoryId"] {
            let brokers = status["brokers"].as_array().into_iter().flatten();
            let values: BTreeSet<_> = brokers.filter_map(|broker| broker[field].as_str()).collect();
            ensure!(values.len() == 3, "brokers do not have a {field} each: {status:#}");
        }
        Ok(())
    })
}

pub(crate) fn lose_no_record(world: &World) -> Result<()> {
    let namespace = "e2e-three-under-load";
    world.in_namespace(namespace, |kubernetes| {
        kubernetes.apply(namespace, MANIFEST)?;
        kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
        let trial = Trial { world, kubernetes, namespace };
        under_checked_load(&trial.bootstrap()?, SEED, || {
            trial.pod_deleted().context("while a pod was deleted")?;
            trial.node_dies_and_returns().context("while a node was dead")?;
            trial.node_drained().context("while a node was drained")?;
            trial.options_changed().context("while the brokers were restarted for another option")?;
            trial.operator_away().context("while the operator was away")?;
            trial.api_server_away().context("while the API server was away")
        })
        .map(drop)
    })
}

struct Trial<'a> {
    world: &'a World,
    kubernetes: &'a Kubernetes,
    namespace: &'a str,
}

impl Trial<'_> {
    fn bootstrap(&self) -> Result<String> {
        let status = status(self.kubernetes, self.namespace)?;
        let addresses = status["bootstrap"][0]["addresses"].as_array().context("no addresses")?;
        Ok(addresses.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
    }

    fn pod_deleted(&self) -> Result<()> {
        let before = self.pod(1)?;
        self.kubernetes.kubectl(&format!("delete pod demo-1 --namespace {}", self.namespace))?;
        self.wait_for_other_pod(1, &before)?;
        self.settle()
    }

    fn node_dies_and_returns(&self) -> Result<()> {
        let nodes = self.world.nodes()?;
        let node = self.node_without_operator()?;
        nodes.kill_node(node)?;
        nodes.wait_until_lost(node)?;
        let lost = format!("its node {node} does not answer");
        command::wait_for("the status to tell of the lost node", SETTLED_AT_MOST, || {
            let message = self.kubernetes.ready_condition(self.namespace, "demo")?;
            Ok(message.filter(|(status, message)| status == "True" && message.contains(&lost)))
        })?;
        nodes.return_node(node)?;
        self.settle()
    }

    /// The volume is on the node, so the pod waits for the node to be free for it again.
    fn node_drained(&self) -> Result<()> {
        let (before, node) = (self.pod(0)?, self.node_of(0)?);
        self.kubernetes.kubectl(&format!("drain {node} --pod-selector={SELECTOR} --timeout=120s"))?;
        self.kubernetes.kubectl(&format!("uncordon {node}"))?;
        self.wait_for_other_pod(0, &before)?;
        self.settle()
    }

    fn options_changed(&self) -> Result<()> {
        let before = [self.pod(0)?, self.pod(1)?, self.pod(2)?];
        let changed = MANIFEST.replace("num.partitions: 3", "num.partitions: 3\n    log.retention.hours: 48");
        self.kubernetes.apply(self.namespace, &changed)?;
        for (id, before) in (0..).zip(&before) {
            self.wait_for_other_pod(id, before)?;
        }
        self.settle()
    }

    /// A broker that dies meanwhile is started again by its node.
    fn operator_away(&self) -> Result<()> {
        let scale = |count: u8| {
            self.kubernetes.kubectl(&format!(
                "scale deployment/millrace-operator --namespace {OPERATOR_NAMESPACE} --replicas {count}"
            ))
        };
        scale(0)?;
        let before = self.pod(1)?;
        self.world.nodes()?.container(&before.container)?.kill()?;
        let after = self
            .kubernetes
            .wait_for_pod(self.namespace, &selector(1), SETTLED_AT_MOST, |pod| pod.restarts == before.restarts + 1)?;
        ensure!(after.uid == before.uid, "the pod was replaced instead of restarted in place");
        scale(1)?;
        self.settle()
    }

    fn api_server_away(&self) -> Result<()> {
        let nodes = self.world.nodes()?;
        let before = self.pod(2)?;
        let process = nodes.container(&before.container)?;
        nodes.kill_api_server()?;
        process.kill()?;
        nodes.start_api_server()?;
        self.kubernetes
            .wait_for_pod(self.namespace, &selector(2), SETTLED_AT_MOST, |pod| pod.restarts == before.restarts + 1)?;
        self.settle()
    }

    /// Every broker serves and every replica has caught up.
    fn settle(&self) -> Result<()> {
        self.kubernetes.wait_ready(self.namespace, "demo", SETTLED_AT_MOST)
    }

    fn pod(&self, id: u8) -> Result<Pod> {
        self.kubernetes.pod(self.namespace, &selector(id))
    }

    fn wait_for_other_pod(&self, id: u8, before: &Pod) -> Result<()> {
        let other = |pod: &Pod| pod.uid != before.uid;
        self.kubernetes.wait_for_pod(self.namespace, &selector(id), SETTLED_AT_MOST, other).map(drop)
    }

    fn node_of(&self, id: u8) -> Result<NodeId> {
        node_of(&self.kubernetes.get(self.namespace, &format!("pod/demo-{id}"))?)
    }

    /// Of which the status is to tell.
    fn node_without_operator(&self) -> Result<NodeId> {
        let operators = self.kubernetes.get(OPERATOR_NAMESPACE, "pods")?;
        let taken = node_of(&operators["items"][0])?;
        self.world.nodes()?.nodes().find(|node| *node != taken).context("there is only one node")
    }
}

fn node_of(pod: &Value) -> Result<NodeId> {
    let name = pod["spec"]["nodeName"].as_str().context("the pod is on no node")?;
    NodeId::named(name).with_context(|| format!("{name} is no node of the local cluster"))
}

fn selector(id: u8) -> String {
    format!("{SELECTOR},apps.kubernetes.io/pod-index={id}")
}

fn status(kubernetes: &Kubernetes, namespace: &str) -> Result<Value> {
    Ok(kubernetes.get(namespace, "kafkacluster/demo")?["status"].take())
}
