//! The operator is restarted and replaced, and its clusters do not notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::command;
use e2e::harness::{Kubernetes, LOOK_EVERY, OPERATOR_NAMESPACE};

use crate::survival::{MANIFEST, READY_AT_MOST, SELECTOR, check_data, cluster_with_data};
use crate::world::World;

/// Longer than the duration of a Lease that is not renewed.
const LED_AT_MOST: Duration = Duration::from_mins(1);

pub(crate) fn is_upgraded_and_hands_over(world: &World) -> Result<()> {
    world.in_namespace("e2e-operator", |kubernetes| {
        let namespace = "e2e-operator";
        let (address, before) = cluster_with_data(kubernetes, namespace)?;
        upgrade(kubernetes, "replicas=2,log.format=json")?;
        let former = leader(kubernetes)?;
        kubernetes.kubectl(&format!("delete pod {former} --namespace {OPERATOR_NAMESPACE} --wait=false"))?;
        command::wait_for_every(LOOK_EVERY, "another instance to lead", LED_AT_MOST, || {
            let leader = leader(kubernetes)?;
            Ok((!leader.is_empty() && leader != former).then_some(()))
        })?;
        kubernetes.apply(namespace, &MANIFEST.replace("1Gi", "2Gi"))?;
        kubernetes.wait_ready(namespace, "demo", READY_AT_MOST)?;
        upgrade(kubernetes, "replicas=1,log.format=text")?;
        ensure!(kubernetes.pod(namespace, SELECTOR)? == before, "the broker was restarted for the operator's sake");
        check_data(&address)
    })
}

fn upgrade(kubernetes: &Kubernetes, values: &str) -> Result<()> {
    let release = format!("upgrade millrace {} --namespace {OPERATOR_NAMESPACE}", Kubernetes::chart().display());
    kubernetes.helm(&format!("{release} --reuse-values --set {values} --wait --timeout 2m")).map(drop)
}

/// The instance that holds the Lease; empty if it was released.
fn leader(kubernetes: &Kubernetes) -> Result<String> {
    let lease = kubernetes.get(OPERATOR_NAMESPACE, "lease/millrace-operator")?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}
