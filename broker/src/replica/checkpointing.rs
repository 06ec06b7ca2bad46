//! The checkpoint files, each for all logs of the data directory: recovery points, log starts, high watermarks, and
//! offsets of the cleaner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};

use protocol::types::{Offset, PartitionId, TopicPartition};
use storage::{CheckpointError, LoadOptions, Log, OffsetCheckpoint, is_shortage};
use tracing::warn;

use super::manager::ReplicaManager;
use super::partition::{Offline, lock};
use crate::metadata::METADATA_DIRECTORY;

/// State of the checkpoint files that is not in the logs.
#[derive(Debug, Default)]
pub(super) struct Checkpointing {
    is_due: AtomicBool,
    /// The metadata log is synced up to this offset.
    metadata_recovery_point: AtomicI64,
    /// Names of removed partitions that the files may still have.
    forgotten: Mutex<BTreeSet<TopicPartition>>,
    /// Locked while the files are written.
    compaction: Mutex<WrittenCompaction>,
}

/// The content of the two files about compaction, once known.
#[derive(Debug, Default)]
struct WrittenCompaction {
    ends: Option<BTreeMap<TopicPartition, Offset>>,
    first_dirty: Option<BTreeMap<TopicPartition, Offset>>,
}

impl ReplicaManager {
    /// For the checkpoint file, which is shared by all logs of the directory.
    pub(crate) fn set_metadata_recovery_point(&self, offset: Offset) {
        self.checkpointing.metadata_recovery_point.store(offset.0, Ordering::Relaxed);
    }

    pub(super) fn metadata_recovery_point(&self) -> Offset {
        Offset(self.checkpointing.metadata_recovery_point.load(Ordering::Relaxed))
    }

    pub(super) fn checkpoint_is_due(&self) {
        self.checkpointing.is_due.store(true, Ordering::Release);
    }

    pub(super) fn take_checkpoint_due(&self) -> bool {
        self.checkpointing.is_due.swap(false, Ordering::AcqRel)
    }

    /// Records partitions that are gone from the manager, but not yet from the checkpoint files.
    pub(super) fn forget_checkpoints(&self, names: impl IntoIterator<Item = TopicPartition>) {
        self.forgotten().extend(names);
    }

    pub(super) fn checkpoints_are_stale(&self) -> bool {
        !self.forgotten().is_empty()
    }

    pub(super) fn forgotten(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        lock(&self.checkpointing.forgotten)
    }

    /// One thread at a time: an older state must not overwrite a newer one.
    pub(crate) fn write_checkpoints(&self) -> Result<(), CheckpointError> {
        let mut compaction = lock(&self.checkpointing.compaction);
        let forgotten = self.forgotten().clone();
        self.write_positions()?;
        self.write_changed_compaction(&mut compaction)?;
        // Not before: a partition of that name that is made meanwhile waits for this.
        self.forgotten().retain(|name| !forgotten.contains(name));
        Ok(())
    }

    /// After a shortage they are retried. Any other error fails the directory.
    pub(super) fn checkpoints_not_written(&self, error: &CheckpointError) {
        match error {
            CheckpointError::Io { source, .. } if is_shortage(source) => {
                warn!(error = %source, "checkpoints not written: the old ones hold until they can be");
                self.checkpoint_is_due();
            }
            error => self.directory_failed(&error.to_string()),
        }
    }

    fn write_positions(&self) -> Result<(), CheckpointError> {
        let mut recovery_points = BTreeMap::from([(metadata_partition(), self.metadata_recovery_point())]);
        let mut high_watermarks = BTreeMap::new();
        for partition in self.all() {
            let positions = match partition.offline_log() {
                // An offline log cannot be read now, but what was synced still is.
                Some(Offline { checkpointed, .. }) => Ok((checkpointed.recovery_point, checkpointed.high_watermark)),
                None => partition.with_log(|log| (log.recovery_point(), log.high_watermark().offset)),
            };
            let Ok((recovery_point, high_watermark)) = positions else { continue };
            recovery_points.insert(partition.name.clone(), recovery_point);
            high_watermarks.insert(partition.name.clone(), high_watermark);
        }
        self.directory.recovery_points().write(&recovery_points)?;
        self.directory.log_starts().write(&self.log_starts())?;
        self.directory.high_watermarks().write(&high_watermarks)
    }

    /// Writes the offsets of compaction, if they have changed.
    fn write_changed_compaction(&self, written: &mut WrittenCompaction) -> Result<(), CheckpointError> {
        let ends = self.beyond_start(|checkpointed| checkpointed.compacted_end, Log::compacted_end);
        write_changed(&self.directory.compacted_ends(), &mut written.ends, ends)?;
        let first_dirty = self.beyond_start(|checkpointed| checkpointed.first_dirty, Log::first_dirty);
        write_changed(&self.directory.cleaner_offsets(), &mut written.first_dirty, first_dirty)
    }

    /// As [`Self::write_checkpoints`], of compaction alone.
    pub(super) fn write_compaction(&self) -> Result<(), CheckpointError> {
        self.write_changed_compaction(&mut lock(&self.checkpointing.compaction))
    }

    /// An offset of every log, where it lies beyond the log start. The `cleanup.policy` may have changed since.
    fn beyond_start(
        &self,
        of_offline: impl Fn(&LoadOptions) -> Offset,
        of_log: impl Fn(&Log) -> Offset,
    ) -> BTreeMap<TopicPartition, Offset> {
        let offsets = self.all().into_iter().filter_map(|partition| {
            let (start, offset) = match partition.offline_log() {
                Some(Offline { checkpointed, .. }) => (checkpointed.log_start, of_offline(checkpointed)),
                None => partition.with_log(|log| (log.log_start(), of_log(log))).ok()?,
            };
            (start < offset).then(|| (partition.name.clone(), offset))
        });
        offsets.collect()
    }

    /// As [`Self::write_checkpoints`], if nothing else has changed.
    pub(super) fn write_log_starts(&self) -> Result<(), CheckpointError> {
        let _alone = lock(&self.checkpointing.compaction);
        self.directory.log_starts().write(&self.log_starts())
    }

    /// The log starts of partitions that do not begin at 0.
    fn log_starts(&self) -> BTreeMap<TopicPartition, Offset> {
        let starts = self.all().into_iter().filter_map(|partition| {
            let start = match partition.offline_log() {
                Some(offline) => offline.checkpointed.log_start,
                None => partition.with_log(Log::log_start).ok()?,
            };
            (Offset(0) < start).then(|| (partition.name.clone(), start))
        });
        starts.collect()
    }
}

fn write_changed(
    file: &OffsetCheckpoint,
    written: &mut Option<BTreeMap<TopicPartition, Offset>>,
    offsets: BTreeMap<TopicPartition, Offset>,
) -> Result<(), CheckpointError> {
    if written.as_ref() != Some(&offsets) {
        file.write(&offsets)?;
        *written = Some(offsets);
    }
    Ok(())
}

/// The metadata log's name in the checkpoints.
pub(super) fn metadata_partition() -> TopicPartition {
    let topic = METADATA_DIRECTORY.trim_end_matches("-0").to_owned();
    TopicPartition { topic, partition: PartitionId(0) }
}
