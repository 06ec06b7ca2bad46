//! What a coordinator sees of the log.

use std::fmt::Debug;
use std::pin::Pin;

use bytes::Bytes;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};

/// Why the log does not take or give records.
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

/// Comes when something has happened.
pub(crate) type Notice<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// `__consumer_offsets` on this broker. All but `read` is memory work and writes to the page cache. What is asked under
/// a leadership that is over is refused.
pub(crate) trait GroupLogs: Debug + Send + Sync {
    /// What this broker leads.
    fn led(&self) -> Vec<Term>;

    /// Returns the log end after it.
    fn append(&self, term: Term, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError>;

    /// The largest batch that `append` takes.
    fn batch_bytes_max(&self, term: Term) -> Result<usize, LogError>;

    fn high_watermark(&self, term: Term) -> Result<Offset, LogError>;

    /// First offset, and the end.
    fn range(&self, term: Term) -> Result<(Offset, Offset), LogError>;

    /// May wait for the disk.
    fn read(&self, term: Term, from: Offset, bytes_max: u32) -> Result<LogRead, LogError>;

    /// What offsets are as old by as they seem.
    fn age_now(&self) -> Timestamp;

    /// From now on [`Self::metadata_changed`] tells of changes of the metadata, and with it of leadership.
    fn watch_metadata(&self);

    /// They have changed since they were last watched, and have to be watched again.
    fn metadata_changed(&self) -> Notice<'_>;

    /// From now on [`Self::committed`] tells when the high watermark moves.
    fn watch_commits(&self, term: Term);

    /// One that was watched has moved, and has to be watched again.
    fn committed(&self) -> Notice<'_>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// Whole batches, the last perhaps cut off, of which the first contains the offset.
    Batches(Bytes),
    /// Compaction has left nothing before this offset.
    Gap(Offset),
    /// No batch can be made out there. Perhaps further on, where the log knows again where one begins.
    Broken(String),
}
