//! What the operator reports on a `KafkaCluster`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Conditions;

/// Types of the conditions. The first three are those of kstatus.
pub mod condition {
    pub const READY: &str = "Ready";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";
    /// A volume that was formatted came back empty.
    pub const VOLUME_EMPTIED: &str = "VolumeEmptied";
    /// False where the operator may not read nodes.
    pub const NODES_VISIBLE: &str = "NodesVisible";
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaClusterStatus {
    /// The `metadata.generation` this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Made once and kept with the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,

    /// The version that every broker has run, as the manifest says: an image in `spec.image` is taken at its word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,

    /// Whether every broker has served at the same time. From then on `Ready` says whether clients are served, and no
    /// longer waits for brokers that are away.
    pub formed: bool,

    /// Number of broker pods.
    pub replicas: i32,

    /// Number of brokers that serve clients.
    pub ready_replicas: i32,

    /// Label selector of the broker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,

    /// What clients put into `bootstrap.servers`, by listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["listener"]))]
    pub bootstrap: Vec<BootstrapStatus>,

    /// Id of the active controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<i32>,

    /// The controllers that vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub voters: Vec<VoterStatus>,

    /// Partitions that miss replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionsStatus>,

    /// The brokers by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub brokers: Vec<BrokerStatus>,

    /// Options of `spec.config` that all brokers follow without a restart, as the operator has set them in the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 256)))]
    pub options: Vec<String>,

    /// The restarts still to come, and what for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub plan: Vec<String>,

    /// Ready, Reconciling and Stalled as kstatus defines them, VolumeEmptied and NodesVisible.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Conditions")]
    pub conditions: Vec<Condition>,
}

impl KafkaClusterStatus {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
pub struct BootstrapStatus {
    /// Name of the listener.
    #[schemars(length(max = 15))]
    pub listener: String,
    /// `host:port` of the bootstrap Service, or of each broker.
    #[schemars(length(max = 64), inner(length(max = 320)))]
    pub addresses: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct VoterStatus {
    /// Id of the broker.
    pub id: i32,
    /// The volume with which it votes.
    #[serde(default)]
    #[schemars(length(max = 36))]
    pub directory_id: String,
    /// Records behind the active controller.
    #[serde(default)]
    pub lag: i64,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionsStatus {
    /// Number of partitions with fewer replicas in sync than replicas.
    pub under_replicated: i32,
    /// Number of partitions that take no writes with acks=all once they lose one more replica.
    pub at_min_isr: i32,
    /// Number of partitions without a leader, which nobody can read or write.
    pub offline: i32,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Id of the broker: the ordinal of its pod.
    pub id: i32,
    /// Name of its pod.
    #[schemars(length(max = 63))]
    pub pod: String,
    /// The node of that pod, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// The zone of that node, which is the broker's rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub zone: Option<String>,
    /// The volume the broker was formatted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub directory_id: Option<String>,
    /// The image the broker was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// Hash of the options the broker runs with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub config_hash: Option<String>,
    /// What the broker does.
    pub phase: BrokerPhase,
    /// Why the broker is in this phase, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BrokerPhase {
    /// No pod, or none that could be scheduled and started.
    #[default]
    Pending,
    /// The container runs and the broker does not serve yet.
    Starting,
    /// Waits to be formatted.
    Unformatted,
    /// The volume was formatted and is empty.
    VolumeEmptied,
    /// The volume was formatted for another broker or cluster.
    ForeignVolume,
    /// Checks its logs after an unclean stop.
    Recovering,
    /// Serves clients.
    Running,
    /// Its node does not answer, or is gone.
    NodeLost,
    /// Shuts down.
    Stopping,
}
