//! What happens to a node.

use std::time::Duration;

use protocol::types::Offset;

use crate::control::Quorum;
use crate::identity::SnapshotId;
use crate::requests::{Request, Response};

/// When something happens, and a number nobody can foresee: the core has neither clock nor dice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since an origin of the runtime's choice, on a monotonic clock.
    pub now: Duration,
    /// A fresh one for every step.
    pub random: u64,
}

/// A request of another node, to be answered by `Action::Answer` once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A request of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How often the log has been truncated or restarted: what was written before that is not what stands there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogGeneration(pub u64);

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFailure {
    /// Nobody listens at the address. Twice in a row from the leader's: its process is gone.
    Refused,
    /// A connection broke.
    Reset,
    /// No answer in time, or the name does not resolve.
    TimedOut,
    /// An answer that cannot be used: malformed, or an error that has no name in `Refusal`.
    Unusable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The time that `Raft::next_timer` told has come. Too early is harmless.
    Timer,
    /// From another node. Cluster id and topic have been checked.
    Request { token: Token, request: Request },
    /// To a request of this node. Late and repeated ones are ignored.
    Response { id: RequestId, response: Response },
    /// Late ones are ignored.
    RequestFailed { id: RequestId, failure: SendFailure },
    /// The active controller has appended records of the current epoch (`Raft::leading`). They need not be durable.
    Appended { end_offset: Offset },
    /// The log is durable up to there. In any order; what belongs to an earlier generation is ignored.
    Persisted { end_offset: Offset, generation: LogGeneration },
    /// A snapshot that `Action::FinishSnapshot` asked for is durable, complete and in its place.
    SnapshotFinished { id: SnapshotId, quorum: Quorum },
    /// It is not: its bytes are damaged. It is fetched again.
    SnapshotDamaged { id: SnapshotId },
    /// This node has written a snapshot of its own, of committed records.
    SnapshotWritten { id: SnapshotId },
    /// Records before the offset are deleted. Never past `Raft::log_start_max`.
    LogStartAdvanced { offset: Offset },
    /// This node is about to stop: a leader hands over, and nobody here campaigns any more.
    Resign,
}
