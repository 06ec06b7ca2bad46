//! New replicas: their logs are created as the metadata says. After a shortage of space or descriptors creation is
//! retried.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use protocol::types::{Offset, PartitionId, TopicId, TopicPartition};
use storage::{Log, is_shortage};
use tracing::{error, info};

use super::manager::{OfflineReplica, Partitions, ReplicaManager};
use super::partition::{Partition, lock};
use super::settings::TopicSettings;
use crate::clock;
use crate::metadata::{Image, TopicImage};

type Key = (TopicId, PartitionId);

/// Replicas of this broker that could not be created yet because of a shortage.
#[derive(Debug, Default)]
pub(super) struct MissingReplicas(Mutex<BTreeMap<Key, OfflineReplica>>);

impl MissingReplicas {
    pub(super) fn all(&self) -> Vec<OfflineReplica> {
        lock(&self.0).values().cloned().collect()
    }

    pub(super) fn retain(&self, is_wanted: impl Fn(TopicId, PartitionId) -> bool) {
        lock(&self.0).retain(|(topic, id), _| is_wanted(*topic, *id));
    }

    fn topics(&self) -> BTreeSet<TopicId> {
        lock(&self.0).keys().map(|(topic, _)| *topic).collect()
    }

    /// Returns whether it was not there before.
    fn add(&self, key: Key, replica: OfflineReplica) -> bool {
        lock(&self.0).insert(key, replica).is_none()
    }

    fn remove(&self, key: Key) -> bool {
        lock(&self.0).remove(&key).is_some()
    }
}

impl ReplicaManager {
    pub(crate) fn lacks_replicas(&self) -> bool {
        !lock(&self.missing.0).is_empty()
    }

    /// Retries what could not be created. `image` is published.
    pub(crate) fn make_missing(&self, image: &Image) {
        if !self.space().is_exhausted() {
            let topics: Vec<_> = self.missing.topics().into_iter().collect();
            self.follow(image, &topics);
            self.published();
        }
    }

    pub(super) fn ensure(
        &self,
        partitions: &mut Partitions,
        topic: &TopicImage,
        id: PartitionId,
        settings: &TopicSettings,
    ) -> Option<Arc<Partition>> {
        let key = (topic.id, id);
        if let Some(partition) = partitions.get(&key) {
            return Some(partition.clone());
        }
        let name = TopicPartition { topic: topic.name.clone(), partition: id };
        let path = self.directory.partition_path(&name);
        match self.create_log(&path, &name, topic.id, settings) {
            Ok(log) => {
                if self.missing.remove(key) {
                    info!(partition = %name, "created replica after a shortage");
                }
                let metrics = self.topic_metrics.of(topic.id);
                let partition = Partition::new(name, topic.id, log, settings.clone(), metrics, &self.shared);
                partitions.insert(key, partition.clone());
                Some(partition)
            }
            // A full disk is not a failed one. Remains of the partition are set aside at the next start.
            Err(error) if is_shortage(&error) => {
                let reason = format!("not made yet: {error}");
                if self.missing.add(key, OfflineReplica { partition: name.clone(), reason }) {
                    error!(partition = %name, %error, "no room for a new replica; retrying");
                }
                None
            }
            Err(error) => {
                self.directory_failed(&format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// Checkpoints of an earlier partition of the same name would be taken for this one's after a crash.
    fn create_log(
        &self,
        path: &Path,
        name: &TopicPartition,
        topic: TopicId,
        settings: &TopicSettings,
    ) -> std::io::Result<Log> {
        if self.forgotten().contains(name) {
            self.write_checkpoints()?;
        }
        Log::create(&self.pool, path, topic, settings.log.clone(), Offset(0), clock::wall())
    }
}
