//! The roles of a node.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch};

use crate::event::RequestId;
use crate::identity::{Address, SnapshotId};
use crate::leader::Leader;

#[derive(Debug)]
pub(crate) enum Role {
    /// Knows no leader. Looks for one; a voter campaigns in the end.
    Unattached(Unattached),
    /// Follows the leader of its epoch, as voter or observer.
    Follower(Follower),
    /// Asks for pre-votes or votes.
    Campaigning(Campaign),
    Leader(Box<Leader>),
}

#[derive(Debug)]
pub(crate) struct Unattached {
    /// When a voter campaigns.
    pub(crate) campaign_at: Duration,
    /// When the next node is asked for the leader.
    pub(crate) ask_at: Duration,
    /// Which of the nodes that can be asked is next.
    pub(crate) ask_next: usize,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) leader: BrokerId,
    /// Set if another node told it.
    pub(crate) address: Option<Address>,
    /// When the leader counts as gone unless it has answered.
    pub(crate) fetch_deadline: Duration,
    /// Whether the leader has answered.
    pub(crate) is_attached: bool,
    /// When a voter campaigns because the leader's process is gone or has resigned.
    pub(crate) lost_at: Option<Duration>,
    /// How often in a row the leader's address refused.
    pub(crate) refused: u32,
    /// Whether a connection broke since the leader's last answer.
    pub(crate) is_reset: bool,
    /// Nothing is sent before this time.
    pub(crate) retry_at: Duration,
    pub(crate) request: Option<RequestId>,
    pub(crate) snapshot: Option<SnapshotFetch>,
    /// When the leader is asked to correct this voter's endpoints, if they are wrong.
    pub(crate) update_at: Duration,
}

/// A snapshot that is being fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotFetch {
    pub(crate) id: SnapshotId,
    /// Bytes that have arrived.
    pub(crate) position: i64,
    /// All have arrived, and the runtime checks them.
    pub(crate) is_complete: bool,
}

#[derive(Debug)]
pub(crate) struct Campaign {
    pub(crate) ballot: Ballot,
    pub(crate) deadline: Duration,
    pub(crate) granted: BTreeSet<BrokerId>,
    /// Voters that may still answer.
    pub(crate) open: BTreeSet<BrokerId>,
}

/// Votes cost an epoch; so pre-votes come first (KIP-996).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ballot {
    PreVote,
    Vote,
}

/// This node's leadership, as returned by `Raft::leading`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading {
    pub epoch: LeaderEpoch,
    /// Offset of the next append.
    pub base_offset: protocol::types::Offset,
    /// A record of the epoch is committed: the controller may act.
    pub is_activated: bool,
}

impl Follower {
    /// When the leader counts as gone. While a snapshot is checked no answer is expected.
    pub(crate) fn gone_at(&self) -> Option<Duration> {
        let is_checking = self.snapshot.is_some_and(|snapshot| snapshot.is_complete);
        self.lost_at.into_iter().chain((!is_checking).then_some(self.fetch_deadline)).min()
    }
}
