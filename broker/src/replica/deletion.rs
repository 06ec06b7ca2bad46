//! Partitions that are deleted, or have moved to other brokers. They are taken out of service at once, and the
//! directory is renamed, so that a new topic can use the name. After `file.delete.delay.ms` the [`super::deleter`]
//! removes it.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::types::{PartitionId, TopicId};
use storage::DirectoryState;
use tracing::{error, info};
use uuid::Uuid;

use super::manager::{Partitions, ReplicaManager};
use super::partition::{Partition, lock};
use crate::metadata::{Image, PartitionImage};

impl ReplicaManager {
    /// Drops those partitions of `topics` that are no longer in the metadata, or no longer on this broker.
    pub(super) fn drop_deleted(&self, image: &Image, topics: &[TopicId]) {
        let deleted: HashSet<_> = topics.iter().filter(|id| !image.topics.contains_key(*id)).collect();
        let mut partitions = Partitions::clone(&self.partitions.load());
        let is_elsewhere = |topic: &TopicId, id: PartitionId, state: &PartitionImage| {
            !self.hosts(state) && partitions.contains_key(&(*topic, id))
        };
        let moved = topics.iter().filter_map(|id| image.topics.get(id)).flat_map(|topic| {
            let moved = topic.partitions().filter(|(id, state)| is_elsewhere(&topic.id, *id, state));
            moved.map(|(id, _)| (topic.id, id))
        });
        let mut keys: Vec<_> = moved.collect();
        if !deleted.is_empty() {
            keys.extend(partitions.keys().filter(|(topic, _)| deleted.contains(topic)).copied());
        }
        if keys.is_empty() {
            return;
        }
        let dropped: Vec<_> = keys.iter().filter_map(|key| partitions.remove(key)).collect();
        self.partitions.store(Arc::new(partitions));
        self.forget_checkpoints(dropped.iter().map(|partition| partition.name.clone()));
        for partition in dropped {
            partition.retire();
            self.shared.followed.set(&partition, None);
            self.free_directory(&partition);
            lock(&self.retired).push(partition);
        }
    }

    fn free_directory(&self, partition: &Partition) {
        match self.directory.rename_aside(&partition.name, DirectoryState::Deleted, Uuid::new_v4()) {
            Ok(directory) => {
                info!(partition = %partition.name, directory = %directory.display(), "deleted replica");
                self.removals.add_directory(directory, partition.settings().file_delete_delay);
            }
            // There is no space even for a rename. Another topic may need the name, so the directory is removed now.
            Err(error) => {
                let path = self.directory.partition_path(&partition.name);
                error!(partition = %partition.name, %error, "partition directory cannot be renamed: removed at once");
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
