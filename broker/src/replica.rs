//! Partitions that this broker hosts: their logs, their leaders, and the requests that wait for them.

mod access;
mod answers;
mod checkpointing;
mod cleaner;
mod cleaner_metrics;
mod cleaning;
mod creation;
mod deleter;
mod deletion;
mod departed;
mod fetcher;
mod fetcher_session;
mod flush_queue;
mod flusher;
mod followed;
mod follower_state;
mod following;
mod group_logs;
mod isr_changes;
mod leader_address;
mod leader_state;
mod leadership;
mod leading;
mod loader;
mod log_sync;
mod lost_leaders;
mod low_watermark;
mod manager;
mod metadata_changes;
mod pacer;
mod partition;
mod proposals;
#[cfg(test)]
mod replication_test;
mod retention;
mod settings;
mod shared;
#[cfg(test)]
pub(crate) mod simulated;
mod space;
#[cfg(test)]
pub(crate) mod testing;
mod throttle;
mod topic_registry;
mod waiters;

pub(crate) use access::{
    AccessError, CommitDue, DeleteRecordsError, FetchError, FetchPosition, FollowerRead, NewLogStart, ProduceError,
    Readable, RequiredAcks, ServedBy, Written,
};
pub(crate) use cleaner::Cleaner;
pub(crate) use cleaner_metrics::{CleanerMetrics, CleanerNumbers};
pub(crate) use deleter::Deleter;
pub(crate) use fetcher::{FetcherConfig, Fetchers};
pub(crate) use flusher::Flusher;
pub(crate) use group_logs::OffsetsLogs;
pub(crate) use leader_state::FollowerFetch;
#[cfg(test)]
pub(crate) use leader_state::{IsrProposal, ProposalOutcome};
pub(crate) use loader::{Checkpoints, LoadProgress, LoaderError};
pub(crate) use manager::{IsrCounts, OfflineReplica, ReplicaManager};
pub(crate) use metadata_changes::Unmade;
pub(crate) use partition::Partition;
#[cfg(test)]
pub(crate) use settings::TopicSettings;
pub(crate) use space::{DiskSpace, SpaceLimits};
pub(crate) use waiters::{Tag, Waiter};
