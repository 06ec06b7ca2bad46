//! Requests to the brokers. By their management API: a broker's own status, the controller's view of the cluster,
//! formatting of an empty volume, and permission to restart a broker. By Kafka's protocol: the options of all
//! brokers, and the voters.

mod http;
mod kafka;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use protocol::types::{BrokerId, ClusterId, DirectoryId};
use serde::{Deserialize, Serialize};

pub use http::HttpBrokerAdmin;

/// The address of a broker's management API, and the token for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTarget {
    pub pod_ip: String,
    pub token: ManagementToken,
}

/// A bearer token of the cluster's Secret. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagementToken(pub String);

impl std::fmt::Debug for ManagementToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ManagementToken(…)")
    }
}

/// Every call gives up after two seconds: a reconcile never waits for a slow broker.
pub trait BrokerAdmin: Send + Sync + std::fmt::Debug {
    fn broker(&self, target: AdminTarget) -> BoxFuture<'_, Result<BrokerView, AdminError>>;
    fn cluster(&self, target: AdminTarget) -> BoxFuture<'_, Result<ClusterView, AdminError>>;
    fn format(&self, target: AdminTarget, request: FormatRequest) -> BoxFuture<'_, Result<(), AdminError>>;
    /// The options set for all brokers, in the metadata.
    fn options(&self, target: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>>;
    fn set_options(&self, target: AdminTarget, changes: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>>;
    fn change_voters(&self, target: AdminTarget, change: VoterChange) -> BoxFuture<'_, Result<(), AdminError>>;
    /// Repeating the request renews the grant.
    fn restart_grant(
        &self,
        target: AdminTarget,
        request: RestartGrantRequest,
    ) -> BoxFuture<'_, Result<RestartGrant, AdminError>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error("{url}: no answer within {limit_ms} ms")]
    TimedOut { url: String, limit_ms: u64 },
    #[error("{url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url}: answered {status}: {detail}")]
    Refused { url: String, status: u16, detail: String },
    #[error("{url}: {reason}")]
    Kafka { url: String, reason: String },
    /// Another broker is the controller, perhaps the named one.
    #[error("{url}: is not the active controller")]
    NotController { url: String, controller: Option<i32> },
    #[error("{url}: the answer is not understood: {reason}")]
    Unreadable { url: String, reason: String },
}

/// `GET /v1/broker`. Fields that a broker does not send are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerView {
    pub state: BrokerState,
    pub broker_id: Option<i32>,
    pub cluster_id: Option<String>,
    pub directory_id: Option<String>,
    pub recovery: Option<RecoveryView>,
    pub disk: DiskView,
    /// Logs that failed and are not served.
    pub offline_replicas: Vec<OfflineView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskView {
    /// Producers are told to retry, for want of space.
    pub is_low: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OfflineView {
    pub partition: String,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum BrokerState {
    Unformatted,
    Recovering,
    /// Has the metadata, and is not unfenced yet.
    Registering,
    Running,
    /// Hands over its leaderships.
    Leaving,
    /// Anything else: starting or stopping.
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryView {
    pub logs_total: u64,
    pub logs_done: u64,
}

/// `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterView {
    pub controller_id: Option<i32>,
    pub controller_epoch: i32,
    pub brokers: Vec<RegisteredView>,
    /// Brokers that hold a grant to restart.
    pub grants: Vec<i32>,
    pub voters: Vec<VoterView>,
    pub partitions: PartitionCounts,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VoterView {
    pub id: i32,
    pub directory_id: String,
    pub lag: i64,
}

/// A broker as registered with the controller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisteredView {
    pub id: i32,
    pub epoch: i64,
    pub state: RegisteredState,
    pub rack: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum RegisteredState {
    /// Active: it may lead partitions.
    Unfenced,
    /// Silent, or not caught up.
    Fenced,
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionCounts {
    pub under_replicated: i32,
    pub at_min_isr: i32,
    pub offline: i32,
}

/// `POST /v1/format`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormatRequest {
    pub cluster_id: String,
    pub node_id: i32,
    pub directory_id: String,
    pub initial_voters: Vec<InitialVoter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitialVoter {
    pub id: i32,
    pub directory_id: String,
    pub endpoint: String,
}

/// An option of all brokers. `None`: to be unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionChange {
    pub name: String,
    pub value: Option<String>,
}

/// Adds or removes a voter. A voter is a broker on a certain volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterChange {
    /// By now the address may belong to a broker of another cluster.
    pub cluster_id: ClusterId,
    pub broker: BrokerId,
    pub directory: DirectoryId,
    pub vote: Vote,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    Add {
        /// Host of its controller listener.
        host: String,
    },
    Remove,
}

/// `POST /v1/restart-grants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartGrantRequest {
    pub broker: i32,
    pub broker_epoch: i64,
    pub ttl_ms: u64,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartGrant {
    pub controller_epoch: i32,
    /// Partitions that the broker still leads although others could.
    pub leaders_left: u64,
    pub safe_to_stop: bool,
    /// Obstacles since it was granted.
    pub obstacles: Vec<String>,
}
