//! The partition log in Kafka's on-disk format. Synchronous; all IO goes through [`Disk`], time is an argument.
//!
//! ```text
//! directory      one volume: identity, lock, checkpoints, partition directories
//! log            one partition: append; read → Located, flush → FlushJob, deletion → SegmentDeletion, load;
//!                fetched_batches and truncation make it a follower's; compaction keeps the last record of each key
//! *_segment      its files; pool bounds how many are open
//! *_index, producer_snapshot, leader_epochs, checkpoint, …   one file format each
//! disk, faulty   the file system, and one that fails; reserve keeps space of it back
//! ```
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod active_segment;
#[cfg(feature = "planted-bugs")]
pub mod bugs;
#[cfg(not(feature = "planted-bugs"))]
mod bugs;
mod checkpoint;
mod closed_segment;
mod compaction;
mod config;
mod deletion;
pub mod directory;
mod disk;
pub mod faulty;
mod fetched_batches;
mod files;
mod flush;
mod leader_epochs;
mod leftovers;
mod load;
mod log;
mod meta_properties;
mod offset_index;
mod partition_directory;
mod partition_metadata;
mod pool;
mod producer_snapshot;
mod producers;
mod read;
mod recovery;
mod reserve;
mod scanner;
mod segment_indexes;
mod segment_walk;
mod tail_positions;
mod time_index;
mod timestamps;
mod truncation;

pub use checkpoint::{CheckpointError, OffsetCheckpoint};
pub use compaction::{
    Compacted, Compaction, CompactionError, CompactionLimits, CompactionOwner, CompactionRules, Dirt, KeyHasher,
};
pub use config::LogConfig;
pub use deletion::{DeletionError, InvalidLogStart, Retention, SegmentDeletion};
pub use disk::{DirectoryEntry, Disk, DiskFile, DiskSpace, Mapping, OpenMode, SystemDisk, read_file, replace_file};
pub use fetched_batches::{FetchedBatches, ReplicateError, UnsoundBatch};
pub use flush::{FlushError, FlushJob, Flushed};
pub use leader_epochs::{EpochEntry, LeaderEpochs};
pub use load::{LoadError, LoadOptions, RecoveryProgress};
pub use log::{AppendError, Appended, Log, LogPosition, is_shortage};
pub use meta_properties::MetaProperties;
pub use partition_directory::{DirectoryState, NotAPartitionDirectory, PartitionDirectoryName};
pub use partition_metadata::PartitionMetadataError;
pub use pool::{FilePool, PoolLimits};
pub use producers::{ActiveProducer, ProducerError};
pub use read::{Located, LogSlice, OutOfRange, ResolveError, UpTo};
pub use reserve::{Reserve, ReservedDisk};
pub use scanner::{BatchDefect, ReadMode};
pub use timestamps::{TimestampLookup, TimestampOffset};
pub use truncation::TruncateError;

#[cfg(test)]
mod testing;
