//! How long a cluster takes from `kubectl apply` to Ready, and what operator and broker then occupy.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Figure, mebibytes};
use crate::cluster::LocalCluster;
use crate::harness::{DEMO_MANIFEST, Kubernetes, OPERATOR_NAMESPACE};
use crate::progress::spoken;

const NAMESPACE: &str = "figures";
const READY_AT_MOST: Duration = Duration::from_mins(2);

/// In a namespace of its own, which is gone afterwards.
pub fn measure(cluster: &LocalCluster) -> Result<Vec<Figure>> {
    let kubernetes = Kubernetes::local(cluster);
    // A run that was cut off has left its own.
    kubernetes.kubectl(&format!("delete namespace {NAMESPACE} --ignore-not-found"))?;
    kubernetes.kubectl(&format!("create namespace {NAMESPACE}"))?;
    let measured = measure_in_namespace(cluster, &kubernetes);
    kubernetes.kubectl(&format!("delete namespace {NAMESPACE}"))?;
    measured
}

fn measure_in_namespace(cluster: &LocalCluster, kubernetes: &Kubernetes) -> Result<Vec<Figure>> {
    let began = Instant::now();
    kubernetes.apply(NAMESPACE, DEMO_MANIFEST)?;
    kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)?;
    let ready_after = began.elapsed();
    let resident = |namespace: &str, selector: &str| -> Result<String> {
        let pod = kubernetes.pod(namespace, selector)?;
        Ok(mebibytes(cluster.container(&pod.container)?.resident_bytes()?))
    };
    Ok(vec![
        Figure { what: "kubectl apply to Ready", measured: spoken(ready_after), promised: "20 s" },
        Figure {
            what: "broker, resident, idle",
            measured: resident(NAMESPACE, "millrace.dev/cluster=demo")?,
            promised: "20 MiB",
        },
        Figure {
            what: "operator, resident, one cluster",
            measured: resident(OPERATOR_NAMESPACE, "app.kubernetes.io/name=millrace-operator")?,
            promised: "40 MiB",
        },
    ])
}
