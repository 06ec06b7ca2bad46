//! The offsets of one group.

use std::collections::BTreeMap;

use protocol::coordinator_records::{CommittedOffset, CoordinatorRecord};
use protocol::types::{PartitionId, TopicId};

use super::group::deletion;
use super::member::GroupId;
use super::request::{FetchedOffsets, TopicOffsets};

#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<PartitionId, CommittedOffset>>,
    count: usize,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.by_topic.contains_key(topic)
    }

    pub(super) fn get(&self, topic: &str, partition: PartitionId) -> Option<&CommittedOffset> {
        self.by_topic.get(topic)?.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, PartitionId, &CommittedOffset)> {
        self.by_topic.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, offset)| (topic.as_str(), *partition, offset))
        })
    }

    pub(super) fn replay(&mut self, topic: String, partition: PartitionId, value: Option<CommittedOffset>) {
        let Some(value) = value else {
            let Some(partitions) = self.by_topic.get_mut(&topic) else { return };
            self.count -= usize::from(partitions.remove(&partition).is_some());
            if partitions.is_empty() {
                self.by_topic.remove(&topic);
            }
            return;
        };
        let former = self.by_topic.entry(topic).or_default().insert(partition, value);
        self.count += usize::from(former.is_none());
    }

    /// An offset of a deleted topic of the same name does not count.
    pub(super) fn fetch(&self, wanted: Vec<TopicOffsets<PartitionId>>) -> FetchedOffsets {
        let fetch = |wanted: TopicOffsets<PartitionId>| {
            let unknown = TopicId::default();
            let is_current = |offset: &&CommittedOffset| {
                offset.topic_id == unknown || wanted.topic_id == unknown || offset.topic_id == wanted.topic_id
            };
            let find = |partition| self.get(&wanted.topic, partition).filter(is_current).cloned();
            let partitions = wanted.partitions.iter().map(|partition| (*partition, find(*partition))).collect();
            TopicOffsets { topic_id: wanted.topic_id, partitions, topic: wanted.topic }
        };
        wanted.into_iter().map(fetch).collect()
    }

    pub(super) fn fetch_all(&self) -> FetchedOffsets {
        let topics = self.by_topic.iter().map(|(topic, partitions)| TopicOffsets {
            topic: topic.clone(),
            topic_id: partitions.values().next().map(|offset| offset.topic_id).unwrap_or_default(),
            partitions: partitions.iter().map(|(partition, offset)| (*partition, Some(offset.clone()))).collect(),
        });
        topics.collect()
    }

    /// Records that delete the chosen offsets.
    pub(super) fn deletions(
        &self,
        group: &GroupId,
        is_chosen: impl Fn(&str, &CommittedOffset) -> bool,
    ) -> Vec<CoordinatorRecord> {
        let mut records = Vec::new();
        for (topic, partitions) in &self.by_topic {
            let chosen = partitions.iter().filter(|(_, offset)| is_chosen(topic, offset));
            records.extend(chosen.map(|(partition, _)| deletion(&group.0, topic, *partition)));
        }
        records
    }
}
