//! The actions of a node. The actions of a step must be carried out in order.

use std::ops::Range;

use protocol::types::{LeaderEpoch, Offset};

use crate::control::ControlRecord;
use crate::event::{LogGeneration, RequestId, Token};
use crate::identity::{Destination, ElectionState, LeaderInfo, SnapshotId};
use crate::requests::{
    FetchResponse, FetchSnapshotResponse, QuorumResponse, Request, VoteResponse, VoterChangeResponse,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing after it, in this list or a later one, may be carried out before the state is durable.
    PersistElection(ElectionState),
    /// A control batch of the leader, at the log end. `Event::Persisted` follows when it is durable.
    AppendControl {
        base_offset: Offset,
        epoch: LeaderEpoch,
        records: Vec<ControlRecord>,
    },
    /// The batches of the fetch response of this step, from the first, as many as end by `end_offset`.
    AppendFetched {
        base_offset: Offset,
        end_offset: Offset,
    },
    /// Whatever is written or made durable after this belongs to the new generation.
    Truncate {
        end_offset: Offset,
        generation: LogGeneration,
    },
    /// The bytes of the snapshot response of this step belong at `position`. 0 begins the file anew.
    WriteSnapshot {
        id: SnapshotId,
        position: i64,
    },
    /// All bytes have arrived: make the file durable, check it, and return `Event::SnapshotFinished` or `…Damaged`.
    FinishSnapshot {
        id: SnapshotId,
    },
    /// Drop the whole log, let it begin at the snapshot's end offset, and take the state from the snapshot.
    RestartLog {
        id: SnapshotId,
        generation: LogGeneration,
    },
    /// `Event::Response` or `Event::RequestFailed` follows.
    Send {
        id: RequestId,
        to: Destination,
        request: Request,
    },
    Answer {
        token: Token,
        answer: Answer,
    },
    /// Everything before the offset is committed. It never decreases.
    HighWatermark(Offset),
    /// The epoch has changed, or its leader is another, or there is none.
    LeaderChanged(LeaderInfo),
    /// This node leads, and the first record of its epoch is committed: it is the active controller.
    Activated {
        epoch: LeaderEpoch,
    },
    /// It no longer leads the epoch. Sent whether or not it had been activated.
    Resigned {
        epoch: LeaderEpoch,
    },
    /// Something that should not happen, to be logged. The node has ignored what caused it.
    Report(Report),
    /// This node must end: nothing that it does afterwards counts.
    Fail(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Vote(VoteResponse),
    BeginQuorumEpoch(QuorumResponse),
    EndQuorumEpoch(QuorumResponse),
    /// With the batches of `records`, as many as the limits of the request allow; an empty range has none. They may
    /// not be durable here yet.
    Fetch {
        response: FetchResponse,
        records: Range<Offset>,
    },
    /// Without an error: with bytes of the snapshot from the position on, or the error that there is no such snapshot
    /// or position.
    FetchSnapshot(FetchSnapshotResponse),
    AddVoter(VoterChangeResponse),
    RemoveVoter(VoterChangeResponse),
    UpdateVoter(VoterChangeResponse),
}

/// Why a node cannot go on with its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What it had acknowledged is gone together with its votes: as the voter that it was it could elect a leader
    /// that lacks committed records.
    #[error(
        "this volume is an older copy of itself: its metadata log ends at {log_end}, and the leader of epoch {epoch} \
         has heard from it that it has more. Remove the voter, and let the node begin anew with an empty volume"
    )]
    VolumeWentBack { epoch: LeaderEpoch, log_end: Offset },
}

/// Answers of other nodes that contradict what this one knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Report {
    #[error("two leaders of epoch {epoch}: {known} and {claimed}")]
    TwoLeaders { epoch: LeaderEpoch, known: protocol::types::BrokerId, claimed: protocol::types::BrokerId },
    #[error("the leader of epoch {epoch} asks to truncate to {end_offset}, but {high_watermark} is committed")]
    TruncationBelowHighWatermark { epoch: LeaderEpoch, end_offset: Offset, high_watermark: Offset },
    #[error("the leader of epoch {epoch} sent batches that do not continue the log at {log_end}")]
    UnfitBatches { epoch: LeaderEpoch, log_end: Offset },
    #[error("the leader of epoch {epoch} offers snapshot {id}, but this log already holds it")]
    UselessSnapshot { epoch: LeaderEpoch, id: SnapshotId },
    #[error("snapshot {0} is damaged and is fetched again")]
    DamagedSnapshot(SnapshotId),
}
