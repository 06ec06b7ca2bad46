//! The metadata quorum as this node sees it.

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset};

/// Updated by the control thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QuorumView {
    /// The epoch of the quorum's leader.
    pub(crate) epoch: LeaderEpoch,
    /// The node to send controller requests to; `None`: there is no leader, or it is not known yet.
    pub(crate) leader: Option<QuorumLeader>,
    /// Whether this node is the active controller: it leads, and the first entry of its epoch is committed.
    pub(crate) is_active: bool,
    pub(crate) high_watermark: Offset,
    /// End offset of the image that this node has published. The image is published first, so that a task woken by
    /// this finds it.
    pub(crate) published: Offset,
    /// On the leader only: the progress of each voter.
    pub(crate) voters: Vec<VoterProgress>,
    /// On the active controller only: brokers that may restart.
    pub(crate) granted: Vec<BrokerId>,
}

/// The leader of the quorum, with its controller listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuorumLeader {
    pub(crate) id: BrokerId,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VoterProgress {
    pub(crate) id: BrokerId,
    pub(crate) directory: DirectoryId,
    /// `None`: it has not fetched in this epoch.
    pub(crate) log_end: Option<Offset>,
    /// Whether within the last fetch timeout it fetched up to what was then the leader's log end; always true of the
    /// leader.
    pub(crate) is_caught_up: bool,
}
