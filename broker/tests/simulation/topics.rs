//! The topics that clients write to, that of the groups, and a topic that is deleted and created again.

use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::{ConfigResourceType, LeaderRecoveryState, MetadataRecord, PartitionRecord};
use protocol::produce::CheckedBatch;
use protocol::types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, Timestamp, TopicId};
use uuid::Uuid;

use crate::coordinator::OFFSETS_TOPIC;
use crate::metadata::Image;
use crate::replica::simulated::{Key, Record};

type Options = &'static [(&'static str, &'static str)];

const PLAIN: Options = &[("segment.ms", "700")];
/// On disk before they are acknowledged.
const SYNCED: Options = &[("segment.ms", "700"), ("flush.messages", "1")];
/// Tombstones are kept for ever: a follower that is away for longer than their retention may never see them.
const COMPACTED: Options =
    &[("segment.ms", "150"), ("cleanup.policy", "compact"), ("delete.retention.ms", "9223372036854775807")];
/// Each with its number of partitions.
const TOPICS: [(&str, i32, Options); 4] =
    [("plain", 2, PLAIN), ("synced", 1, SYNCED), ("compacted", 1, COMPACTED), (OFFSETS_TOPIC, 1, COMPACTED)];
const REPLICAS: usize = 3;
/// Keys of a compacted topic's records.
const KEYS: u64 = 6;
/// One in so many records is a tombstone.
const DELETIONS: u64 = 4;
/// Deleted now and then, and created again under the same name. Clients do not use it: its leader writes to it.
pub(super) const PASSING: &str = "passing";
/// Greater than the ids of [`TOPICS`].
const FIRST_PASSING_ID: u128 = 1000;

/// The partitions that clients write to.
pub(super) fn keys() -> Vec<Key> {
    let mut keys = all();
    keys.retain(|key| *key != of_groups());
    keys
}

/// Including that of the groups.
pub(super) fn all() -> Vec<Key> {
    let topics = (1..).map(|number| TopicId(Uuid::from_u128(number))).zip(TOPICS);
    topics.flat_map(|(id, (_, partitions, _))| (0..partitions).map(move |number| (id, PartitionId(number)))).collect()
}

/// The partition of the groups and their offsets.
pub(super) fn of_groups() -> Key {
    (TopicId(Uuid::from_u128(TOPICS.len() as u128)), PartitionId(0))
}

pub(super) fn is_passing(key: Key) -> bool {
    FIRST_PASSING_ID <= key.0.0.as_u128()
}

pub(super) fn is_synced(key: Key) -> bool {
    options(key) == SYNCED
}

pub(super) fn is_compacted(key: Key) -> bool {
    options(key) == COMPACTED
}

fn options(key: Key) -> Options {
    let number = usize::try_from(key.0.0.as_u128()).unwrap();
    if is_passing(key) { &[] } else { TOPICS[number - 1].2 }
}

pub(super) fn batch(value: u64) -> CheckedBatch {
    let mut batch = BatchBuilder::new(Timestamp(1));
    batch.push(None, Some(&value.to_be_bytes()));
    batch.build().unwrap()
}

/// A client's record, by its number; `first`: the first in its batch, by which the batch is identified.
pub(super) fn push(batch: &mut BatchBuilder, key: Key, number: u64, first: bool) {
    let (key, value) = said(key, number, first);
    batch.push(key.as_ref().map(|key| &key[..]), value.as_ref().map(|value| &value[..]));
}

/// The same, as it is found in a log.
pub(super) fn record(key: Key, number: u64, first: bool) -> Record {
    let (key, value) = said(key, number, first);
    Record::of(key.as_ref().map(|key| &key[..]), value.as_ref().map(|value| &value[..]))
}

fn said(key: Key, number: u64, first: bool) -> (Option<[u8; 8]>, Option<[u8; 8]>) {
    if !is_compacted(key) {
        return (None, Some(number.to_be_bytes()));
    }
    let is_deletion = !first && number.is_multiple_of(DELETIONS);
    (Some((number % KEYS).to_be_bytes()), (!is_deletion).then(|| number.to_be_bytes()))
}

/// The records that create missing topics, once there are enough brokers.
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
    for ((id, (name, partitions, options)), first) in
        (1..).map(|number| TopicId(Uuid::from_u128(number))).zip(TOPICS).zip(0..)
    {
        records.push(MetadataRecord::Topic { name: name.to_owned(), topic_id: id });
        records.extend(options.iter().map(|(option, value)| MetadataRecord::Config {
            resource_type: ConfigResourceType::Topic,
            resource_name: name.to_owned(),
            name: (*option).to_owned(),
            value: Some((*value).to_owned()),
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
