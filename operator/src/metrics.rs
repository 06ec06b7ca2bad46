//! The operator's own metrics, in OpenMetrics.

use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters shared by the reconciles and the endpoint that shows them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    reconciles: Counter,
    errors: Counter,
    last_success: Gauge,
}

impl Metrics {
    pub fn reconciled(&self, now: Timestamp) {
        self.reconciles.inc();
        self.last_success.set(now.as_second());
    }

    pub fn failed(&self) {
        self.errors.inc();
    }

    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("millrace_operator");
        registry.register("reconciles", "Finished looks at a cluster", self.reconciles.clone());
        registry.register("reconcile_errors", "Looks at a cluster that failed", self.errors.clone());
        let last_success = self.last_success.clone();
        registry.register("last_success_timestamp_seconds", "When a look at a cluster last finished", last_success);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
