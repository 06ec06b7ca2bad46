//! Types of reads and writes of a partition, and why they are refused.

use protocol::types::{LeaderEpoch, Offset, TopicPartition};
use storage::{AppendError, Appended, FlushError, InvalidLogStart, Located, LogPosition, OutOfRange};

use super::leader_state::UnknownFollower;

/// `acks` of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequiredAcks {
    None,
    Leader,
    All,
}

/// Why a client cannot read or write a partition now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("this broker does not lead {0}")]
    NotLeader(TopicPartition),
    #[error("the client knows leader epoch {claimed}, this broker leads in {current}")]
    FencedLeaderEpoch { claimed: LeaderEpoch, current: LeaderEpoch },
    #[error("the client knows leader epoch {claimed}, which this broker has not heard of; it leads in {current}")]
    UnknownLeaderEpoch { claimed: LeaderEpoch, current: LeaderEpoch },
    #[error("{0} has been deleted")]
    Deleted(TopicPartition),
    #[error("the log of {0} is offline")]
    Offline(TopicPartition),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("{isr_count} replicas are in sync, min.insync.replicas asks for {min_insync_replicas}")]
    NotEnoughReplicas { isr_count: usize, min_insync_replicas: usize },
    #[error(
        "written, but {isr_count} replicas are in sync since, and min.insync.replicas asks for {min_insync_replicas}"
    )]
    NotEnoughReplicasAfterAppend { isr_count: usize, min_insync_replicas: usize },
    #[error("not all replicas in sync have it in time: it is written and may yet be committed")]
    NotCommittedInTime,
    #[error("{available} bytes are free on the volume, fewer than its reserve: delete something or make it larger")]
    DiskFull { available: u64 },
    #[error("not synced in time: it is written and may yet be")]
    NotSyncedInTime,
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl ProduceError {
    /// The same error, found only after the append.
    pub(super) fn after_append(self) -> Self {
        match self {
            Self::NotEnoughReplicas { isr_count, min_insync_replicas } => {
                Self::NotEnoughReplicasAfterAppend { isr_count, min_insync_replicas }
            }
            other => other,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FlushFailure {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Flush(#[from] FlushError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error(transparent)]
    UnknownFollower(#[from] UnknownFollower),
    #[error("the reader knows epoch {epoch}, which this leader of epoch {current} has not heard of")]
    UnknownLastEpoch { epoch: LeaderEpoch, current: LeaderEpoch },
}

/// The new log start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewLogStart {
    At(Offset),
    AtHighWatermark,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteRecordsError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("cleanup.policy of {0} has no delete: its records are not deleted by offset")]
    Policy(TopicPartition),
    #[error(transparent)]
    LogStart(#[from] InvalidLogStart),
    #[error(transparent)]
    Segments(#[from] AppendError),
    #[error("the log start could not be written down: {0}")]
    NotDurable(String),
    #[error("deleted up to {start} here, but a replica that is up still begins at {low_watermark}")]
    NotDeletedInTime { start: Offset, low_watermark: Offset },
}

/// Which replicas may serve a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServedBy {
    Leader,
    /// Also a follower (KIP-392): a consumer is served there up to the high watermark known there.
    AnyReplica,
}

/// The position of a consumer or a follower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchPosition {
    pub(crate) served_by: ServedBy,
    pub(crate) offset: Offset,
    /// `None`: the client does not know it.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) bytes_max: u32,
}

/// A batch in the log, and the log start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) appended: Appended,
    pub(crate) log_start: Offset,
    /// The end offset to wait for with [`super::Partition::synced`] before this is acknowledged.
    pub(crate) sync_due: Option<Offset>,
    /// What to wait for with [`super::Partition::committed`] before this is acknowledged.
    pub(crate) commit_due: Option<CommitDue>,
}

/// An end offset that must be committed, and the epoch in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitDue {
    pub(crate) end: Offset,
    pub(crate) epoch: LeaderEpoch,
}

/// What a fetch finds at one moment.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) located: Located,
    pub(crate) high_watermark: Offset,
    /// The end of what this reader may read.
    pub(crate) end: LogPosition,
    pub(crate) log_start: Offset,
    /// Nothing more can be read, and no other request of this reader matters, until the partition wakes it.
    pub(crate) is_settled: bool,
    /// Subject to the leader's replication throttle.
    pub(crate) is_throttled: bool,
}

/// The result of a follower's fetch.
#[derive(Debug)]
pub(crate) enum FollowerRead {
    Readable(Readable),
    /// The last common epoch, and its end offset here.
    Diverging(LeaderEpoch, Offset),
}
