//! The partitions that clients write to, and a topic that comes and goes.

use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::{ConfigResourceType, LeaderRecoveryState, MetadataRecord, PartitionRecord};
use protocol::produce::CheckedBatch;
use protocol::types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, Timestamp, TopicId};
use uuid::Uuid;

use crate::metadata::Image;
use crate::replica::simulated::Key;

/// Each with its partitions, and whether its records are on disk before they are acknowledged.
const TOPICS: [(&str, i32, bool); 2] = [("plain", 2, false), ("synced", 1, true)];
const REPLICAS: usize = 3;
/// It is deleted now and then, and made again under its name. No client minds: who leads it writes to it.
pub(super) const PASSING: &str = "passing";
/// Beyond those of [`TOPICS`].
const FIRST_PASSING_ID: u128 = 1000;

pub(super) fn keys() -> Vec<Key> {
    let topics = (1..).map(|number| TopicId(Uuid::from_u128(number))).zip(TOPICS);
    topics.flat_map(|(id, (_, partitions, _))| (0..partitions).map(move |number| (id, PartitionId(number)))).collect()
}

pub(super) fn is_passing(key: Key) -> bool {
    FIRST_PASSING_ID <= key.0.0.as_u128()
}

pub(super) fn is_synced(key: Key) -> bool {
    let number = usize::try_from(key.0.0.as_u128()).unwrap();
    !is_passing(key) && TOPICS[number - 1].2
}

pub(super) fn batch(value: u64) -> CheckedBatch {
    let mut batch = BatchBuilder::new(Timestamp(1));
    batch.push(None, Some(&value.to_be_bytes()));
    batch.build().unwrap()
}

/// What makes those that are not there, as soon as there are brokers enough.
pub(super) fn records(image: &Image) -> Vec<MetadataRecord> {
    let active: Vec<_> = image.brokers.keys().copied().filter(|id| image.is_active(*id)).collect();
    if active.len() < REPLICAS {
        return Vec::new();
    }
    let mut records = Vec::new();
    if image.topic(PASSING).is_none() {
        let number = u128::try_from(image.end_offset.0).unwrap();
        let topic_id = TopicId(Uuid::from_u128(FIRST_PASSING_ID + number));
        let replicas = active.iter().copied().take(REPLICAS).collect();
        records.push(MetadataRecord::Topic { name: PASSING.to_owned(), topic_id });
        records.push(MetadataRecord::Partition(partition(image, topic_id, 0, replicas)));
    }
    if image.topic(TOPICS[0].0).is_some() {
        return records;
    }
    for ((id, (name, partitions, is_synced)), first) in
        (1..).map(|number| TopicId(Uuid::from_u128(number))).zip(TOPICS).zip(0..)
    {
        let mut options = vec![("segment.ms", "700")];
        options.extend(is_synced.then_some(("flush.messages", "1")));
        records.push(MetadataRecord::Topic { name: name.to_owned(), topic_id: id });
        records.extend(options.into_iter().map(|(option, value)| MetadataRecord::Config {
            resource_type: ConfigResourceType::Topic,
            resource_name: name.to_owned(),
            name: option.to_owned(),
            value: Some(value.to_owned()),
        }));
        let made = |number: i32| {
            let from = first + usize::try_from(number).unwrap();
            let replicas: Vec<_> = (from..from + REPLICAS).map(|at| active[at % active.len()]).collect();
            MetadataRecord::Partition(partition(image, id, number, replicas))
        };
        records.extend((0..partitions).map(made));
    }
    records
}

fn partition(image: &Image, topic_id: TopicId, number: i32, replicas: Vec<BrokerId>) -> PartitionRecord {
    PartitionRecord {
        partition_id: PartitionId(number),
        topic_id,
        isr: replicas.clone(),
        leader: replicas.first().copied(),
        directories: replicas.iter().map(|id| image.directory_for_new_replica(*id)).collect(),
        replicas,
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    }
}
