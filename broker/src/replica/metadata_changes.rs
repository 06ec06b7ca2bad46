//! Applies metadata changes: to existing partitions at once, while the logs of new replicas are created some at a
//! time. So a new leader need not wait for thousands of logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::types::{BrokerEpoch, BrokerId, PartitionId, TopicId};
use tracing::error;

use super::leader_state::{RegisteredBroker, RegisteredBrokers};
use super::leadership::{self, Leadership};
use super::manager::{NO_EPOCH, Partitions, ReplicaManager};
use super::partition::{Partition, lock};
use super::settings::TopicSettings;
use crate::bugs::{self, Bug};
use crate::clock;
use crate::metadata::{BrokerImage, Image, PartitionImage, TopicImage};

/// A few milliseconds' worth.
const MADE_AT_ONCE_MAX: usize = 100;

/// Replicas that are still to be created here.
#[derive(Debug, Default)]
pub(crate) struct Unmade {
    keys: BTreeSet<(TopicId, PartitionId)>,
    /// New leaderships since the last time nothing was left to create; logged together.
    begun: Vec<Leadership>,
}

impl Unmade {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn topics(&self) -> BTreeSet<TopicId> {
        self.keys.iter().map(|(topic, _)| *topic).collect()
    }
}

impl ReplicaManager {
    /// Applies changes: drops what is gone, creates the logs of new replicas, leads or follows.
    pub(crate) fn follow(&self, image: &Image, topics: &[TopicId]) {
        let mut unmade = Unmade::default();
        self.follow_present(image, topics, &mut unmade);
        self.make_all(image, &mut unmade);
    }

    /// As [`Self::follow`], but new replicas are only added to `unmade`.
    pub(crate) fn follow_present(&self, image: &Image, topics: &[TopicId], unmade: &mut Unmade) {
        if bugs::is_planted(Bug::CreationBeforeDeletion) {
            let mut too_early = Unmade::default();
            self.take_up(image, topics, &mut too_early);
            self.make_all(image, &mut too_early);
        }
        // A new topic of the same name may need the directory.
        self.drop_deleted(image, topics);
        self.missing.retain(|topic, id| self.hosts_any(image, topic, id));
        self.take_up(image, topics, unmade);
    }

    /// Creates the next few.
    pub(crate) fn make_some(&self, image: &Image, unmade: &mut Unmade) {
        let mut partitions = Partitions::clone(&self.partitions.load());
        let mut settings: BTreeMap<TopicId, TopicSettings> = BTreeMap::new();
        for _ in 0..MADE_AT_ONCE_MAX {
            let Some(key) = unmade.keys.pop_first() else { break };
            // It may have been deleted or moved since.
            let Some((topic, state)) = self.followed(image, key) else { continue };
            let settings = settings.entry(topic.id).or_insert_with(|| self.settings(image, &topic.name));
            if let Some(partition) = self.ensure(&mut partitions, topic, key.1, settings) {
                self.follow_state(&partition, state, &mut unmade.begun);
            }
        }
        self.partitions.store(Arc::new(partitions));
        if unmade.is_empty() {
            leadership::tell(&std::mem::take(&mut unmade.begun));
        }
    }

    /// Call it before `after` is published in place of `before`.
    pub(crate) fn note_departed(&self, before: &Image, after: &Image) {
        self.shared.departed.note(before, after, clock::monotonic());
    }

    /// The image is published: tasks that wait for it, or for a partition that is gone, look again.
    pub(crate) fn published(&self) {
        let retired = std::mem::take(&mut *lock(&self.retired));
        for partition in retired {
            partition.wake_everybody();
        }
        self.metadata_waiters.wake_all();
    }

    /// As [`Self::follow`] for what is there, on a registered process.
    #[cfg(test)]
    pub(crate) fn apply(&self, image: &Image, topics: &[TopicId]) {
        self.former_epoch.store(NO_EPOCH.0, Ordering::Relaxed);
        let mut unmade = Unmade::default();
        self.take_up(image, topics, &mut unmade);
        self.make_all(image, &mut unmade);
    }

    /// Applies the first image, at a start.
    pub(super) fn follow_first(&self, image: &Image) {
        let former = image.brokers.get(&self.broker_id).map_or(NO_EPOCH, |broker| broker.epoch);
        self.former_epoch.store(former.0, Ordering::Relaxed);
        let topics: Vec<_> = image.topic_ids.values().copied().collect();
        let mut unmade = Unmade::default();
        self.take_up(image, &topics, &mut unmade);
        self.make_all(image, &mut unmade);
    }

    fn make_all(&self, image: &Image, unmade: &mut Unmade) {
        while !unmade.is_empty() {
            self.make_some(image, unmade);
        }
    }

    fn take_up(&self, image: &Image, topics: &[TopicId], unmade: &mut Unmade) {
        self.follow_brokers(image);
        let (partitions, mut begun) = (self.partitions.load(), Vec::new());
        for topic in topics.iter().filter_map(|id| image.topics.get(id)) {
            for (id, state) in topic.partitions().filter(|(_, state)| self.follows(image, state)) {
                match partitions.get(&(topic.id, id)) {
                    Some(partition) => self.follow_state(partition, state, &mut begun),
                    None => {
                        unmade.keys.insert((topic.id, id));
                    }
                }
            }
        }
        leadership::tell(&begun);
    }

    fn follow_state(&self, partition: &Arc<Partition>, state: &PartitionImage, begun: &mut Vec<Leadership>) {
        match partition.follow_metadata(state, self.broker_id) {
            Ok(leadership) => begun.extend(leadership),
            Err(error) => error!(%error, "metadata change not applied"),
        }
    }

    fn followed<'a>(
        &self,
        image: &'a Image,
        (topic, id): (TopicId, PartitionId),
    ) -> Option<(&'a TopicImage, &'a PartitionImage)> {
        let topic = image.topics.get(&topic)?;
        let state = topic.partition(id).filter(|state| self.follows(image, state))?;
        Some((&**topic, state))
    }

    /// Whether the partition is hosted here. What the broker's last process led this one leads only in a new epoch:
    /// the log may have lost records. So until this process is registered it leads nothing.
    fn follows(&self, image: &Image, state: &PartitionImage) -> bool {
        let of_former = BrokerEpoch(self.former_epoch.load(Ordering::Relaxed));
        let is_registered = || image.brokers.get(&self.broker_id).is_none_or(|broker| broker.epoch != of_former);
        self.hosts(state) && (state.leader != Some(self.broker_id) || is_registered())
    }

    /// Whether the replica is on this broker and on its current volume.
    pub(super) fn hosts(&self, state: &PartitionImage) -> bool {
        state.replica_on(self.broker_id).is_some_and(|replica| replica.directory == self.directory_id)
    }

    fn hosts_any(&self, image: &Image, topic: TopicId, id: PartitionId) -> bool {
        image.topics.get(&topic).and_then(|topic| topic.partition(id)).is_some_and(|state| self.hosts(state))
    }

    /// Active brokers may join an ISR, and are waited for by the high watermark.
    fn follow_brokers(&self, image: &Image) {
        let registered = |(id, broker): (&BrokerId, &BrokerImage)| {
            (*id, RegisteredBroker { epoch: broker.epoch, is_active: image.is_active(*id) })
        };
        let brokers = RegisteredBrokers(image.brokers.iter().map(registered).collect());
        if **self.shared.brokers.load() != brokers {
            self.shared.brokers.store(Arc::new(brokers));
            self.all().iter().for_each(Partition::review_followers);
        }
    }
}
