//! Partitions that this broker hosts: their logs, who leads them, and who waits for them.

mod access;
mod deleter;
mod deletion;
mod flush_queue;
mod flusher;
mod group_logs;
mod loader;
mod manager;
mod partition;
mod retention;
mod settings;
mod space;
#[cfg(test)]
pub(crate) mod testing;
mod topic_registry;
mod waiters;

pub(crate) use access::{
    AccessError, DeleteRecordsError, FetchError, FetchPosition, NewLogStart, ProduceError, Readable, RequiredAcks,
};
pub(crate) use deleter::Deleter;
pub(crate) use flusher::Flusher;
pub(crate) use group_logs::OffsetsLogs;
pub(crate) use loader::{Checkpoints, LoadProgress, LoaderError};
pub(crate) use manager::{OfflineReplica, ReplicaManager};
pub(crate) use partition::Partition;
#[cfg(test)]
pub(crate) use settings::TopicSettings;
pub(crate) use space::{DiskSpace, SpaceLimits};
pub(crate) use waiters::Waiter;
