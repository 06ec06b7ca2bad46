//! The log as a coordinator sees it.

use std::fmt::Debug;
use std::pin::Pin;

use bytes::Bytes;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};

/// Why the log does not append or return records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    #[error("this broker does not lead the partition in that epoch")]
    NotLeader,
    #[error("too few replicas are in sync")]
    NotEnoughReplicas,
    #[error("{bytes} bytes: max.message.bytes of the topic is {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the log cannot be read or written: {0}")]
    Storage(String),
}

/// A partition of `__consumer_offsets`, and the leadership of it that a coordinator acts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: LeaderEpoch,
}

/// Completes when something has happened.
pub(crate) type Notice<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// `__consumer_offsets` on this broker. Everything but `read` is memory work and writes to the page cache. Calls
/// under an earlier leadership are refused.
pub(crate) trait GroupLogs: Debug + Send + Sync {
    /// The partitions that this broker leads.
    fn led(&self) -> Vec<Term>;

    /// Returns the new log end.
    fn append(&self, term: Term, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError>;

    /// The largest batch that `append` takes.
    fn batch_bytes_max(&self, term: Term) -> Result<usize, LogError>;

    fn high_watermark(&self, term: Term) -> Result<Offset, LogError>;

    /// Log start and log end.
    fn range(&self, term: Term) -> Result<(Offset, Offset), LogError>;

    /// May wait for the disk.
    fn read(&self, term: Term, from: Offset, bytes_max: u32) -> Result<LogRead, LogError>;

    /// The time by which the age of offsets is measured.
    fn age_now(&self) -> Timestamp;

    /// Arms [`Self::metadata_changed`], which tells of changes of the metadata, including leadership.
    fn watch_metadata(&self);

    /// Completes when the metadata has changed since the last watch; it must then be watched again.
    fn metadata_changed(&self) -> Notice<'_>;

    /// Arms [`Self::committed`] for this partition's high watermark.
    fn watch_commits(&self, term: Term);

    /// Completes when a watched high watermark has advanced; it must then be watched again.
    fn committed(&self) -> Notice<'_>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// Whole batches, the last perhaps cut off; the first contains the offset.
    Batches(Bytes),
    /// Compaction has left nothing before this offset.
    Gap(Offset),
    /// No batch can be decoded there. Further on the log may know where one begins.
    Broken(String),
}
