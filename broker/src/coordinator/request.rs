//! Requests to a coordinator, and its answers.

use std::time::Duration;

use bytes::Bytes;
use protocol::coordinator_records::{CommittedOffset, GenerationId};
use protocol::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};
use uuid::Uuid;

use super::answer::{Reply, tell};
use super::error::GroupError;
use super::group::GroupState;
use super::member::{Client, GroupId, MemberId, Protocol};

/// One moment on two clocks: sessions end by the monotonic one, and records carry the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) elapsed: Duration,
    pub(super) wall: Timestamp,
}

/// Who a request claims to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberClaim {
    /// Empty: none.
    pub(crate) id: MemberId,
    pub(crate) instance: Option<String>,
}

#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) member: MemberClaim,
    pub(crate) client: Client,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<Protocol>,
    /// The id for a member that has none yet.
    pub(crate) fresh_id: Uuid,
    /// A new member must join a second time with the id it gets (KIP-394).
    pub(crate) id_required: bool,
    /// A leader that comes back can be told to skip the assignment (KIP-814).
    pub(crate) can_skip_assignment: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: GenerationId,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: MemberId,
    pub(crate) member: MemberId,
    /// For the leader only, which assigns the partitions.
    pub(crate) members: Vec<JoinedMember>,
    pub(crate) skip_assignment: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Bytes,
}

#[derive(Debug)]
pub(crate) struct SyncRequest {
    pub(crate) member: MemberClaim,
    pub(crate) generation: GenerationId,
    /// `None`: an old client does not tell.
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// Sent by the leader only.
    pub(crate) assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignment: Bytes,
}

#[derive(Debug)]
pub(crate) struct HeartbeatRequest {
    pub(crate) member: MemberClaim,
    pub(crate) generation: GenerationId,
}

/// A member that leaves, or without an id a static member that an administrator removes.
pub(crate) type Leaving = MemberClaim;

#[derive(Debug)]
pub(crate) struct LeaveRequest {
    pub(crate) members: Vec<Leaving>,
}

#[derive(Debug)]
pub(crate) struct CommitRequest {
    pub(crate) member: MemberClaim,
    /// −1: the sender is not a member.
    pub(crate) generation: GenerationId,
    pub(crate) offsets: Vec<OffsetToCommit>,
    /// How long to keep the offsets; `None`: the configured time.
    pub(crate) retention: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetToCommit {
    pub(crate) topic: String,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: String,
}

/// Items of a topic, and its current id; nil: it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicOffsets<T> {
    pub(crate) topic: String,
    pub(crate) topic_id: TopicId,
    pub(crate) partitions: Vec<T>,
}

/// `None`: nothing is committed.
pub(crate) type FetchedOffsets = Vec<TopicOffsets<(PartitionId, Option<CommittedOffset>)>>;
/// The result of each item, in the order of the request.
pub(crate) type Results = Vec<Result<(), GroupError>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    pub(crate) state: GroupState,
    pub(crate) protocol_type: String,
    /// Empty unless the group is stable.
    pub(crate) protocol: String,
    pub(crate) members: Vec<MemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedGroup {
    pub(crate) id: String,
    pub(crate) protocol_type: String,
    pub(crate) state: GroupState,
}

/// The last committed offset of a group for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) group: GroupId,
    pub(crate) topic: String,
    /// Nil: unknown.
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

/// At most as many as were asked for, and how many there are besides.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    pub(crate) found: Vec<Position>,
    pub(crate) left_out: usize,
}

/// A request about one group.
#[derive(Debug)]
pub(super) enum GroupRequest {
    Join(JoinRequest, Reply<Joined>),
    Sync(SyncRequest, Reply<Synced>),
    Heartbeat(HeartbeatRequest, Reply<()>),
    Leave(LeaveRequest, Reply<Results>),
    CommitOffsets(CommitRequest, Reply<Results>),
    /// `None`: all committed offsets.
    FetchOffsets(Option<Vec<TopicOffsets<PartitionId>>>, Reply<FetchedOffsets>),
    DeleteOffsets(Vec<(String, PartitionId)>, Reply<Results>),
    Describe(Reply<GroupDescription>),
    Delete(Reply<()>),
}

impl GroupRequest {
    /// Answers with an error.
    pub(super) fn refuse(self, error: impl Into<GroupError>) {
        let error = error.into();
        match self {
            Self::Join(_, reply) => tell(reply, Err(error)),
            Self::Sync(_, reply) => tell(reply, Err(error)),
            Self::Heartbeat(_, reply) | Self::Delete(reply) => tell(reply, Err(error)),
            Self::Leave(_, reply) | Self::CommitOffsets(_, reply) | Self::DeleteOffsets(_, reply) => {
                tell(reply, Err(error));
            }
            Self::FetchOffsets(_, reply) => tell(reply, Err(error)),
            Self::Describe(reply) => tell(reply, Err(error)),
        }
    }
}
