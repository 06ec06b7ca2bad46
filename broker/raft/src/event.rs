//! The events of a node.

use std::time::Duration;

use protocol::types::Offset;

use crate::control::Quorum;
use crate::identity::SnapshotId;
use crate::requests::{Request, Response};

/// The time of an event, and an unpredictable number: the core has neither clock nor random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since an origin of the runtime's choice, on a monotonic clock.
    pub now: Duration,
    /// A fresh number for every step.
    pub random: u64,
}

/// A request of another node, to be answered exactly once by `Action::Answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A request of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How often the log has been truncated or restarted: what was written before may have been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogGeneration(pub u64);

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFailure {
    /// Nothing listens at the address. Twice in a row at the leader's address: its process is gone.
    Refused,
    /// The connection broke.
    Reset,
    /// No answer in time, or the name cannot be resolved.
    TimedOut,
    /// An unusable answer: malformed, or an error that `Refusal` does not have.
    Unusable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The time given by `Raft::next_timer` has come. Too early is harmless.
    Timer,
    /// A request of another node. Cluster id and topic have been checked.
    Request { token: Token, request: Request },
    /// A response to a request of this node. Late and repeated ones are ignored.
    Response { id: RequestId, response: Response },
    /// Late ones are ignored.
    RequestFailed { id: RequestId, failure: SendFailure },
    /// The active controller has appended records of the current epoch (`Raft::leading`). They need not be durable.
    Appended { end_offset: Offset },
    /// The log is durable up to there. In any order; reports of an earlier generation are ignored.
    Persisted { end_offset: Offset, generation: LogGeneration },
    /// A snapshot requested by `Action::FinishSnapshot` is durable, complete and in place.
    SnapshotFinished { id: SnapshotId, quorum: Quorum },
    /// The snapshot's bytes are damaged. It is fetched again.
    SnapshotDamaged { id: SnapshotId },
    /// This node has written a snapshot of its own, of committed records.
    SnapshotWritten { id: SnapshotId },
    /// Records before the offset are deleted. Never beyond `Raft::log_start_max`.
    LogStartAdvanced { offset: Offset },
    /// This node is about to stop: a leader hands over, and the node no longer campaigns.
    Resign,
}
