//! Requests between nodes and their answers, as far as the quorum needs them. Record bytes stay with the runtime.

use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};

use crate::control::ControlRecord;
use crate::identity::{Endpoint, LeaderInfo, ReplicaKey, SnapshotId};
use crate::voters::Voter;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Vote(VoteRequest),
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    EndQuorumEpoch(EndQuorumEpochRequest),
    Fetch(FetchRequest),
    FetchSnapshot(FetchSnapshotRequest),
    AddVoter(AddVoterRequest),
    RemoveVoter(RemoveVoterRequest),
    UpdateVoter(UpdateVoterRequest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteRequest {
    pub candidate: ReplicaKey,
    /// The replica that the candidate means to call.
    pub voter: ReplicaKey,
    /// In a pre-vote the candidate's epoch, in a vote already the next one.
    pub epoch: LeaderEpoch,
    pub last_epoch: LeaderEpoch,
    /// The candidate's log end offset.
    pub last_offset: Offset,
    /// Only asks whether a vote would be granted (KIP-996).
    pub pre_vote: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginQuorumEpochRequest {
    /// The replica that the leader means to call.
    pub voter: ReplicaKey,
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndQuorumEpochRequest {
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    /// Best first.
    pub preferred_candidates: Vec<ReplicaKey>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    pub replica: ReplicaKey,
    pub epoch: LeaderEpoch,
    /// Everything before it is durable at the follower.
    pub offset: Offset,
    /// Epoch of the record before `offset`; 0 at the beginning of the log.
    pub last_fetched_epoch: LeaderEpoch,
    /// The high watermark that the follower knows (Fetch v18): a higher one is answered at once.
    pub high_watermark: Option<Offset>,
    pub wait_max: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSnapshotRequest {
    pub replica: ReplicaKey,
    pub epoch: LeaderEpoch,
    pub id: SnapshotId,
    pub position: i64,
}

/// The caller checks whether the node has the controller role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddVoterRequest {
    pub voter: Voter,
    /// Time for catching up and committing.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveVoterRequest {
    pub key: ReplicaKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateVoterRequest {
    pub epoch: LeaderEpoch,
    pub voter: Voter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Vote(VoteResponse),
    BeginQuorumEpoch(QuorumResponse),
    EndQuorumEpoch(QuorumResponse),
    /// With a summary of each whole batch that came with it.
    Fetch {
        response: FetchResponse,
        batches: Vec<BatchSummary>,
    },
    /// `size` is that of the whole snapshot, `length` that of the bytes that came.
    FetchSnapshot {
        response: FetchSnapshotResponse,
        size: i64,
        length: i64,
    },
    UpdateVoter(VoterChangeResponse),
}

impl Response {
    pub(crate) fn leader(&self) -> &LeaderInfo {
        match self {
            Self::Vote(response) => &response.leader,
            Self::BeginQuorumEpoch(response) | Self::EndQuorumEpoch(response) => &response.leader,
            Self::Fetch { response, .. } => &response.leader,
            Self::FetchSnapshot { response, .. } => &response.leader,
            Self::UpdateVoter(response) => &response.leader,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteResponse {
    pub error: Option<Refusal>,
    pub leader: LeaderInfo,
    pub granted: bool,
}

/// Answers BeginQuorumEpoch and EndQuorumEpoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumResponse {
    pub error: Option<Refusal>,
    pub leader: LeaderInfo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    pub error: Option<Refusal>,
    pub leader: LeaderInfo,
    /// None until the leader has committed something of its epoch.
    pub high_watermark: Option<Offset>,
    pub log_start: Offset,
    pub content: FetchContent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchContent {
    Records,
    /// Where the leader's log of its largest epoch up to the follower's ends.
    Diverging {
        epoch: LeaderEpoch,
        end_offset: Offset,
    },
    /// What the follower lacks is no longer in the log.
    Snapshot(SnapshotId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSnapshotResponse {
    pub error: Option<Refusal>,
    pub leader: LeaderInfo,
    pub id: SnapshotId,
    pub position: i64,
}

/// Answers AddVoter, RemoveVoter and UpdateVoter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterChangeResponse {
    pub error: Option<VoterChangeError>,
    pub leader: LeaderInfo,
}

/// A fetched batch of records; its checksum was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    pub base_offset: Offset,
    pub epoch: LeaderEpoch,
    /// The number of offsets that it covers.
    pub count: i64,
    /// The records that concern the quorum, with their offsets.
    pub control: Vec<(Offset, ControlRecord)>,
}

/// Why a request of the quorum is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the epoch of the request is over")]
    FencedLeaderEpoch,
    #[error("the epoch of the request is not known here")]
    UnknownLeaderEpoch,
    #[error("this node does not lead")]
    NotLeader,
    #[error("the request is for another node or another volume of this one")]
    InvalidVoterKey,
    #[error("the request contradicts itself or the epoch's leader: {0}")]
    InvalidRequest(&'static str),
    #[error("there is no such snapshot")]
    SnapshotNotFound,
    #[error("the snapshot has no such position")]
    PositionOutOfRange,
    #[error("the voter has acknowledged more than its volume has")]
    VolumeWentBack,
}

/// Why the voter set does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoterChangeError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("the epoch of the request is over")]
    FencedLeaderEpoch,
    #[error("the epoch of the request is not known here")]
    UnknownLeaderEpoch,
    #[error("the leader has not committed a record of its epoch yet")]
    NotActivated,
    #[error("another change of the voters is not committed yet")]
    ChangePending,
    #[error("kraft.version 0 has no dynamic voters")]
    UnsupportedVersion,
    #[error("a voter with this node id is there; it must be removed first")]
    DuplicateVoter,
    #[error("no voter has this node id and directory id")]
    VoterNotFound,
    #[error("the only voter cannot be removed")]
    LastVoter,
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    #[error("the new voter has not caught up, or the change is not committed, in time; it may still be committed")]
    TimedOut,
}
