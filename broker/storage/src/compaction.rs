//! Compaction: of each key only the last record stays (`cleanup.policy=compact`). Offsets stay as they are, so some are
//! missing afterwards.
//!
//! 1. [`Log::dirt`] tells how much has come since the last pass, [`Log::start_compaction`] begins one. Only closed
//!    segments count that are committed and on disk.
//! 2. A map of the last offset of each key is made from what is new ([`key_map`]), as far as its memory goes.
//! 3. All segments up to the map's end are written anew, in groups that fit one segment, without what the map or the
//!    time have made superfluous ([`record_filter`]).
//! 4. Each group takes the place of its segments before the next one is written ([`swap`]).
//!
//! All of it runs without the log's lock but for moments. A truncation ends the pass, and one that fails leaves the log
//! as it was. Of transactions, which only a copied log has, too much stays rather than too little.

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

/// What a topic says of its compaction, under Kafka's names.
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
    /// For names: where a swap has begun it has to end, so it may use up the reserve.
    pub disk: Arc<dyn Disk>,
    pub hasher: KeyHasher,
    /// Of the map of keys.
    pub map_bytes_max: u64,
    /// How full the map may become.
    pub load_factor: f64,
    /// What a compressed batch may hold.
    pub decompressed_bytes_max: usize,
}

/// Who owns the log that is compacted.
pub trait CompactionOwner {
    /// `None`: the log is gone.
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T>;
    /// So much was read or written. `Break`: the pass is to end.
    fn used(&self, read: u64, written: u64) -> ControlFlow<()>;
    /// Files that nobody needs any more, once those who read them now are done.
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
    /// Where the oldest batch of each producer ends that is remembered.
    remembered_from: HashMap<ProducerId, Offset>,
}

/// What a pass has done.
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
    /// Something ran out: what was tried may be tried again.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Write { source, .. } | Self::Read(ResolveError::Io { source, .. }) => is_shortage(source),
            _ => false,
        }
    }

    /// A write or sync failed: the disk is not to be trusted.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Write { source, .. } if !is_shortage(source))
    }
}

#[cfg(test)]
#[path = "compaction_test.rs"]
mod tests;
