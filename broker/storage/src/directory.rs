//! A log directory: a data volume with its identity, its lock, its checkpoints and its partitions.
//!
//! ```text
//! .lock  meta.properties  .kafka_cleanshutdown
//! recovery-point-offset-checkpoint  log-start-offset-checkpoint  replication-offset-checkpoint
//! topic-partition/…
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::{BrokerEpoch, BrokerId, ClusterId, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bugs::{self, Bug};
use crate::checkpoint::OffsetCheckpoint;
use crate::disk::{Disk, DiskFile, DiskSpace, OpenMode, read_file, remove_if_present, replace_file};
use crate::meta_properties::{self, MetaProperties};
use crate::partition_directory::{DirectoryState, PartitionDirectoryName, renamed};

const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const LENGTH_MAX: u64 = 1 << 16;

#[derive(Debug)]
pub struct LogDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    properties: MetaProperties,
    clean_shutdown: Option<CleanShutdown>,
    last_alive: Option<Timestamp>,
    /// Held for as long as the directory is open.
    lock: Arc<dyn DiskFile>,
}

/// The last process stopped cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker epoch of its registration; `None` if the file does not tell.
    pub broker_epoch: Option<BrokerEpoch>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CleanShutdownFile {
    version: i32,
    #[serde(rename = "brokerEpoch", default = "unknown_epoch")]
    broker_epoch: i64,
}

fn unknown_epoch() -> i64 {
    -1
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{}: not formatted. Check that the right volume is mounted there; if it is new, format it: a single broker \
         with `millrace-broker format --standalone --cluster-id ID --config FILE`, one of several as \
         `millrace-broker format --help` says",
        path.display()
    )]
    NotFormatted { path: PathBuf },
    #[error("{}: {reason}. Restore the file; formatting again would make it another replica", path.display())]
    InvalidMetaProperties { path: PathBuf, reason: String },
    #[error(
        "{}: belongs to cluster {found}, this broker to cluster {expected}. Mount the right volume, or correct the \
         cluster id",
        path.display()
    )]
    OtherCluster { path: PathBuf, found: ClusterId, expected: ClusterId },
    #[error(
        "{}: belongs to node {found}, this is node {expected}. Mount the right volume, or correct node.id",
        path.display()
    )]
    OtherNode { path: PathBuf, found: BrokerId, expected: BrokerId },
    #[error("{}: in use by another process. Stop it, or choose another log.dirs", path.display())]
    Locked { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{}: already formatted, for cluster {}, node {}", path.display(), found.cluster_id, found.node_id)]
    AlreadyFormatted { path: PathBuf, found: Box<MetaProperties> },
    #[error(transparent)]
    Other(#[from] OpenError),
}

/// The expected owner of the directory. `None`: any.
#[derive(Debug, Clone)]
pub struct ExpectedOwner {
    pub cluster_id: Option<ClusterId>,
    pub node_id: BrokerId,
}

/// A directory that is being formatted, and locked.
#[derive(Debug)]
pub struct Formatting {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Arc<dyn DiskFile>,
}

impl Formatting {
    /// Creates the directory if needed, and locks it.
    pub fn begin(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, FormatError> {
        disk.create_directory(path).map_err(|source| io_error(path, source))?;
        let lock = lock(&**disk, path)?;
        match read_properties(&**disk, path) {
            Ok(found) => Err(FormatError::AlreadyFormatted { path: path.to_owned(), found: found.into() }),
            Err(OpenError::NotFormatted { .. }) => Ok(Self { disk: disk.clone(), path: path.to_owned(), _lock: lock }),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the directory's identity, durably.
    pub fn finish(self, properties: &MetaProperties) -> Result<(), FormatError> {
        let Self { disk, path, _lock } = self;
        replace_file(&*disk, &path.join(meta_properties::FILE_NAME), properties.encode().as_bytes())
            .and_then(|()| path.parent().map_or(Ok(()), |parent| disk.sync_directory(parent)))
            .map_err(|source| io_error(&path, source))?;
        Ok(())
    }
}

impl LogDirectory {
    /// Locks the directory and removes the clean-shutdown file, which only another clean stop restores.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path, expected: &ExpectedOwner) -> Result<Self, OpenError> {
        if let Err(OpenError::NotFormatted { path }) = read_properties(&**disk, path) {
            return Err(OpenError::NotFormatted { path });
        }
        let lock = lock(&**disk, path)?;
        let properties = read_properties(&**disk, path)?;
        check_owner(path, &properties, expected)?;
        let clean_shutdown = take_clean_shutdown(&**disk, path).map_err(|source| io_error(path, source))?;
        // A file system without modification times reports 1970.
        let last_alive = lock.modified().ok().filter(|modified| Timestamp(0) < *modified);
        Ok(Self { disk: disk.clone(), path: path.to_owned(), properties, clean_shutdown, last_alive, lock })
    }

    /// The same directory, with its own files on another disk from now on.
    #[must_use]
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn properties(&self) -> &MetaProperties {
        &self.properties
    }

    /// What the last process left; see [`LoadOptions::clean`](crate::LoadOptions::clean).
    pub fn clean_shutdown(&self) -> Option<CleanShutdown> {
        self.clean_shutdown
    }

    /// When earlier processes last noted that they were alive, by the lock file's modification time.
    pub fn last_alive(&self) -> Option<Timestamp> {
        self.last_alive
    }

    pub fn note_alive(&self, now: Timestamp) -> io::Result<()> {
        self.lock.set_modified(now)
    }

    /// The last step of a stop, after every log was closed and the checkpoints were written.
    pub fn write_clean_shutdown(&self, broker_epoch: BrokerEpoch) -> io::Result<()> {
        let file = CleanShutdownFile { version: 0, broker_epoch: broker_epoch.0 };
        let json = serde_json::to_vec(&file).map_err(io::Error::other)?;
        replace_file(&*self.disk, &self.path.join(CLEAN_SHUTDOWN), &json)
    }

    pub fn recovery_points(&self) -> OffsetCheckpoint {
        self.checkpoint("recovery-point-offset-checkpoint")
    }

    pub fn log_starts(&self) -> OffsetCheckpoint {
        self.checkpoint("log-start-offset-checkpoint")
    }

    pub fn high_watermarks(&self) -> OffsetCheckpoint {
        self.checkpoint("replication-offset-checkpoint")
    }

    /// The offsets up to which logs have been compacted.
    pub fn cleaner_offsets(&self) -> OffsetCheckpoint {
        self.checkpoint("cleaner-offset-checkpoint")
    }

    /// Up to where compaction may have left records out. Kafka has no such file, and leaves it alone.
    pub fn compacted_ends(&self) -> OffsetCheckpoint {
        self.checkpoint("millrace-compacted-end-checkpoint")
    }

    pub fn partition_path(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(partition.to_string())
    }

    pub fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space(&self.path)
    }

    /// All partition directories, with their paths.
    pub fn partitions(&self) -> io::Result<Vec<(PartitionDirectoryName, PathBuf)>> {
        let entries = self.disk.list(&self.path)?.into_iter().filter(|entry| entry.is_directory);
        let named = entries.filter_map(|entry| Some((entry.name.to_str()?.parse().ok()?, self.path.join(&entry.name))));
        Ok(named.collect())
    }

    /// Renames a partition's directory, durably. `id` makes the name unique.
    pub fn set_aside(&self, partition: &TopicPartition, state: DirectoryState, id: Uuid) -> io::Result<PathBuf> {
        let target = self.rename_aside(partition, state, id)?;
        self.sync()?;
        Ok(target)
    }

    /// As [`Self::set_aside`], but not durable before [`Self::sync`].
    pub fn rename_aside(&self, partition: &TopicPartition, state: DirectoryState, id: Uuid) -> io::Result<PathBuf> {
        let target = self.path.join(renamed(partition, state, id));
        self.disk.rename(&self.partition_path(partition), &target)?;
        Ok(target)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_directory(&self.path)
    }

    /// Removes a directory that was set aside as deleted.
    pub fn remove(&self, directory: &Path) -> io::Result<()> {
        self.disk.remove_directory(directory)?;
        self.sync()
    }

    fn checkpoint(&self, name: &str) -> OffsetCheckpoint {
        OffsetCheckpoint::new(self.disk.clone(), self.path.join(name))
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, OpenError> {
    let file = disk.open(&path.join(LOCK), OpenMode::Create).map_err(|source| io_error(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::Locked { path: path.to_owned() }),
        Err(source) => Err(io_error(path, source)),
    }
}

fn read_properties(disk: &dyn Disk, path: &Path) -> Result<MetaProperties, OpenError> {
    let file = path.join(meta_properties::FILE_NAME);
    match read_file(disk, &file, LENGTH_MAX) {
        Ok(bytes) => {
            MetaProperties::parse(&bytes).map_err(|reason| OpenError::InvalidMetaProperties { path: file, reason })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::NotFormatted { path: path.to_owned() }),
        Err(source) => Err(io_error(&file, source)),
    }
}

fn check_owner(path: &Path, found: &MetaProperties, expected: &ExpectedOwner) -> Result<(), OpenError> {
    let path = path.to_owned();
    if let Some(cluster_id) = &expected.cluster_id
        && found.cluster_id != *cluster_id
    {
        return Err(OpenError::OtherCluster { path, found: found.cluster_id.clone(), expected: cluster_id.clone() });
    }
    if found.node_id != expected.node_id {
        return Err(OpenError::OtherNode { path, found: found.node_id, expected: expected.node_id });
    }
    Ok(())
}

/// A malformed file does not tell the epoch, but it was written after everything else.
fn take_clean_shutdown(disk: &dyn Disk, path: &Path) -> io::Result<Option<CleanShutdown>> {
    let file = path.join(CLEAN_SHUTDOWN);
    let bytes = match read_file(disk, &file, LENGTH_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !bugs::is_planted(Bug::CleanShutdownMarkKept) {
        remove_if_present(disk, &file)?;
        disk.sync_directory(path)?;
    }
    let parsed: Option<CleanShutdownFile> = serde_json::from_slice(&bytes).ok();
    let broker_epoch = parsed.filter(|file| 0 <= file.broker_epoch).map(|file| BrokerEpoch(file.broker_epoch));
    Ok(Some(CleanShutdown { broker_epoch }))
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "directory_test.rs"]
mod tests;
