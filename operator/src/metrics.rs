//! The operator's own metrics, in OpenMetrics.

use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::crd::{KafkaClusterStatus, condition};

/// Conditions that are worth an alert.
const CONDITIONS: [&str; 4] = [condition::READY, condition::RECONCILING, condition::STALLED, condition::VOLUME_EMPTIED];

/// Namespace and name of a cluster.
type ClusterLabels = [(&'static str, String); 2];
/// The same, and the type of a condition.
type ConditionLabels = [(&'static str, String); 3];

/// Values shared by the reconciles and the metrics endpoint.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    reconciles: Counter,
    errors: Counter,
    last_success: Gauge,
    conditions: Family<ConditionLabels, Gauge>,
    failures: Family<ClusterLabels, Gauge>,
}

impl Metrics {
    /// Publishes what the status of a cluster says.
    pub fn tell(&self, namespace: &str, cluster: &str, status: &KafkaClusterStatus) {
        for kind in CONDITIONS {
            let holds = status.condition(kind).is_some_and(|found| found.status == "True");
            self.conditions.get_or_create(&of_condition(namespace, cluster, kind)).set(i64::from(holds));
        }
    }

    /// The cluster is gone.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        for kind in CONDITIONS {
            self.conditions.remove(&of_condition(namespace, cluster, kind));
        }
        self.failures.remove(&of_cluster(namespace, cluster));
    }

    pub fn reconciled(&self, namespace: &str, cluster: &str, now: Timestamp) {
        self.reconciles.inc();
        self.last_success.set(now.as_second());
        self.failures.get_or_create(&of_cluster(namespace, cluster)).set(0);
    }

    /// Returns how often it has failed in a row.
    pub fn failed(&self, namespace: &str, cluster: &str) -> i64 {
        self.errors.inc();
        self.failures.get_or_create(&of_cluster(namespace, cluster)).inc() + 1
    }

    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("millrace_operator");
        registry.register("reconciles", "Finished looks at a cluster", self.reconciles.clone());
        registry.register("reconcile_errors", "Looks at a cluster that failed", self.errors.clone());
        let last_success = self.last_success.clone();
        registry.register("last_success_timestamp_seconds", "When a look at a cluster last finished", last_success);
        let conditions = self.conditions.clone();
        registry.register("cluster_condition", "1 where a condition of a KafkaCluster is True", conditions);
        let failures = self.failures.clone();
        registry.register("cluster_failed_reconciles", "Looks at a cluster that failed since one did not", failures);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn of_cluster(namespace: &str, cluster: &str) -> ClusterLabels {
    [("namespace", namespace.to_owned()), ("cluster", cluster.to_owned())]
}

fn of_condition(namespace: &str, cluster: &str, kind: &str) -> ConditionLabels {
    [("namespace", namespace.to_owned()), ("cluster", cluster.to_owned()), ("type", kind.to_owned())]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::testing::{now, plan_of, running};

    #[test]
    fn alerts_ask_for_metrics_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let of_brokers = fs::read_to_string(root.join("broker/reference/metrics.md")).unwrap();
        let metrics = Metrics::default();
        metrics.tell("shop", "demo", &KafkaClusterStatus::default());
        metrics.reconciled("shop", "demo", now());
        let own = metrics.encode().unwrap();
        let alerts = fs::read_to_string(root.join("charts/millrace/files/alerts.yaml")).unwrap();
        let expressions = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
        let words = expressions.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        let is_metric = |word: &&str| {
            (word.starts_with("millrace_") || word.starts_with("kafka_")) && *word != "millrace_dev_cluster"
        };
        let asked: Vec<_> = words.filter(is_metric).collect();
        assert!(13 < asked.len(), "{asked:?}");
        for name in asked {
            let is_own = own.contains(&format!("\n{name}{{")) || own.contains(&format!("\n{name} "));
            assert!(is_own || of_brokers.contains(&format!("| `{name}` |")), "there is no metric {name}");
        }
    }

    #[test]
    fn conditions_are_told_as_long_as_the_cluster_is_there() {
        let metrics = Metrics::default();
        metrics.tell("shop", "demo", &plan_of(&running(json!({}))).status);
        let told = |kind: &str| format!(r#"cluster_condition{{namespace="shop",cluster="demo",type="{kind}"}}"#);
        let text = metrics.encode().unwrap();
        for (kind, value) in [("Ready", 1), ("Stalled", 0), ("VolumeEmptied", 0)] {
            assert!(text.contains(&format!("{} {value}\n", told(kind))), "{text}");
        }
        metrics.reconciled("shop", "demo", now());
        metrics.forget("shop", "demo");
        assert!(!metrics.encode().unwrap().contains("demo"));
    }

    #[test]
    fn failures_are_counted_for_each_cluster_until_one_look_succeeds() {
        let metrics = Metrics::default();
        metrics.reconciled("shop", "other", now());
        assert_eq!([metrics.failed("shop", "demo"), metrics.failed("shop", "demo")], [1, 2]);
        let told = |cluster: &str, count: i64| {
            let line = format!(r#"cluster_failed_reconciles{{namespace="shop",cluster="{cluster}"}} {count}"#);
            assert!(metrics.encode().unwrap().contains(&format!("{line}\n")), "{line}");
        };
        told("other", 0);
        told("demo", 2);
        metrics.reconciled("shop", "demo", now());
        told("demo", 0);
    }
}
