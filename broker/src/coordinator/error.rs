//! Why a coordinator refuses a request.

use protocol::coordinator_records::GenerationId;

use super::log::LogError;
use super::member::MemberId;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("a group needs a name of 1 to 32767 bytes")]
    InvalidGroupId,
    #[error("there is no group of that name")]
    GroupNotFound,
    #[error("the group has no member {0:?}")]
    UnknownMember(MemberId),
    #[error("the group has no static member {0:?}")]
    UnknownInstance(String),
    #[error("group.instance.id {instance:?} is {current:?} by now, no longer {claimed:?}")]
    FencedInstance { instance: String, claimed: MemberId, current: MemberId },
    #[error("the member knows generation {claimed}, the group is in {current}")]
    IllegalGeneration { claimed: GenerationId, current: GenerationId },
    #[error("the group is being rebalanced: join again")]
    RebalanceInProgress,
    #[error("join again as {0:?}")]
    MemberIdRequired(MemberId),
    #[error("no protocol of that type is common to all members")]
    InconsistentProtocol,
    #[error("a session of {asked} ms: group.min.session.timeout.ms is {min}, group.max.session.timeout.ms {max}")]
    InvalidSessionTimeout { asked: i32, min: i32, max: i32 },
    #[error("the group has group.max.size={size_max} members")]
    GroupFull { size_max: usize },
    #[error("its members would take {bytes} bytes of the group, which keeps {bytes_max}")]
    GroupTooLarge { bytes: usize, bytes_max: usize },
    #[error("{count} new members have not joined yet with the ids they got: try again later")]
    TooManyUnusedIds { count: usize },
    #[error("the group has members")]
    NotEmpty,
    #[error("members of the group are subscribed to topic {0:?}")]
    Subscribed(String),
    #[error("metadata of {bytes} bytes: offset.metadata.max.bytes is {bytes_max}")]
    MetadataTooLarge { bytes: usize, bytes_max: usize },
    #[error("{bytes} bytes of records: the offsets of one request may take {bytes_max}")]
    CommitTooLarge { bytes: usize, bytes_max: usize },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Nothing is wrong with the request: retry with another broker, or later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    #[error("the coordinator is still reading its log")]
    Loading,
    #[error("not committed in time: it is written and may yet be")]
    NotCommittedInTime,
    #[error(transparent)]
    Log(#[from] LogError),
}
