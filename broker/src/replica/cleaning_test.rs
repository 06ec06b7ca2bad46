use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::{ConfigResourceType, MetadataRecord};
use protocol::types::Offset;
use storage::faulty::{FaultyDisk, Operation};
use storage::{CompactionRules, LogConfig};

use super::*;
use crate::metadata::testing::{add_topic, apply, cluster};
use crate::replica::space::SpaceLimits;
use crate::replica::testing::{DATA, NO_LIMITS, formatted, manager};
use crate::replica::{Checkpoints, Cleaner, CleanerNumbers, LoadProgress, RequiredAcks, TopicSettings};

/// A process on the disk of the last one, with two compacted topics. Every batch begins a segment.
fn start(disk: &Arc<FaultyDisk>) -> (ReplicaManager, [Arc<Partition>; 2]) {
    start_within(disk, NO_LIMITS)
}

fn start_within(disk: &Arc<FaultyDisk>, limits: SpaceLimits) -> (ReplicaManager, [Arc<Partition>; 2]) {
    let mut image = cluster(1);
    let topics = ["one", "other"].map(|name| {
        let topic = add_topic(&mut image, name, &[0]);
        for (option, value) in [("cleanup.policy", "compact"), ("segment.ms", "1"), ("file.delete.delay.ms", "0")] {
            let config = MetadataRecord::Config {
                resource_type: ConfigResourceType::Topic,
                resource_name: name.to_owned(),
                name: option.to_owned(),
                value: Some(value.to_owned()),
            };
            apply(&mut image, &[config]);
        }
        topic
    });
    let replicas = manager(disk, limits);
    replicas.load(&image, &Checkpoints::read(replicas.directory()), &LoadProgress::new()).unwrap();
    replicas.apply(&image, &topics);
    let partitions = topics.map(|topic| replicas.partition(topic, PartitionId(0)).unwrap());
    (replicas, partitions)
}

/// Writes the same key again and again.
fn fill(partition: &Arc<Partition>) {
    static TIME: AtomicU64 = AtomicU64::new(0);
    for _ in 0..10 {
        let time = i64::try_from(TIME.fetch_add(10, Ordering::Relaxed)).unwrap();
        let mut builder = BatchBuilder::new(Timestamp(time));
        builder.push(Some(b"key"), Some(&time.to_be_bytes()));
        partition.append_as_leader(&builder.build().unwrap(), RequiredAcks::All, Timestamp(time)).unwrap();
    }
    partition.flush().unwrap();
}

fn owner<'a>(cleaning: &'a Cleaning<'a>, partition: &'a Partition) -> Owner<'a> {
    Owner { cleaning, partition, pacer: RefCell::default(), uncounted: Cell::default() }
}

fn numbers(replicas: &ReplicaManager) -> CleanerNumbers {
    replicas.cleaning.read(0)
}

fn segments(partition: &Partition) -> usize {
    partition.with_log(Log::segment_count).unwrap()
}

#[test]
fn a_log_that_cannot_be_compacted_is_left_alone_and_counted() {
    let disk = formatted();
    let (replicas, [bad, good]) = start(&disk);
    fill(&bad);
    fill(&good);
    let path = Path::new(DATA).join("one-0/00000000000000000003.log");
    let mut bytes = disk.contents(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    disk.put(&path, bytes);

    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    while cleaning.clean_one(Instant::now()) {}
    let found = numbers(&replicas);
    assert_eq!((found.uncleanable_partitions, found.passes, found.max_dirty_percent), (1, 1, 0));
    assert!(0 < found.uncleanable_bytes && 0 < found.bytes_written && found.recopy_percent < 50, "{found:?}");
    assert_eq!((segments(&bad), segments(&good)), (10, 2), "nine closed ones are one");
    fill(&bad);
    fill(&good);
    let read = found.bytes_read;
    while cleaning.clean_one(Instant::now()) {}
    let found = numbers(&replicas);
    assert_eq!((found.uncleanable_partitions, found.passes), (1, 2), "the other goes on");
    assert!(read < found.bytes_read);
    assert_eq!(segments(&good), 2);
    assert!(replicas.offline().is_empty(), "both are served");
}

#[test]
fn where_space_ran_out_it_is_tried_again_later() {
    let disk = formatted();
    let (replicas, [partition, _]) = start(&disk);
    fill(&partition);
    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    disk.set_space_left(Some(0));
    assert!(cleaning.clean_one(Instant::now()));
    assert!(!cleaning.clean_one(Instant::now()), "not at once");
    let avoided = lock(&cleaning.avoided).values().copied().next();
    let Some(Avoided::Until(later)) = avoided else { panic!("{avoided:?}") };
    assert_eq!(numbers(&replicas).uncleanable_partitions, 0);
    assert_eq!(segments(&partition), 10);
    assert!(replicas.disk_space().is_some(), "the directory has not failed");
    disk.set_space_left(None);
    assert!(cleaning.clean_one(later));
    assert_eq!(segments(&partition), 2);
}

#[test]
fn a_pass_ends_before_it_takes_the_space_that_is_kept_for_others() {
    let disk = formatted();
    disk.set_space_left(Some(4 * COUNTED_BYTES));
    let limits = SpaceLimits { soft: 0, hard: COUNTED_BYTES + 1, file: 0 };
    let (replicas, [partition, _]) = start_within(&disk, limits);
    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    let owner = owner(&cleaning, &partition);
    let (on, end) = (ControlFlow::Continue(()), ControlFlow::Break(()));
    assert_eq!([COUNTED_BYTES; 3].map(|written| owner.used(0, written)), [on, on, end]);
    assert_eq!(owner.used(COUNTED_BYTES, 0), end, "reading alone leads to nothing then");
}

#[test]
fn two_threads_compact_two_logs_and_never_the_same() {
    let disk = formatted();
    let (replicas, partitions) = start(&disk);
    partitions.iter().for_each(fill);
    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    let take = || cleaning.take_filthiest(Timestamp(1), Instant::now());
    let (one, other) = (take().unwrap(), take().unwrap());
    assert!(!Arc::ptr_eq(&one, &other) && take().is_none());

    for (threads, expected) in [("0", 0), ("1000", THREADS_MAX), ("2", 2)] {
        let mut image = cluster(1);
        let config = MetadataRecord::Config {
            resource_type: ConfigResourceType::Broker,
            resource_name: String::new(),
            name: "log.cleaner.threads".to_owned(),
            value: Some(threads.to_owned()),
        };
        apply(&mut image, &[config]);
        replicas.follow_broker_values(&image);
        assert_eq!(cleaning.threads(), expected);
    }
    let cleaner = Cleaner::spawn(&Arc::new(replicas)).unwrap();
    while partitions.iter().any(|partition| segments(partition) != 2) {
        std::thread::yield_now();
    }
    cleaner.stop();
}

#[test]
fn a_failed_write_is_the_end_of_the_directory_and_a_stop_the_end_of_the_pass() {
    let disk = formatted();
    let (replicas, [partition, other]) = start(&disk);
    fill(&partition);
    let stop = Stop::default();
    stop.tell();
    let cleaning = Cleaning::new(&replicas, &stop);
    let compaction =
        partition.with_log(|log| log.start_compaction(&partition.settings().compaction.unwrap(), Timestamp(1)));
    let compaction = compaction.unwrap().unwrap();
    let owner = owner(&cleaning, &partition);
    assert_eq!(owner.used(COUNTED_BYTES, 0), ControlFlow::Break(()));
    assert_eq!(owner.used(1, 0), ControlFlow::Continue(()), "it is looked at now and then");
    drop(compaction);
    fill(&other);
    disk.fail(Operation::Sync, 0, ErrorKind::Other);
    assert!(cleaning.clean_one(Instant::now()));
    assert!(replicas.disk_space().is_none(), "the directory has failed");
}

#[test]
fn the_next_process_knows_what_is_compacted() {
    let disk = formatted();
    let (replicas, [partition, _]) = start(&disk);
    fill(&partition);
    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    assert!(cleaning.clean_one(Instant::now()));
    let first_dirty = partition.with_log(Log::first_dirty).unwrap();
    assert_eq!(first_dirty, Offset(9));
    replicas.write_checkpoints().unwrap();
    let text = disk.contents(&Path::new(DATA).join("cleaner-offset-checkpoint")).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "0\n1\none 0 9\n");
    disk.crash(&mut || 0);
    let (_, [partition, _]) = start(&disk);
    assert_eq!(partition.with_log(Log::first_dirty).unwrap(), first_dirty);
    assert_eq!(segments(&partition), 2);
}

#[test]
fn the_next_process_knows_what_a_pass_that_broke_off_relied_on() {
    let mut broken_off = 0;
    for after in 0.. {
        let disk = formatted();
        let (replicas, [partition, _]) = start(&disk);
        fill(&partition);
        let two_in_a_group = |log: &mut Log| log.set_config(LogConfig { segment_bytes: 200, ..log.config().clone() });
        partition.with_log_mut(two_in_a_group).unwrap();
        disk.fail(Operation::Rename, after, ErrorKind::Other);
        assert!(Cleaning::new(&replicas, &Stop::default()).clean_one(Instant::now()));
        if numbers(&replicas).passes == 1 {
            break;
        }
        disk.crash(&mut || 0);
        let (_, [partition, _]) = start(&disk);
        let (end, first_dirty) = partition.with_log(|log| (log.compacted_end(), log.first_dirty())).unwrap();
        assert_eq!(first_dirty, Offset(0), "{after}");
        if segments(&partition) < 10 {
            broken_off += 1;
            assert_eq!(end, Offset(9), "{after}");
        }
    }
    assert!(0 < broken_off);
}

#[test]
fn what_was_compacted_is_still_known_of_logs_that_no_longer_are_or_that_are_offline() {
    let disk = formatted();
    let (replicas, [partition, _]) = start(&disk);
    fill(&partition);
    assert!(Cleaning::new(&replicas, &Stop::default()).clean_one(Instant::now()));
    let settings = TopicSettings { compaction: None, ..(**partition.settings()).clone() };
    partition.set_settings(settings).unwrap();
    let known = |replicas: &ReplicaManager| {
        let directory = replicas.directory();
        [directory.compacted_ends(), directory.cleaner_offsets()].map(|file| file.read().unwrap()[&partition.name])
    };
    replicas.write_checkpoints().unwrap();
    assert_eq!(known(&replicas), [Offset(9); 2]);
    disk.crash(&mut || 0);
    disk.put(&Path::new(DATA).join("one-0/partition.metadata"), b"?".to_vec());
    let (replicas, _) = start(&disk);
    assert_eq!(replicas.offline().len(), 1);
    replicas.write_checkpoints().unwrap();
    assert_eq!(known(&replicas), [Offset(9); 2]);
}

#[test]
fn what_should_have_been_compacted_already_comes_first() {
    let (replicas, [filthy, overdue]) = start(&formatted());
    fill(&overdue);
    let stop = Stop::default();
    let cleaning = Cleaning::new(&replicas, &stop);
    assert!(cleaning.clean_one(Instant::now()));
    fill(&overdue);
    fill(&filthy);
    let take = || {
        lock(&cleaning.avoided).clear();
        cleaning.take_filthiest(Timestamp(1 << 40), Instant::now()).unwrap()
    };
    assert!(Arc::ptr_eq(&take(), &filthy));
    let mut settings = (**overdue.settings()).clone();
    settings.compaction = settings.compaction.map(|rules| CompactionRules { lag_ms_max: 1, ..rules });
    overdue.set_settings(settings).unwrap();
    assert!(Arc::ptr_eq(&take(), &overdue));
}
