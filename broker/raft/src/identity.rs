//! The nodes of the quorum, and their addresses.

use std::fmt;

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset};

/// A replica of the metadata log: a node with a volume (KIP-853). The same node with another volume is another
/// replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub id: BrokerId,
    pub directory_id: DirectoryId,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.directory_id)
    }
}

/// An address to connect to. Resolved anew for each connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A controller listener of a voter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The name of the listener.
    pub name: String,
    pub address: Address,
}

/// The recipient of a request. If only the configuration has the address the node's id is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub node: Option<BrokerId>,
    pub address: Address,
}

/// What a node knows of the leadership, and includes in every answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderInfo {
    pub epoch: LeaderEpoch,
    /// None: the epoch has no leader yet, or this node does not know it.
    pub leader: Option<BrokerId>,
    pub address: Option<Address>,
}

/// A snapshot holds everything before `end_offset`; `epoch` is that of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SnapshotId {
    pub end_offset: Offset,
    pub epoch: LeaderEpoch,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.end_offset, self.epoch)
    }
}

/// What must be durable before any other node may learn of it: the file `quorum-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ElectionState {
    pub epoch: LeaderEpoch,
    pub leader: Option<BrokerId>,
    /// The replica that this node voted for in `epoch`: kept also if another one is elected.
    pub voted: Option<ReplicaKey>,
}
