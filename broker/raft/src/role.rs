//! What a node is at the moment.

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
    /// Which of those that can be asked is next.
    pub(crate) ask_next: usize,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) leader: BrokerId,
    /// If another node told it.
    pub(crate) address: Option<Address>,
    /// When the leader counts as gone unless an answer has come.
    pub(crate) fetch_deadline: Duration,
    /// Whether the leader has answered.
    pub(crate) is_attached: bool,
    /// When a voter campaigns because the leader's process is gone or has resigned.
    pub(crate) lost_at: Option<Duration>,
    /// How often in a row the leader's address refused.
    pub(crate) refused: u32,
    /// Whether a connection broke since the leader's last answer.
    pub(crate) is_reset: bool,
    /// Nothing is sent before.
    pub(crate) retry_at: Duration,
    pub(crate) request: Option<RequestId>,
    pub(crate) snapshot: Option<SnapshotFetch>,
    /// When the leader is asked to correct this voter's endpoints, if they are wrong.
    pub(crate) update_at: Duration,
}

/// A snapshot on its way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotFetch {
    pub(crate) id: SnapshotId,
    /// Bytes that have come.
    pub(crate) position: i64,
    /// All have come, and the runtime checks them.
    pub(crate) is_complete: bool,
}

#[derive(Debug)]
pub(crate) struct Campaign {
    pub(crate) ballot: Ballot,
    pub(crate) deadline: Duration,
    pub(crate) granted: BTreeSet<BrokerId>,
    /// Voters from which an answer may still come.
    pub(crate) open: BTreeSet<BrokerId>,
}

/// Votes cost an epoch; pre-votes are asked for before (KIP-996).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ballot {
    PreVote,
    Vote,
}

/// The leadership in which `Raft::leading` finds this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading {
    pub epoch: LeaderEpoch,
    /// Where the next append stands.
    pub base_offset: protocol::types::Offset,
    /// A record of the epoch is committed: the controller may act.
    pub is_activated: bool,
}

impl Follower {
    /// When it stops believing in its leader. While it checks a snapshot it does not expect an answer.
    pub(crate) fn gone_at(&self) -> Option<Duration> {
        let is_checking = self.snapshot.is_some_and(|snapshot| snapshot.is_complete);
        self.lost_at.into_iter().chain((!is_checking).then_some(self.fetch_deadline)).min()
    }
}
