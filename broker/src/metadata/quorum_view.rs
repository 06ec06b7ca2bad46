//! The metadata quorum as this node sees it.

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset};

/// Told by the control thread whenever something of it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QuorumView {
    /// Of the quorum's leadership.
    pub(crate) epoch: LeaderEpoch,
    /// Whom requests for the controller go to; `None`: nobody leads, or it is not known yet.
    pub(crate) leader: Option<QuorumLeader>,
    /// This node decides: it leads, and the first entry of its epoch is committed.
    pub(crate) is_active: bool,
    pub(crate) high_watermark: Offset,
    /// End of what is in the image that this node has published. The image is published first, so that who is woken
    /// by this finds it there.
    pub(crate) published: Offset,
    /// Only where this node leads: how far each voter is.
    pub(crate) voters: Vec<VoterProgress>,
    /// Only where this node is active: brokers that may restart.
    pub(crate) granted: Vec<BrokerId>,
}

/// The leader of the quorum, and where its controller listener is.
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
    /// Within the last fetch timeout it has fetched up to what was the leader's log end then; always true of the
    /// leader.
    pub(crate) is_caught_up: bool,
}
