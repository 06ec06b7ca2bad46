//! Opens an existing partition, after a clean stop or a crash:
//!
//! 1. Settle what a crash left behind ([`crate::leftovers`]).
//! 2. Begin at the newest producer snapshot at or below the recovery point: log, indexes and producers up to there
//!    are on disk. After a clean stop that is the log end, and there is nothing more to do.
//! 3. From there on check every batch, and rebuild indexes, epochs and producers from them ([`crate::recovery`]).
//! 4. The first bad batch ends the log: what follows is removed, including later segments. But a bad batch *below*
//!    the recovery point was once synced. That is not a torn tail, and nothing is removed: the log is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::types::{Offset, Timestamp, TopicId};

use crate::checkpoint::CheckpointError;
use crate::config::LogConfig;
use crate::disk::{Disk, remove_if_present};
use crate::files::{FileKind, parse_name, segment_path};
use crate::leader_epochs::{LeaderEpochFile, LeaderEpochs};
use crate::log::{Log, LogPosition};
use crate::partition_metadata::PartitionMetadataError;
use crate::pool::FilePool;
use crate::producers::Producers;
use crate::read::ResolveError;
use crate::recovery::{Recovered, Recovery};
use crate::scanner::{BatchDefect, ScanError};
use crate::tail_positions::TailPositions;
use crate::{leftovers, partition_metadata, producer_snapshot};

/// The partition's entries in the directory's checkpoints. Entries of a deleted partition must be removed before
/// another one of the same name is created. The default: there are none, so everything is read.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The directory was closed cleanly: everything in it is synced.
    pub clean: bool,
    pub recovery_point: Offset,
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// See [`Log::first_dirty`] and [`Log::compacted_end`].
    pub first_dirty: Offset,
    pub compacted_end: Offset,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryProgress {
    pub scanned_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    PartitionMetadata(#[from] PartitionMetadataError),
    #[error(
        "{}: no batch at byte {position}: {defect}. What was here is below the recovery point {recovery_point}, so it \
         was synced: nothing is truncated. Restore the file, or remove the partition from \
         recovery-point-offset-checkpoint to keep only what lies before",
        path.display()
    )]
    Corrupt { path: PathBuf, position: u64, defect: BatchDefect, recovery_point: Offset },
    #[error(
        "{}: the log ends at {log_end}, but was synced up to {recovery_point}. Restore the files, or remove the \
         partition from recovery-point-offset-checkpoint, and its .snapshot files, to go on with what is there",
        directory.display()
    )]
    TooShort { directory: PathBuf, log_end: Offset, recovery_point: Offset },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    HighWatermark(ResolveError),
}

impl LoadError {
    pub(crate) fn scan(path: &Path, error: ScanError, recovery_point: Offset) -> Self {
        let path = path.to_owned();
        match error {
            ScanError::Defect { position, defect } => Self::Corrupt { path, position, defect, recovery_point },
            ScanError::Io(source) => Self::Io { path, source },
            ScanError::Shrunk { .. } | ScanError::WouldBlock => {
                Self::Io { path, source: io::ErrorKind::UnexpectedEof.into() }
            }
        }
    }
}

impl Log {
    /// The topic id of the log in a directory, without touching anything in it.
    pub fn topic_id_in(pool: &FilePool, directory: &Path) -> Result<TopicId, PartitionMetadataError> {
        partition_metadata::read(&**pool.disk(), directory)
    }

    /// Most bytes that [`Log::load`] may have to scan, by the directory alone.
    pub fn bytes_to_recover(pool: &FilePool, directory: &Path, options: &LoadOptions) -> u64 {
        if options.clean {
            return 0;
        }
        let entries = pool.disk().list(directory).unwrap_or_default();
        let logs: BTreeMap<_, _> = entries
            .iter()
            .filter_map(|entry| Some((parse_name(entry.name.to_str()?)?, entry.length)))
            .filter_map(|((base, kind), length)| (kind == FileKind::Log).then_some((base, length)))
            .collect();
        // The segment that holds the recovery point, and those after it.
        let first = logs.range(..=options.recovery_point).next_back().map_or(Offset(0), |(base, _)| *base);
        logs.range(first..).map(|(_, length)| *length).sum()
    }

    pub fn load(
        pool: &Arc<FilePool>,
        directory: &Path,
        config: LogConfig,
        options: &LoadOptions,
        progress: &mut dyn FnMut(RecoveryProgress),
    ) -> Result<Self, LoadError> {
        let disk = &**pool.disk();
        let topic_id = partition_metadata::read(disk, directory)?;
        let had_leftovers = leftovers::settle(disk, directory)?;
        let io_error = |source| LoadError::Io { path: directory.to_owned(), source };
        let listing = Listing::read(disk, directory).map_err(io_error)?;
        let epoch_file = LeaderEpochFile::new(pool.disk().clone(), directory);
        let known_epochs = read_epochs(&epoch_file)?;
        let start = StartPoint::choose(disk, directory, &listing, known_epochs.is_some(), options).map_err(io_error)?;

        let epochs_in_file = known_epochs.unwrap_or_default();
        let recovery = Recovery::new(pool, directory, &config, options, start, &epochs_in_file);
        let recovered = recovery.run(&listing.logs, progress)?;
        if had_leftovers || listing.had_orphans || recovered.removed {
            // Otherwise removed files would come back after a crash, among records written since. If nothing was
            // removed there is no sync: ten thousand logs must not wait for the disk.
            disk.sync_directory(directory).map_err(io_error)?;
        }
        let mut log = assemble(pool, directory, topic_id, config, recovered, options);
        if log.end_offset < options.log_start {
            tracing::warn!(directory = %directory.display(), log_end = %log.end_offset, log_start = %options.log_start,
                "restarted log at the log start: everything before it was deleted on purpose, and nothing follows");
            log.begin_at(options.log_start, options.now).map_err(io_error)?;
        }
        log.settle_epochs(epochs_in_file);
        log.high_watermark = log.position_of(options.high_watermark).map_err(LoadError::HighWatermark)?;
        Ok(log)
    }

    /// What the file lacks is written by the next flush.
    fn settle_epochs(&mut self, in_file: LeaderEpochs) {
        self.epochs.truncate_from_end(self.end_offset);
        self.epochs.truncate_from_start(self.start_offset);
        if self.size() == 0 {
            // The log was restarted: the file's epochs are from before.
            self.epochs = LeaderEpochs::default();
        }
        self.flushing.epochs_in_file = Some(in_file);
    }
}

fn assemble(
    pool: &Arc<FilePool>,
    directory: &Path,
    topic_id: TopicId,
    config: LogConfig,
    recovered: Recovered,
    options: &LoadOptions,
) -> Log {
    let Recovered { closed, active, log_end, epochs, producers, flushing, removed: _ } = recovered;
    let first_base = closed.first().map_or(active.base, |segment| segment.base);
    Log {
        pool: pool.clone(),
        directory: directory.into(),
        topic_id,
        config,
        high_watermark: LogPosition { offset: log_end, segment_base: active.base, position: active.size },
        closed,
        active,
        tail: TailPositions::default(),
        start_offset: options.log_start.max(first_base),
        end_offset: log_end,
        epochs,
        producers,
        // Up to where it was compacted is beyond the end of a log that was truncated since.
        first_dirty: if log_end < options.first_dirty { Offset(0) } else { options.first_dirty },
        compacted_end: options.compacted_end.max(options.first_dirty),
        flushing,
        offline: Arc::new(AtomicBool::new(false)),
        abandoned: Arc::default(),
    }
}

/// The segments and snapshots of a partition directory.
#[derive(Debug)]
struct Listing {
    /// Base offset and length of each `.log`.
    logs: BTreeMap<Offset, u64>,
    snapshots: BTreeSet<Offset>,
    /// There were indexes without a log.
    had_orphans: bool,
}

impl Listing {
    /// Removes indexes without a log.
    fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Self> {
        let (mut logs, mut snapshots, mut indexes) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for entry in disk.list(directory)? {
            match entry.name.to_str().and_then(parse_name).filter(|_| !entry.is_directory) {
                Some((base, FileKind::Log)) => drop(logs.insert(base, entry.length)),
                Some((offset, FileKind::Snapshot)) => drop(snapshots.insert(offset)),
                Some((base, kind)) => indexes.push((base, kind)),
                None => {}
            }
        }
        indexes.retain(|(base, _)| !logs.contains_key(base));
        for (base, kind) in &indexes {
            remove_if_present(disk, &segment_path(directory, *base, *kind))?;
        }
        Ok(Self { logs, snapshots, had_orphans: !indexes.is_empty() })
    }
}

/// The offset before which nothing needs to be read.
#[derive(Debug)]
pub(crate) struct StartPoint {
    pub(crate) offset: Offset,
    pub(crate) producers: Producers,
    pub(crate) snapshots: BTreeSet<Offset>,
}

impl StartPoint {
    /// The newest valid snapshot that is known to be synced. Invalid ones are removed, and those that may be of a log
    /// that no longer exists.
    fn choose(
        disk: &dyn Disk,
        directory: &Path,
        listing: &Listing,
        epochs_known: bool,
        options: &LoadOptions,
    ) -> io::Result<Self> {
        let first = listing.logs.keys().next().copied().unwrap_or(options.log_start);
        let mut snapshots = listing.snapshots.clone();
        while let Some(offset) = snapshots.last().copied() {
            // One from before the first segment lacks what the deleted segments would have added.
            if first <= offset && (options.clean || offset <= options.recovery_point) {
                match producer_snapshot::read(disk, directory, offset)? {
                    // Without epochs everything is read, to find them in the batches.
                    Ok(_) if !epochs_known => break,
                    Ok(producers) => return Ok(Self { offset, producers, snapshots }),
                    Err(error) => {
                        tracing::warn!(directory = %directory.display(), %offset, %error, "invalid producer snapshot removed");
                    }
                }
            }
            remove_if_present(disk, &producer_snapshot::path(directory, offset))?;
            snapshots.remove(&offset);
        }
        Ok(Self { offset: first, producers: Producers::default(), snapshots })
    }
}

/// `None` if there is no valid file.
fn read_epochs(file: &LeaderEpochFile) -> Result<Option<LeaderEpochs>, LoadError> {
    match file.read() {
        Ok(epochs) => Ok(epochs),
        Err(CheckpointError::Io { path, source }) => Err(LoadError::Io { path, source }),
        Err(error @ CheckpointError::Invalid { .. }) => {
            tracing::warn!(%error, "leader epochs rebuilt from the batches");
            Ok(None)
        }
    }
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
