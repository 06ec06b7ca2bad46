//! What a partition is asked for, what it answers, and why it refuses.

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

/// Why a partition cannot be read or written by a client now.
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
    /// What was found too late to refuse it.
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

/// Where the log is to begin.
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
    /// KIP-392: one that finds its way to a follower is served there, up to the high watermark known there.
    AnyReplica,
}

/// Where a consumer or a follower reads on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchPosition {
    pub(crate) served_by: ServedBy,
    pub(crate) offset: Offset,
    /// `None`: the client does not know.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) bytes_max: u32,
}

/// A batch in the log, and where the log begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) appended: Appended,
    pub(crate) log_start: Offset,
    /// The end that has to be [`super::Partition::synced`] before this is acknowledged.
    pub(crate) sync_due: Option<Offset>,
    /// What has to be [`super::Partition::committed`] before this is acknowledged.
    pub(crate) commit_due: Option<CommitDue>,
}

/// An end of the log that is to be committed, and the epoch in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitDue {
    pub(crate) end: Offset,
    pub(crate) epoch: LeaderEpoch,
}

/// What a fetch finds, as of one moment.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) located: Located,
    pub(crate) high_watermark: Offset,
    /// Up to where there is something to read for this reader.
    pub(crate) end: LogPosition,
    pub(crate) log_start: Offset,
    /// Nothing more is to be had, and nothing of this reader is waited for, until the partition wakes it.
    pub(crate) is_settled: bool,
    /// Only as far as the leader's throttle lets it.
    pub(crate) is_throttled: bool,
}

/// What a follower's fetch finds.
#[derive(Debug)]
pub(crate) enum FollowerRead {
    Readable(Readable),
    /// The last epoch in common, and its end here.
    Diverging(LeaderEpoch, Offset),
}
