use std::path::Path;

use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::MetadataRecord;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use storage::faulty::{FaultyDisk, Operation};
use storage::{Disk, Log};

use super::*;
use crate::metadata::testing::{add_partition, add_topic, apply, cluster};
use crate::replica::testing::{self, DATA, NO_LIMITS, formatted};
use crate::replica::{AccessError, FetchPosition, ProduceError, RequiredAcks, ServedBy, Waiter};

/// Broker 0 on its own disk.
fn manager() -> (ReplicaManager, Arc<FaultyDisk>) {
    let disk = formatted();
    (testing::manager(&disk, NO_LIMITS), disk)
}

/// Creates a topic on this broker, with one partition.
fn create(replicas: &ReplicaManager, image: &mut Image, name: &str) -> (TopicId, Arc<Partition>) {
    let topic = add_topic(image, name, &[0]);
    replicas.apply(image, &[topic]);
    (topic, replicas.partition(topic, PartitionId(0)).unwrap())
}

fn delete(replicas: &ReplicaManager, image: &mut Image, topic: TopicId) {
    remove(image, topic);
    replicas.drop_deleted(image, &[topic]);
    replicas.published();
}

/// Removes the topic from the image without records.
fn remove(image: &mut Image, topic: TopicId) {
    let name = image.topics.remove(&topic).unwrap().name.clone();
    image.topic_ids.remove(&name);
}

fn one_record() -> CheckedBatch {
    let mut builder = BatchBuilder::new(Timestamp(5));
    builder.push(None, Some(b"x"));
    builder.build().unwrap()
}

fn append(partition: &Arc<Partition>) -> Result<Offset, ProduceError> {
    let written = partition.append_as_leader(&one_record(), RequiredAcks::All, Timestamp(5))?;
    Ok(written.appended.base_offset)
}

fn directories(disk: &FaultyDisk) -> Vec<String> {
    let entries = disk.list(Path::new(DATA)).unwrap().into_iter().filter(|entry| entry.is_directory);
    entries.map(|entry| entry.name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_deleted_partition_takes_nothing_more_and_wakes_who_waits() {
    let (replicas, disk) = manager();
    let mut image = cluster(1);
    let (topic, partition) = create(&replicas, &mut image, "t");
    append(&partition).unwrap();
    let waiter = Arc::new(Waiter::default());
    partition.register(&waiter);
    delete(&replicas, &mut image, topic);
    waiter.woken().await;
    assert!(replicas.partition(topic, partition.name.partition).is_none());
    assert!(matches!(append(&partition), Err(ProduceError::Access(AccessError::Deleted(_)))), "a request in progress");
    let position = FetchPosition {
        served_by: ServedBy::Leader,
        offset: Offset(0),
        leader_epoch: Some(LeaderEpoch(0)),
        bytes_max: 100,
    };
    partition.locate(position).unwrap_err();
    partition.check_in_service().unwrap_err();
    let [renamed] = directories(&disk).try_into().unwrap();
    let id = renamed.strip_prefix("t-0.").and_then(|name| name.strip_suffix("-delete")).unwrap();
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()), "{renamed}");
}

#[test]
fn checkpoints_of_a_deleted_partition_are_gone_before_its_name_is_used_again() {
    let (replicas, disk) = manager();
    let mut image = cluster(1);
    let (topic, partition) = create(&replicas, &mut image, "t");
    append(&partition).unwrap();
    partition.flush().unwrap();
    replicas.write_checkpoints().unwrap();
    let name = TopicPartition { topic: "t".to_owned(), ..partition.name.clone() };
    let recovery_point = || replicas.directory().recovery_points().read().unwrap().get(&name).copied();
    assert_eq!(recovery_point(), Some(Offset(1)));
    delete(&replicas, &mut image, topic);
    let (_, partition) = create(&replicas, &mut image, "t");
    assert_eq!(recovery_point(), None, "a crash now would miss records that were never there");
    assert_eq!(append(&partition).unwrap(), Offset(0));
    assert_eq!(directories(&disk).len(), 2);
}

#[test]
fn a_topic_deleted_and_made_again_between_two_looks_begins_empty() {
    for records in [0, 1] {
        let (replicas, disk) = manager();
        let mut image = cluster(1);
        let (old, partition) = create(&replicas, &mut image, "t");
        for _ in 0..records {
            append(&partition).unwrap();
        }
        remove(&mut image, old);
        let new = TopicId(Uuid::from_u128(77));
        apply(&mut image, &[MetadataRecord::Topic { name: "t".to_owned(), topic_id: new }]);
        add_partition(&mut image, new, &[0]);
        replicas.follow(&image, &[old, new]);
        assert!(replicas.disk_space().is_some(), "the disk is in order");
        let partition = replicas.partition(new, PartitionId(0)).unwrap();
        assert_eq!(append(&partition).unwrap(), Offset(0));
        partition.flush().unwrap();
        assert_eq!(Log::topic_id_in(&replicas.pool, &replicas.directory.partition_path(&partition.name)).unwrap(), new);
        let [first, second] = directories(&disk).try_into().unwrap();
        assert!(first == "t-0" && second.ends_with("-delete"), "{first} {second}");
    }
}

#[test]
fn a_disk_too_full_for_a_new_name_gives_the_directory_up_at_once() {
    let (replicas, disk) = manager();
    let mut image = cluster(1);
    let (topic, _) = create(&replicas, &mut image, "t");
    disk.fail(Operation::Rename, 0, std::io::ErrorKind::StorageFull);
    delete(&replicas, &mut image, topic);
    assert_eq!(directories(&disk), Vec::<String>::new());
    let (_, partition) = create(&replicas, &mut image, "t");
    assert_eq!(append(&partition).unwrap(), Offset(0));
}
