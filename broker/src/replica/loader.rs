//! Opens the logs that are on disk at start, several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::types::{Offset, TopicId, TopicPartition};
use storage::directory::LogDirectory;
use storage::{DirectoryState, LoadOptions, Log, PartitionMetadataError, RecoveryProgress};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::checkpointing::metadata_partition;
use super::manager::ReplicaManager;
use super::partition::{Offline, Partition};
use super::settings::TopicSettings;
use crate::clock::{self, Pulse};
use crate::metadata::{Image, METADATA_DIRECTORY};

/// A recovery without progress for this long is taken for dead.
const RECOVERY_SILENCE_MAX: Duration = Duration::from_mins(5);

/// Progress of loading; read by the management API.
#[derive(Debug)]
pub(crate) struct LoadProgress {
    logs_total: AtomicUsize,
    logs_done: AtomicUsize,
    /// What lies beyond the recovery points, before any of it was read.
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    /// Beats as long as there is progress.
    pub(crate) pulse: Pulse,
}

impl LoadProgress {
    pub(crate) fn new() -> Self {
        let pulse = Pulse::new(RECOVERY_SILENCE_MAX);
        Self {
            logs_total: AtomicUsize::new(0),
            logs_done: AtomicUsize::new(0),
            bytes_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            pulse,
        }
    }

    pub(crate) fn logs_total(&self) -> usize {
        self.logs_total.load(Ordering::Relaxed)
    }

    pub(crate) fn logs_done(&self) -> usize {
        self.logs_done.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_total(&self) -> u64 {
        self.bytes_total.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoaderError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// The content of the checkpoint files. A partition without an entry is scanned from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    clean: bool,
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    first_dirty: BTreeMap<TopicPartition, Offset>,
    compacted_ends: BTreeMap<TopicPartition, Offset>,
}

impl Checkpoints {
    /// An unreadable file counts as empty, as in Kafka: recovery finds what is there.
    pub(crate) fn read(directory: &LogDirectory) -> Self {
        let read = |checkpoint: storage::OffsetCheckpoint| {
            checkpoint.read().unwrap_or_else(|error| {
                warn!(%error, "checkpoint file ignored");
                BTreeMap::new()
            })
        };
        Self {
            clean: directory.clean_shutdown().is_some(),
            recovery_points: read(directory.recovery_points()),
            log_starts: read(directory.log_starts()),
            high_watermarks: read(directory.high_watermarks()),
            first_dirty: read(directory.cleaner_offsets()),
            compacted_ends: read(directory.compacted_ends()),
        }
    }

    pub(crate) fn metadata_recovery_point(&self) -> Offset {
        self.recovery_points.get(&metadata_partition()).copied().unwrap_or(Offset(0))
    }

    /// Partitions that have an entry in any of them.
    fn names(&self) -> impl Iterator<Item = &TopicPartition> {
        let metadata = metadata_partition();
        let positions = [&self.recovery_points, &self.log_starts, &self.high_watermarks];
        let compaction = [&self.first_dirty, &self.compacted_ends];
        positions.into_iter().chain(compaction).flat_map(BTreeMap::keys).filter(move |name| **name != metadata)
    }

    pub(crate) fn options(&self, partition: &TopicPartition) -> LoadOptions {
        let of = |offsets: &BTreeMap<_, _>| offsets.get(partition).copied().unwrap_or(Offset(0));
        LoadOptions {
            clean: self.clean,
            recovery_point: of(&self.recovery_points),
            log_start: of(&self.log_starts),
            high_watermark: of(&self.high_watermarks),
            first_dirty: of(&self.first_dirty),
            compacted_end: of(&self.compacted_ends),
            now: clock::wall(),
        }
    }
}

/// A directory whose partition is this broker's by the metadata.
struct Candidate {
    name: TopicPartition,
    path: PathBuf,
    topic_id: TopicId,
    settings: TopicSettings,
    options: LoadOptions,
    /// Most bytes to be scanned.
    bytes: u64,
}

impl ReplicaManager {
    /// Opens every partition that the metadata assigns to this broker and that is on disk. Others are set aside as
    /// stray.
    pub(crate) fn load(
        &self,
        image: &Image,
        checkpoints: &Checkpoints,
        progress: &LoadProgress,
    ) -> Result<(), LoaderError> {
        self.follow_broker_values(image);
        let threads = self.broker_values().get_int("num.recovery.threads.per.data.dir").max(1);
        let mut candidates = self.candidates(image, checkpoints)?;
        // Taken from the end, so that no large one is begun last.
        candidates.sort_by_key(|candidate| candidate.bytes);
        progress.logs_total.store(candidates.len(), Ordering::Relaxed);
        let bytes = candidates.iter().map(|candidate| candidate.bytes).sum();
        progress.bytes_total.store(bytes, Ordering::Relaxed);
        let queue = Mutex::new(candidates);
        let loaded = Mutex::new(Vec::new());
        let work = || -> Result<(), LoaderError> {
            while let Some(candidate) = pop(&queue) {
                if let Some(partition) = self.open(candidate, progress)? {
                    loaded.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
                }
                progress.logs_done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
        info!(partitions = loaded.len(), clean = checkpoints.clean, "logs loaded");
        let names: BTreeSet<_> = loaded.iter().map(|partition| &partition.name).collect();
        self.forget_checkpoints(checkpoints.names().filter(|name| !names.contains(name)).cloned());
        let partitions =
            loaded.into_iter().map(|partition| ((partition.topic_id, partition.name.partition), partition));
        self.partitions.store(Arc::new(partitions.collect()));
        self.follow_first(image);
        Ok(())
    }

    fn candidates(&self, image: &Image, checkpoints: &Checkpoints) -> Result<Vec<Candidate>, LoaderError> {
        let io_error = |source| LoaderError::Io { path: self.directory.path().to_owned(), source };
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut settings: BTreeMap<TopicId, TopicSettings> = BTreeMap::new();
        for (name, path) in self.directory.partitions().map_err(io_error)? {
            match name.state {
                DirectoryState::Deleted => self.removals.add_directory(path, Duration::ZERO),
                DirectoryState::Live if !is_metadata_log(&path) => match self.assigned(image, &name.partition) {
                    Some(topic_id) => {
                        let settings = settings.entry(topic_id);
                        let settings = settings.or_insert_with(|| self.settings(image, &name.partition.topic)).clone();
                        let options = checkpoints.options(&name.partition);
                        let bytes = Log::bytes_to_recover(&self.pool, &path, &options);
                        let name = name.partition;
                        candidates.push(Candidate { name, path, topic_id, settings, options, bytes });
                    }
                    None => self.put_aside(&name.partition)?,
                },
                DirectoryState::Live | DirectoryState::Future | DirectoryState::Stray => {}
            }
        }
        Ok(candidates)
    }

    fn assigned(&self, image: &Image, name: &TopicPartition) -> Option<TopicId> {
        let topic = image.topic(&name.topic)?;
        self.hosts(topic.partition(name.partition)?).then_some(topic.id)
    }

    /// `None`: the directory belongs to an earlier topic of that name, or its creation was cut short. It is then set
    /// aside unread, and the partition is created anew. If a log cannot be opened only that one is offline.
    fn open(&self, candidate: Candidate, progress: &LoadProgress) -> Result<Option<Arc<Partition>>, LoaderError> {
        let Candidate { name, path, topic_id, settings, options, bytes } = candidate;
        let found = Log::topic_id_in(&self.pool, &path);
        let is_another = match &found {
            Ok(found) => *found != topic_id,
            Err(PartitionMetadataError::Missing { .. }) => true,
            // Nothing of a partition is durable before its first flush.
            Err(PartitionMetadataError::Invalid { .. }) => options.recovery_point == Offset(0),
            Err(PartitionMetadataError::Io { .. }) => false,
        };
        if is_another {
            self.put_aside(&name)?;
            return Ok(None);
        }
        let mut scanned = 0;
        let mut tell = |recovery: RecoveryProgress| {
            progress.pulse.beat();
            let now = recovery.scanned_bytes.min(bytes);
            progress.bytes_done.fetch_add(now.saturating_sub(scanned), Ordering::Relaxed);
            scanned = now;
        };
        let loaded = Log::load(&self.pool, &path, settings.log.clone(), &options, &mut tell);
        tell(RecoveryProgress { scanned_bytes: bytes, total_bytes: bytes });
        let metrics = self.topic_metrics.of(topic_id);
        let partition = match loaded {
            Ok(log) => Partition::new(name, topic_id, log, settings, metrics, &self.shared),
            Err(reason) => {
                error!(partition = %name, %reason, "offline: the log cannot be opened, the others are served");
                let offline = Offline { reason: reason.to_string(), checkpointed: options };
                Partition::offline(name, topic_id, offline, settings, metrics, &self.shared)
            }
        };
        Ok(Some(partition))
    }

    fn put_aside(&self, name: &TopicPartition) -> Result<(), LoaderError> {
        let aside = self
            .directory
            .set_aside(name, DirectoryState::Stray, Uuid::new_v4())
            .map_err(|source| LoaderError::Io { path: self.directory.partition_path(name), source })?;
        warn!(partition = %name, directory = %aside.display(), "stray partition directory set aside, not deleted: not in the metadata");
        Ok(())
    }
}

fn pop(queue: &Mutex<Vec<Candidate>>) -> Option<Candidate> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn is_metadata_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == METADATA_DIRECTORY)
}
