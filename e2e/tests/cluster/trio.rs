//! A cluster of three brokers on three nodes, and operations on it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::admin::Admin;
use e2e::cluster::LocalCluster;
use e2e::cluster::addresses::NodeId;
use e2e::command;
use e2e::harness::{Kubernetes, LOOK_EVERY, OPERATOR_NAMESPACE, Pod};
use serde_json::Value;

use crate::survival::{READY_AT_MOST, SELECTOR};
use crate::world::World;

pub(crate) const MANIFEST: &str = "\
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
pub(crate) const SETTLED_AT_MOST: Duration = Duration::from_mins(3);
const ANSWER_AT_MOST: Duration = Duration::from_secs(2);
const ANSWERED_AT_MOST: Duration = Duration::from_mins(1);
const BROKERS: usize = 3;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Trio<'a> {
    pub(crate) world: &'a World,
    pub(crate) namespace: &'a str,
}

impl<'a> Trio<'a> {
    pub(crate) fn start(self, manifest: &str) -> Result<()> {
        self.apply(manifest)?;
        self.kubernetes().wait_ready(self.namespace, "demo", READY_AT_MOST)
    }

    pub(crate) fn apply(self, manifest: &str) -> Result<()> {
        self.kubernetes().apply(self.namespace, manifest).map(drop)
    }

    pub(crate) fn kubernetes(self) -> &'a Kubernetes {
        &self.world.kubernetes
    }

    pub(crate) fn nodes(self) -> Result<&'a LocalCluster> {
        self.world.nodes()
    }

    pub(crate) fn kubectl(self, arguments: &str) -> Result<String> {
        self.kubernetes().kubectl(&format!("{arguments} --namespace {}", self.namespace))
    }

    /// The brokers' addresses, in order.
    pub(crate) fn addresses(self) -> Result<Vec<SocketAddr>> {
        let status = self.status()?;
        let addresses = status["bootstrap"][0]["addresses"].as_array().context("no addresses")?;
        let addresses: Vec<_> = addresses.iter().filter_map(Value::as_str).map(str::parse).collect::<Result<_, _>>()?;
        ensure!(addresses.len() == BROKERS, "not every broker has an address: {addresses:?}");
        Ok(addresses)
    }

    pub(crate) fn bootstrap(self) -> Result<String> {
        let addresses = self.addresses()?;
        Ok(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    /// Asks whichever broker answers.
    pub(crate) fn ask<T>(self, question: impl Fn(&mut Admin) -> Result<T>) -> Result<T> {
        ask(&self.addresses()?, question)
    }

    /// Waits until every broker serves and every replica of the topics has caught up.
    pub(crate) fn settle(self, topics: &[&str]) -> Result<()> {
        self.kubernetes().wait_ready(self.namespace, "demo", SETTLED_AT_MOST)?;
        let addresses = self.addresses()?;
        command::wait_for_every(LOOK_EVERY, "all replicas to be in sync", SETTLED_AT_MOST, || {
            let mut in_sync = true;
            for topic in topics {
                let partitions = ask(&addresses, |admin| admin.partitions(topic))?;
                in_sync &= !partitions.is_empty() && partitions.iter().all(|found| found.in_sync.len() == BROKERS);
            }
            Ok(in_sync.then_some(()))
        })
    }

    /// Waits until the broker answers, and lists itself among the brokers.
    pub(crate) fn wait_until_serving(address: SocketAddr, id: i32) -> Result<()> {
        command::wait_for(&format!("broker {id} to serve"), SETTLED_AT_MOST, || {
            let brokers = Admin::open(address, ANSWER_AT_MOST).and_then(|mut admin| admin.brokers());
            Ok(brokers.is_ok_and(|brokers| brokers.contains(&id)).then_some(()))
        })
    }

    pub(crate) fn controller(self) -> Result<u8> {
        let status = self.status()?;
        let controller = status["controller"].as_u64().with_context(|| format!("no controller is told: {status:#}"))?;
        Ok(controller.try_into()?)
    }

    pub(crate) fn pod(self, id: u8) -> Result<Pod> {
        self.kubernetes().pod(self.namespace, &selector(id))
    }

    pub(crate) fn wait_for_other_pod(self, id: u8, before: &Pod) -> Result<()> {
        let other = |pod: &Pod| pod.uid != before.uid;
        self.kubernetes().wait_for_pod(self.namespace, &selector(id), SETTLED_AT_MOST, other).map(drop)
    }

    /// The node has restarted the broker in the existing pod.
    pub(crate) fn wait_for_restart_in_place(self, id: u8, before: &Pod) -> Result<()> {
        let restarted = |pod: &Pod| before.restarts < pod.restarts;
        let after = self.kubernetes().wait_for_pod(self.namespace, &selector(id), SETTLED_AT_MOST, restarted)?;
        ensure!(after.uid == before.uid, "the pod was replaced instead of restarted in place");
        Ok(())
    }

    pub(crate) fn node_of(self, id: u8) -> Result<NodeId> {
        node_of(&self.kubernetes().get(self.namespace, &format!("pod/demo-{id}"))?)
    }

    /// A node that may fail without the operator, which reports it in the status.
    pub(crate) fn node_without_operator(self) -> Result<NodeId> {
        let operators = self.kubernetes().get(OPERATOR_NAMESPACE, "pods")?;
        let taken = node_of(&operators["items"][0])?;
        self.nodes()?.nodes().find(|node| *node != taken).context("there is only one node")
    }

    pub(crate) fn status(self) -> Result<Value> {
        Ok(self.kubernetes().get(self.namespace, "kafkacluster/demo")?["status"].take())
    }
}

fn ask<T>(addresses: &[SocketAddr], question: impl Fn(&mut Admin) -> Result<T>) -> Result<T> {
    command::retry(ANSWERED_AT_MOST, || {
        let ask = |address: &SocketAddr| question(&mut Admin::open(*address, ANSWER_AT_MOST)?);
        let mut answers = addresses.iter().map(ask);
        let first = answers.next().context("there are no brokers")?;
        first.or_else(|error| answers.find_map(Result::ok).ok_or(error))
    })
}

fn node_of(pod: &Value) -> Result<NodeId> {
    let name = pod["spec"]["nodeName"].as_str().context("the pod is on no node")?;
    NodeId::named(name).with_context(|| format!("{name} is no node of the local cluster"))
}

fn selector(id: u8) -> String {
    format!("{SELECTOR},apps.kubernetes.io/pod-index={id}")
}
