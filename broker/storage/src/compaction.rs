//! Compaction: only the last record of each key stays (`cleanup.policy=compact`). Offsets do not change, so there are
//! gaps afterwards.
//!
//! 1. [`Log::dirt`] tells how much has come since the last pass, [`Log::start_compaction`] begins one. Only closed
//!    segments that are committed and on disk are compacted.
//! 2. A map of the last offset of each key is built from the new part ([`key_map`]), as far as its memory goes.
//! 3. All segments up to the map's end are rewritten, in groups that fit into one segment, without the records that
//!    are superseded or have expired ([`record_filter`]).
//! 4. Each group replaces its segments before the next one is written ([`swap`]).
//!
//! All of it runs without the log's lock except for moments. A truncation ends the pass, and a failure leaves the log
//! as it was. Of transactions, which only a copied log has, too much is kept rather than too little.

mod cleaned_segment;
mod dirt;
mod key_map;
mod key_offsets;
mod last_offsets;
mod pass;
mod record_filter;
mod swap;
#[cfg(test)]
mod testing;

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use protocol::types::{Offset, ProducerId, Timestamp};

use crate::closed_segment::ClosedSegment;
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::log::{Log, is_shortage};
use crate::pool::FilePool;
use crate::read::ResolveError;

pub use dirt::Dirt;
pub use key_offsets::KeyHasher;

/// The compaction options of a topic, under Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionRules {
    /// `min.cleanable.dirty.ratio`
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`
    pub lag_ms_min: i64,
    /// `max.compaction.lag.ms`
    pub lag_ms_max: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
}

/// What one pass may use.
#[derive(Debug, Clone)]
pub struct CompactionLimits {
    /// For renames: a swap that has begun must end, so it may use up the reserve.
    pub disk: Arc<dyn Disk>,
    pub hasher: KeyHasher,
    /// Memory for the map of keys.
    pub map_bytes_max: u64,
    /// How full the map may become.
    pub load_factor: f64,
    /// Most bytes of a decompressed batch.
    pub decompressed_bytes_max: usize,
}

/// The owner of the log that is compacted.
pub trait CompactionOwner {
    /// `None`: the log is gone.
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T>;
    /// Called before records are removed: writes the checkpoints, so that [`Log::compacted_end`] survives a crash, and
    /// a recovery point below which no epochs are read from batches. `Break`: the checkpoints could not be written.
    fn begins(&self) -> ControlFlow<()>;
    /// Told of bytes read and written. `Break`: the pass shall end.
    fn used(&self, read: u64, written: u64) -> ControlFlow<()>;
    /// Files that can be removed once their current readers are done.
    fn replaced(&self, files: Vec<PathBuf>);
}

/// One pass. See [`Compaction::run`].
#[derive(Debug)]
pub struct Compaction {
    pool: Arc<FilePool>,
    directory: Arc<Path>,
    abandoned: Arc<RwLock<bool>>,
    config: LogConfig,
    rules: CompactionRules,
    now: Timestamp,
    first_dirty: Offset,
    segments: Vec<Arc<ClosedSegment>>,
    /// End of the oldest remembered batch of each producer.
    remembered_from: HashMap<ProducerId, Offset>,
}

/// The result of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Everything before it has been compacted.
    pub end: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    #[error("the pass was told to end, or the log was truncated or is gone")]
    Stopped,
    #[error(transparent)]
    Read(#[from] ResolveError),
    #[error("{}: {source}", directory.display())]
    Write { directory: PathBuf, source: io::Error },
}

impl CompactionError {
    /// Whether a resource ran out: the operation may be retried.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Write { source, .. } | Self::Read(ResolveError::Io { source, .. }) => is_shortage(source),
            _ => false,
        }
    }

    /// Whether a write or sync failed: the disk can no longer be trusted.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Write { source, .. } if !is_shortage(source))
    }
}

#[cfg(test)]
#[path = "compaction_test.rs"]
mod tests;
