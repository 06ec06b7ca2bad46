//! Deleted partitions. At once: out of service, and the directory renamed, so that its name is free for a new topic.
//! After `file.delete.delay.ms` the [`super::deleter`] removes the directory.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::types::TopicId;
use storage::DirectoryState;
use tracing::{error, info};
use uuid::Uuid;

use super::manager::{Partitions, ReplicaManager};
use super::partition::Partition;
use crate::metadata::Image;

impl ReplicaManager {
    /// Follows the metadata, once it is published, in what was deleted: those of `topics` that it no longer has.
    pub(crate) fn drop_deleted(&self, image: &Image, topics: &[TopicId]) {
        self.metadata_waiters.wake_all();
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
        match self.directory.rename_aside(&partition.name, DirectoryState::Deleted, Uuid::new_v4()) {
            Ok(directory) => {
                info!(partition = %partition.name, directory = %directory.display(), "deleted");
                self.removals.add_directory(directory, partition.settings().file_delete_delay);
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
