//! Deleted partitions. At once: out of service, and the directory renamed, so that its name is free for a new topic.
//! After `file.delete.delay.ms` a thread removes the directory; what waits at a stop is removed by the next start.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::types::TopicId;
use storage::DirectoryState;
use tracing::{error, info};
use uuid::Uuid;

use super::manager::{Partitions, ReplicaManager};
use super::partition::Partition;
use crate::metadata::Image;

/// A longer delay is cut: until the next start is as good as for ever.
const DELAY_MAX: Duration = Duration::from_hours(24 * 365);

/// Directories that wait to be removed.
#[derive(Debug, Default)]
pub(super) struct DeletedDirectories {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<(Instant, PathBuf)>,
    /// Directories were renamed since the last sync.
    renamed: bool,
    stopped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Make renames durable.
    Sync,
    Remove(PathBuf),
    Stop,
}

impl DeletedDirectories {
    pub(super) fn add(&self, directory: PathBuf, due: Instant) {
        let mut state = self.state();
        state.waiting.insert((due, directory));
        state.renamed = true;
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_one();
    }

    /// Waits until there is something to do.
    fn next(&self) -> Work {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            match state.next(now) {
                Ok(work) => return work,
                Err(wait) => {
                    state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Whole after every call, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `Err`: how long there will be nothing to do.
    fn next(&mut self, now: Instant) -> Result<Work, Duration> {
        if self.stopped {
            return Ok(Work::Stop);
        }
        if std::mem::take(&mut self.renamed) {
            return Ok(Work::Sync);
        }
        match self.waiting.pop_first() {
            Some((due, directory)) if due <= now => Ok(Work::Remove(directory)),
            Some((due, directory)) => {
                self.waiting.insert((due, directory));
                Err(due.duration_since(now))
            }
            None => Err(DELAY_MAX),
        }
    }
}

/// The thread that removes them.
#[derive(Debug)]
pub(crate) struct Deleter {
    replicas: Arc<ReplicaManager>,
    thread: JoinHandle<()>,
}

impl Deleter {
    pub(crate) fn spawn(replicas: Arc<ReplicaManager>) -> std::io::Result<Self> {
        let thread = std::thread::Builder::new().name("deleter".to_owned()).spawn({
            let replicas = replicas.clone();
            move || run(&replicas)
        })?;
        Ok(Self { replicas, thread })
    }

    /// Waits until the removal in progress is over.
    pub(crate) fn stop(self) {
        self.replicas.deleted.stop();
        if self.thread.join().is_err() {
            error!("the deleter panicked");
        }
    }
}

fn run(replicas: &ReplicaManager) {
    loop {
        match replicas.deleted.next() {
            Work::Sync => {
                if let Err(error) = replicas.directory.sync() {
                    replicas.directory_failed(&format!("sync of the data directory: {error}"));
                }
            }
            Work::Remove(directory) => match replicas.directory.remove(&directory) {
                Ok(()) => info!(directory = %directory.display(), "removed"),
                Err(error) => {
                    error!(directory = %directory.display(), %error, "not removed: the next start tries again");
                }
            },
            Work::Stop => return,
        }
    }
}

impl ReplicaManager {
    /// Follows the metadata in what was deleted: those of `topics` that it no longer has.
    pub(crate) fn drop_deleted(&self, image: &Image, topics: &[TopicId]) {
        let gone: HashSet<_> = topics.iter().filter(|id| !image.topics.contains_key(*id)).collect();
        if gone.is_empty() {
            return;
        }
        let mut partitions = Partitions::clone(&self.partitions.load());
        let keys: Vec<_> = partitions.keys().filter(|(topic, _)| gone.contains(topic)).copied().collect();
        let dropped: Vec<_> = keys.iter().filter_map(|key| partitions.remove(key)).collect();
        self.partitions.store(Arc::new(partitions));
        self.forget_checkpoints(dropped.iter().map(|partition| partition.name.clone()));
        for partition in dropped {
            partition.retire();
            self.free_directory(&partition);
        }
    }

    fn free_directory(&self, partition: &Partition) {
        let due = Instant::now() + partition.settings().file_delete_delay.min(DELAY_MAX);
        match self.directory.rename_aside(&partition.name, DirectoryState::Deleted, Uuid::new_v4()) {
            Ok(directory) => {
                info!(partition = %partition.name, directory = %directory.display(), "deleted");
                self.deleted.add(directory, due);
            }
            // Not even a name fits on the disk any more. The name has to be free for another topic, so it goes now.
            Err(error) => {
                let path = self.directory.partition_path(&partition.name);
                error!(partition = %partition.name, %error, "cannot be renamed: removed at once");
                if let Err(error) = self.directory.remove(&path) {
                    self.directory_failed(&format!("{}: {error}", path.display()));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "deletion_test.rs"]
mod tests;
