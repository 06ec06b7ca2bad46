//! How long a cluster takes from `kubectl apply` to Ready, and the memory of operator and broker then.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::images::mebibytes;
use super::row::Row;
use super::samples::Samples;
use crate::cluster::LocalCluster;
use crate::harness::{DEMO_MANIFEST, Kubernetes, OPERATOR_NAMESPACE};

const NAMESPACE: &str = "figures";
const READY_AT_MOST: Duration = Duration::from_mins(2);

/// In a separate namespace, which is removed afterwards.
pub fn measure(cluster: &LocalCluster) -> Result<Vec<Row>> {
    let kubernetes = Kubernetes::local(cluster);
    // An interrupted run may have left its namespace.
    kubernetes.kubectl(&format!("delete namespace {NAMESPACE} --ignore-not-found"))?;
    kubernetes.kubectl(&format!("create namespace {NAMESPACE}"))?;
    let measured = measure_in_namespace(cluster, &kubernetes);
    kubernetes.kubectl(&format!("delete namespace {NAMESPACE}"))?;
    measured
}

fn measure_in_namespace(cluster: &LocalCluster, kubernetes: &Kubernetes) -> Result<Vec<Row>> {
    let began = Instant::now();
    kubernetes.apply(NAMESPACE, DEMO_MANIFEST)?;
    kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)?;
    let ready_after = Samples::one(began.elapsed().as_secs_f64());
    let resident = |namespace: &str, selector: &str| -> Result<Samples<f64>> {
        let pod = kubernetes.pod(namespace, selector)?;
        Ok(Samples::one(mebibytes(cluster.container(&pod.container)?.resident_bytes()?)))
    };
    let broker = resident(NAMESPACE, "millrace.dev/cluster=demo")?;
    let operator = resident(OPERATOR_NAMESPACE, "app.kubernetes.io/name=millrace-operator")?;
    Ok(vec![
        Row::new("kubectl apply to Ready", "s", 1, ready_after).at_most(20.0),
        Row::new("broker, resident, idle", "MiB", 1, broker).at_most(20.0),
        Row::new("operator, resident, one cluster", "MiB", 1, operator).at_most(30.0),
    ])
}
