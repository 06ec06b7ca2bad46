use std::sync::Mutex;

use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::{ConfigResourceType, LeaderUpdate, MetadataRecord, PartitionChangeRecord};
use protocol::produce::CheckedBatch;
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};
use storage::ReadMode;
use storage::faulty::{FaultyDisk, Operation};

use super::*;
use crate::metadata::Image;
use crate::metadata::testing::{add_topic, apply, cluster};
use crate::replica::space::SpaceLimits;
use crate::replica::testing::{NO_LIMITS, formatted, manager};
use crate::replica::{Checkpoints, FetchPosition, LoadProgress, ProduceError, RequiredAcks, ServedBy};

const FAR_OFF: Duration = Duration::from_mins(1);

/// One broker, and topic "t", which syncs every append.
fn image() -> (Image, TopicId) {
    let mut image = cluster(1);
    let topic = add_topic(&mut image, "t", &[0]);
    let every_append = MetadataRecord::Config {
        resource_type: ConfigResourceType::Topic,
        resource_name: "t".to_owned(),
        name: "flush.messages".to_owned(),
        value: Some("1".to_owned()),
    };
    apply(&mut image, &[every_append]);
    (image, topic)
}

/// A process on the disk of the last one.
fn start(disk: &Arc<FaultyDisk>, limits: SpaceLimits) -> (Arc<ReplicaManager>, Arc<Partition>) {
    let (image, topic) = image();
    let replicas = Arc::new(manager(disk, limits));
    let checkpoints = Checkpoints::read(replicas.directory());
    replicas.load(&image, &checkpoints, &LoadProgress::new()).unwrap();
    replicas.apply(&image, &[topic]);
    let partition = replicas.partition(topic, PartitionId(0)).unwrap();
    (replicas, partition)
}

fn batch(value: u64) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Timestamp(1));
    builder.push(None, Some(&value.to_be_bytes()));
    builder.build().unwrap()
}

/// The batch at an offset, as a consumer reads it.
fn read(partition: &Partition, offset: Offset) -> Option<Vec<u8>> {
    let position = FetchPosition { served_by: ServedBy::Leader, offset, leader_epoch: None, bytes_max: 1 };
    let located = partition.locate(position).ok()?.located;
    located.resolve(ReadMode::Blocking, true).unwrap().map(|slice| slice.read().unwrap())
}

/// Appends and waits like a produce request. `None`: refused.
fn produce(partition: &Arc<Partition>, value: u64) -> Option<Offset> {
    let written = partition.append_as_leader(&batch(value), RequiredAcks::Leader, Timestamp(1)).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let deadline = tokio::time::Instant::now() + FAR_OFF;
    let synced = runtime.block_on(async { partition.synced(written.sync_due.unwrap(), deadline).await });
    synced.ok().map(|()| written.appended.base_offset)
}

#[test]
fn a_failed_write_ends_the_process_though_nothing_waits_for_the_disk() {
    let disk = formatted();
    let (replicas, partition) = start(&disk, NO_LIMITS);
    disk.fail(Operation::Write, 0, std::io::ErrorKind::ReadOnlyFilesystem);
    partition.append_as_leader(&batch(1), RequiredAcks::Leader, Timestamp(1)).unwrap_err();
    assert_eq!(partition.unflushed_bytes(), 0, "no flush would find it");
    assert!(replicas.disk_space().is_none(), "the directory has failed");
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    const PRODUCERS: u64 = 4;
    for seed in 1..30_u64 {
        let disk = formatted();
        let (replicas, partition) = start(&disk, NO_LIMITS);
        let flusher = Flusher::spawn(replicas).unwrap();
        let acknowledged = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        let at_the_cut = std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let (partition, acknowledged, stop) = (&partition, &acknowledged, &stop);
                scope.spawn(move || {
                    for value in (0..).map(|count| count * PRODUCERS + producer) {
                        let Some(offset) = produce(partition, value) else { break };
                        acknowledged.lock().unwrap().push((offset, value));
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            while acknowledged.lock().unwrap().len() < usize::try_from(10 + seed * 3).unwrap() {
                std::thread::yield_now();
            }
            let at_the_cut = acknowledged.lock().unwrap().clone();
            let mut state = seed;
            disk.crash(&mut || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 33
            });
            stop.store(true, Ordering::Relaxed);
            at_the_cut
        });
        flusher.stop();

        let (_replicas, partition) = start(&disk, NO_LIMITS);
        partition.flush().unwrap();
        for (offset, value) in at_the_cut {
            let found = read(&partition, offset).unwrap_or_default();
            assert!(found.ends_with(batch(value).bytes.get(61..).unwrap()), "seed {seed}: {value} at {offset} is lost");
        }
    }
}

#[test]
fn one_sync_serves_all_who_wait_and_consumers_see_only_what_is_synced() {
    let (_replicas, partition) = start(&formatted(), NO_LIMITS);
    let ends: Vec<_> = (0..100)
        .map(|value| partition.append_as_leader(&batch(value), RequiredAcks::All, Timestamp(1)).unwrap().sync_due)
        .collect();
    assert_eq!(ends.last(), Some(&Some(Offset(100))));
    assert_eq!(read(&partition, Offset(0)), None, "not on disk");
    partition.flush().unwrap();
    assert!(read(&partition, Offset(99)).is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let deadline = tokio::time::Instant::now() + FAR_OFF;
        for end in ends.into_iter().flatten() {
            partition.synced(end, deadline).await.unwrap();
        }
        let now = tokio::time::Instant::now();
        let too_late = partition.synced(Offset(101), now).await;
        assert!(matches!(too_late, Err(ProduceError::NotSyncedInTime)), "{too_late:?}");
    });
}

#[test]
fn who_waits_for_a_sync_that_fails_is_told() {
    let disk = formatted();
    let (replicas, partition) = start(&disk, NO_LIMITS);
    disk.fail(Operation::Sync, 0, std::io::ErrorKind::Other);
    let flusher = Flusher::spawn(replicas).unwrap();
    assert_eq!(produce(&partition, 1), None);
    flusher.stop();
}

#[test]
fn leadership_of_an_idle_partition_costs_no_write() {
    let disk = formatted();
    let (replicas, partition) = start(&disk, NO_LIMITS);
    for operation in [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Open] {
        disk.fail(operation, 0, std::io::ErrorKind::Other);
    }
    let (mut image, topic) = image();
    let leader = LeaderUpdate::Broker(BrokerId(0));
    let change = PartitionChangeRecord { leader, ..PartitionChangeRecord::new(topic, PartitionId(0)) };
    apply(&mut image, &[MetadataRecord::PartitionChange(change)]);
    replicas.apply(&image, &[topic]);
    assert_eq!(partition.with_log(|log| log.leader_epochs().latest()).unwrap(), Some(LeaderEpoch(1)));
    assert!(replicas.shared.flushes.take_dirty().is_empty());
}

#[test]
fn producers_are_told_to_try_again_before_the_volume_is_full() {
    let disk = formatted();
    disk.set_space_left(Some(100_000));
    let limits = SpaceLimits { soft: 50_000, hard: 10_000, file: 1000 };
    let (replicas, partition) = start(&disk, limits);
    replicas.look_at_space();
    assert_eq!(replicas.directory().space().unwrap().usable_bytes, replicas.space().available_bytes());
    let write = || partition.append_as_leader(&batch(1), RequiredAcks::Leader, Timestamp(1));
    let written = std::iter::from_fn(|| write().ok()).count();
    assert!(500 < written, "{written} batches of 76 bytes, without another look at the volume");
    assert!(matches!(write(), Err(ProduceError::DiskFull { .. })));
    disk.set_space_left(Some(60_000));
    replicas.look_at_space();
    write().unwrap();
}

#[test]
fn a_directory_that_failed_while_the_broker_stopped_is_not_closed_cleanly() {
    let (replicas, _) = start(&formatted(), NO_LIMITS);
    assert!(replicas.close());
    replicas.directory_failed("a sync that has nothing to do with the logs");
    assert!(!replicas.close());
}
