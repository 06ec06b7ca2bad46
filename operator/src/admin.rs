//! What the operator asks the brokers. By their management API: what a broker says of itself, what the controller says
//! of the cluster, the call that formats an empty volume, and the one that asks whether a broker may restart. By
//! Kafka's protocol: the options of all brokers, and who votes.

mod http;
mod kafka;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use protocol::types::{BrokerId, ClusterId, DirectoryId};
use serde::{Deserialize, Serialize};

pub use http::HttpBrokerAdmin;

/// Where a broker's management API is, and the token that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTarget {
    pub pod_ip: String,
    pub token: ManagementToken,
}

/// One bearer token of the cluster's Secret. Not printed.
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
    /// The options that are set for all brokers, in the metadata.
    fn options(&self, target: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>>;
    fn set_options(&self, target: AdminTarget, changes: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>>;
    fn change_voters(&self, target: AdminTarget, change: VoterChange) -> BoxFuture<'_, Result<(), AdminError>>;
    /// Asking again renews the grant.
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
    /// Another broker decides, if the one that was asked knows which.
    #[error("{url}: is not the active controller")]
    NotController { url: String, controller: Option<i32> },
    #[error("{url}: the answer is not understood: {reason}")]
    Unreadable { url: String, reason: String },
}

/// `GET /v1/broker`. Fields a broker does not send are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerView {
    pub state: BrokerState,
    pub broker_id: Option<i32>,
    pub cluster_id: Option<String>,
    pub directory_id: Option<String>,
    pub recovery: Option<RecoveryView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum BrokerState {
    Unformatted,
    Recovering,
    /// Has the metadata, and is not yet counted on.
    Registering,
    Running,
    /// Hands over what it leads.
    Leaving,
    /// Anything else: on the way up or down.
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

/// A broker as the controller knows it.
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
    /// Heard of, and leader where it is chosen.
    Unfenced,
    /// Not heard of, or not far enough to serve.
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

/// An option of all brokers. `None`: it is no longer set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionChange {
    pub name: String,
    pub value: Option<String>,
}

/// One voter more or less. A voter is a broker on one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterChange {
    /// The address may have come to belong to a broker of another one.
    pub cluster_id: ClusterId,
    pub broker: BrokerId,
    pub directory: DirectoryId,
    pub vote: Vote,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    Add {
        /// Of its listener for controllers.
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
    /// Partitions that the broker still leads and others could.
    pub leaders_left: u64,
    pub safe_to_stop: bool,
    /// What has come up since it was granted.
    pub obstacles: Vec<String>,
}
