//! Counters in OpenMetrics form, named after Kafka's MBeans (`kafka.server:type=BrokerTopicMetrics` becomes
//! `kafka_server_brokertopicmetrics_…`).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use protocol::api::Api;
use protocol::batch::BatchHeader;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 11] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    request_time: Family<RequestLabels, Histogram>,
    requests_failed: Counter,
    messages_in: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    pub(crate) connections: Gauge,
    pub(crate) partitions: Gauge,
    pub(crate) leaders: Gauge,
    pub(crate) topics: Gauge,
    /// 1 while this broker is the active controller.
    pub(crate) active_controller: Gauge,
    pub(crate) metadata_end_offset: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            request_time: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            requests_failed: Counter::default(),
            messages_in: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            connections: Gauge::default(),
            partitions: Gauge::default(),
            leaders: Gauge::default(),
            topics: Gauge::default(),
            active_controller: Gauge::default(),
            metadata_end_offset: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let network = self.registry.sub_registry_with_prefix("kafka_network");
        network.register("requestmetrics_total_time_seconds", "From frame to response", self.request_time.clone());
        network.register(
            "requestmetrics_errors",
            "Requests that closed their connection",
            self.requests_failed.clone(),
        );
        network.register("socketserver_connections", "Open connections", self.connections.clone());
        let server = self.registry.sub_registry_with_prefix("kafka_server");
        server.register("brokertopicmetrics_messages_in", "Records appended", self.messages_in.clone());
        server.register("brokertopicmetrics_bytes_in", "Bytes of batches appended", self.bytes_in.clone());
        server.register("brokertopicmetrics_bytes_out", "Bytes of batches fetched", self.bytes_out.clone());
        server.register("replicamanager_partition_count", "Partitions on this broker", self.partitions.clone());
        server.register("replicamanager_leader_count", "Partitions that this broker leads", self.leaders.clone());
        let controller = self.registry.sub_registry_with_prefix("kafka_controller");
        controller.register(
            "kafkacontroller_active_controller_count",
            "1 on the active controller",
            self.active_controller.clone(),
        );
        controller.register("kafkacontroller_global_topic_count", "Topics of the cluster", self.topics.clone());
        controller.register(
            "kafkacontroller_metadata_end_offset",
            "End of the metadata that was applied",
            self.metadata_end_offset.clone(),
        );
    }

    pub(crate) fn request(&self, api: &Api, took: Duration) {
        self.request_time.get_or_create(&RequestLabels { request: api.name }).observe(took.as_secs_f64());
    }

    pub(crate) fn request_failed(&self) {
        self.requests_failed.inc();
    }

    pub(crate) fn produced(&self, batch: &BatchHeader) {
        self.messages_in.inc_by(u64::try_from(batch.records_count).unwrap_or(0));
        self.bytes_in.inc_by(batch.length().map_or(0, |length| length as u64));
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.bytes_out.inc_by(bytes);
    }

    pub(crate) fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
