//! Acknowledged records survive, whatever happens to the pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::clients;
use e2e::harness::{Kubernetes, Pod};
use serde_json::Value;

use crate::world::World;

pub(crate) const READY_AT_MOST: Duration = Duration::from_mins(2);
pub(crate) const SELECTOR: &str = "millrace.dev/cluster=demo";
const TOPIC: &str = "events";

/// One broker that is reachable from outside Kubernetes.
pub(crate) const MANIFEST: &str = "\
apiVersion: millrace.dev/v1alpha1
kind: KafkaCluster
metadata:
  name: demo
spec:
  storage:
    size: 1Gi
    deleteClaim: true
  listeners:
    - name: outside
      port: 9094
      type: nodeport
";

pub(crate) fn messages() -> Vec<String> {
    (0..1000).map(|number| format!("message {number}")).collect()
}

/// Applies the manifest and produces. Returns the cluster's address and its pod.
pub(crate) fn cluster_with_data(kubernetes: &Kubernetes, namespace: &str) -> Result<(String, Pod)> {
    kubernetes.apply(namespace, MANIFEST)?;
    kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
    let address = kubernetes.bootstrap(namespace, "demo", "outside")?;
    clients::produce(&address, TOPIC, &messages())?;
    Ok((address, kubernetes.pod(namespace, SELECTOR)?))
}

pub(crate) fn check_data(address: &str) -> Result<()> {
    let read = clients::consume_all(address, TOPIC)?;
    ensure!(read == messages(), "1000 messages were acknowledged, {} were read, from {:?}", read.len(), read.first());
    Ok(())
}

pub(crate) fn data_outlives_the_pod(world: &World) -> Result<()> {
    world.in_namespace("e2e-pod-deleted", |kubernetes| {
        let namespace = "e2e-pod-deleted";
        let (address, before) = cluster_with_data(kubernetes, namespace)?;
        kubernetes.kubectl(&format!("delete pod {} --namespace {namespace}", before.name))?;
        let after = kubernetes.wait_for_pod(namespace, SELECTOR, READY_AT_MOST, |pod| pod.uid != before.uid)?;
        ensure!(after.name == before.name, "{} came back as {}", before.name, after.name);
        check_data(&address)
    })
}

/// If its volumes are to be kept; otherwise they are deleted with it.
pub(crate) fn data_outlives_the_cluster(world: &World) -> Result<()> {
    world.in_namespace("e2e-cluster-deleted", |kubernetes| {
        let namespace = "e2e-cluster-deleted";
        let cluster_id =
            || -> Result<Value> { Ok(kubernetes.get(namespace, "kafkacluster/demo")?["status"]["clusterId"].take()) };
        let follow = |manifest: &str| {
            kubernetes.apply(namespace, manifest)?;
            kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)
        };
        let delete = || kubernetes.kubectl(&format!("delete kafkacluster demo --namespace {namespace}"));
        let (_, before) = cluster_with_data(kubernetes, namespace)?;
        let (id, kept) = (cluster_id()?, MANIFEST.replace("    deleteClaim: true\n", ""));
        follow(&kept)?;
        delete()?;
        follow(&kept)?;
        ensure!(kubernetes.pod(namespace, SELECTOR)?.uid != before.uid, "the pod is still that of the deleted cluster");
        ensure!(cluster_id()? == id, "the cluster came back as another one");
        check_data(&kubernetes.bootstrap(namespace, "demo", "outside")?)?;

        follow(MANIFEST)?;
        delete()?;
        let gone = format!("wait pvc/data-demo-0 --namespace {namespace} --for=delete --timeout=120s");
        kubernetes.kubectl(&gone).map(drop)
    })
}

pub(crate) fn rollout_restart_is_followed_once(world: &World) -> Result<()> {
    world.in_namespace("e2e-rollout-restart", |kubernetes| {
        let namespace = "e2e-rollout-restart";
        let (address, before) = cluster_with_data(kubernetes, namespace)?;
        kubernetes.kubectl(&format!("rollout restart statefulset/demo --namespace {namespace}"))?;
        let after = kubernetes.wait_for_pod(namespace, SELECTOR, READY_AT_MOST, |pod| pod.uid != before.uid)?;
        kubernetes.apply(namespace, &MANIFEST.replace("1Gi", "2Gi"))?;
        kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
        ensure!(kubernetes.pod(namespace, SELECTOR)? == after, "the broker was restarted once more");
        check_data(&address)
    })
}

pub(crate) fn killed_broker_restarts_in_place(world: &World) -> Result<()> {
    world.in_namespace("e2e-broker-killed", |kubernetes| {
        let namespace = "e2e-broker-killed";
        let (address, before) = cluster_with_data(kubernetes, namespace)?;
        world.nodes()?.container(&before.container)?.kill()?;
        let after =
            kubernetes.wait_for_pod(namespace, SELECTOR, READY_AT_MOST, |pod| pod.restarts == before.restarts + 1)?;
        ensure!(after.uid == before.uid, "the pod was replaced instead of restarted in place");
        check_data(&address)
    })
}

pub(crate) fn volume_grows_under_a_running_broker(world: &World) -> Result<()> {
    world.in_namespace("e2e-volume-grown", |kubernetes| {
        let namespace = "e2e-volume-grown";
        let (address, before) = cluster_with_data(kubernetes, namespace)?;
        kubernetes.apply(namespace, &MANIFEST.replace("1Gi", "2Gi"))?;
        kubernetes.kubectl(&format!(
            "wait pvc/data-demo-0 --namespace {namespace} --for=jsonpath={{.status.capacity.storage}}=2Gi --timeout=60s"
        ))?;
        kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
        ensure!(kubernetes.pod(namespace, SELECTOR)? == before, "the broker was restarted for its volume to grow");
        check_data(&address)
    })
}
