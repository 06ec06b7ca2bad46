//! What a node is given at its start.

use std::time::Duration;

use crate::identity::{Address, ElectionState, Endpoint, ReplicaKey, SnapshotId};
use crate::log_view::LogSummary;

#[derive(Debug, Clone)]
pub struct Config {
    pub local: ReplicaKey,
    /// This node's controller listeners; none on a node without the controller role. If the voter set has others this
    /// node has them corrected.
    pub endpoints: Vec<Endpoint>,
    /// The listener at which voters are reached: the first of `controller.listener.names`.
    pub listener: String,
    /// `controller.quorum.bootstrap.servers`: the nodes that a node without known voters asks.
    pub bootstrap: Vec<Address>,
    pub timing: Timing,
}

/// `controller.quorum.*.ms`
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub election_timeout: Duration,
    pub fetch_timeout: Duration,
    pub election_backoff_max: Duration,
    pub request_timeout: Duration,
    /// Pause between attempts to reach a leader that refuses connections.
    pub retry_backoff: Duration,
    /// How long a leader may hold back a fetch for which it has nothing new.
    pub fetch_wait_max: Duration,
}

impl Timing {
    pub(crate) fn half_fetch_timeout(&self) -> Duration {
        self.fetch_timeout.checked_div(2).unwrap_or_default()
    }
}

impl Default for Timing {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_secs(1),
            fetch_timeout: Duration::from_secs(2),
            election_backoff_max: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
            retry_backoff: Duration::from_millis(20),
            fetch_wait_max: Duration::from_millis(500),
        }
    }
}

/// What the disk holds at the start. All of it must be durable: sync the log before.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    pub election: ElectionState,
    pub log: LogSummary,
}

impl LogSummary {
    /// A log without records before the end of a snapshot.
    pub fn at_snapshot(id: SnapshotId, quorum: crate::control::Quorum) -> Self {
        Self {
            start_offset: id.end_offset,
            end_offset: id.end_offset,
            epochs: Vec::new(),
            snapshot: Some(id),
            snapshot_quorum: quorum,
            control: Vec::new(),
        }
    }
}
