use proptest::prelude::*;
use protocol::batch::Attributes;

use super::*;
use crate::faulty::Operation;
use crate::testing::*;
use crate::{FlushError, OutOfRange, ReadMode, ResolveError, UpTo};

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() }
}

#[test]
fn batches_get_the_next_offsets_and_the_leaders_epoch() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    assert_eq!(append(&mut log, &batch(3, 10, 5)), Offset(0));
    assert_eq!(append(&mut log, &batch(2, 10, 5)), Offset(3));
    assert_eq!(log.log_end().offset, Offset(5));
    let headers: Vec<_> = read_all(&log).into_iter().map(|(header, _)| header).collect();
    assert_eq!(headers[1].base_offset, Offset(3));
    assert!(headers.iter().all(|header| header.leader_epoch == EPOCH));
    let file = bench.contents("00000000000000000000.log").unwrap();
    assert_eq!(file.len() as u64, log.size());
}

#[test]
fn an_epoch_begins_at_once_and_reaches_its_file_with_the_flush() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    let metadata = bench.contents("partition.metadata").unwrap();
    assert_eq!(metadata, b"version: 0\ntopic_id: MkU3OEVBNTcwNTJENDM2Qg");
    log.begin_epoch(LeaderEpoch(3));
    log.begin_epoch(LeaderEpoch(4));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(4), LeaderEpoch(4)), Some((LeaderEpoch(4), Offset(0))));
    let stale = log.append_as_leader(&batch(1, 10, 5), LeaderEpoch(3), NOW);
    assert!(matches!(stale, Err(AppendError::StaleLeaderEpoch { latest: LeaderEpoch(4), .. })));
    log.append_as_leader(&batch(1, 10, 5), LeaderEpoch(4), NOW).unwrap();
    assert_eq!(bench.contents("leader-epoch-checkpoint"), None, "no producer waits for it");
    flush(&mut log);
    log.begin_epoch(LeaderEpoch(5)); // without records
    log.close_clean(NOW).unwrap();
    assert_eq!(bench.contents("leader-epoch-checkpoint").unwrap(), b"0\n1\n4 0\n");
}

#[test]
fn an_untouched_log_needs_no_files_and_no_sync() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    bench.disk.fail(Operation::Sync, 0, io::ErrorKind::Other);
    bench.disk.fail(Operation::SyncDirectory, 0, io::ErrorKind::Other);
    log.begin_epoch(LeaderEpoch(4));
    assert_eq!(log.close_clean(NOW).unwrap(), Offset(0));
    assert_eq!(bench.names(), ["partition.metadata"]);
    let mut log = bench.load_clean(Offset(0)).unwrap();
    assert_eq!(log.close_clean(NOW).unwrap(), Offset(0));
    assert!(matches!(append(&mut log, &batch(1, 10, 5)), Offset(0)));
    log.close_clean(NOW).unwrap_err();
}

#[test]
fn a_shortage_of_descriptors_is_no_failed_disk() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    bench.disk.fail(Operation::Open, 0, Errno::MFILE); // the first file
    let refused = log.append_as_leader(&batch(1, 400, 5), EPOCH, NOW);
    assert!(matches!(refused, Err(AppendError::NoDescriptors { .. })), "{refused:?}");
    append_times(&mut log, 2, &batch(1, 400, 5));
    bench.disk.fail(Operation::Open, 0, Errno::NFILE); // an index of the full segment
    let refused = log.append_as_leader(&batch(1, 400, 5), EPOCH, NOW);
    assert!(matches!(refused, Err(AppendError::NoDescriptors { .. })), "{refused:?}");
    append_times(&mut log, 2, &batch(1, 400, 5));
    bench.disk.fail(Operation::Open, 0, Errno::MFILE); // the leader epochs
    let postponed = log.start_flush(NOW).run();
    assert!(matches!(postponed, Err(FlushError::Postponed { .. })), "{postponed:?}");
    assert_eq!(log.recovery_point(), Offset(0));
    flush(&mut log);
    assert_eq!((log.recovery_point(), read_all(&log).len()), (Offset(4), 4));
}

#[test]
fn a_log_that_syncs_its_appends_counts_what_is_synced() {
    let bench = Bench::new(LogConfig { flush_messages: 1, ..LogConfig::default() });
    let mut log = bench.create();
    let first = log.append_as_leader(&batch(2, 10, 5), EPOCH, NOW).unwrap();
    let second = log.append_as_leader(&batch(1, 10, 5), EPOCH, NOW).unwrap();
    assert_eq!((log.sync_due(&first), log.sync_due(&second)), (Some(Offset(2)), Some(Offset(3))));
    assert_eq!(log.replicated_end(), None);
    let job = log.start_flush(NOW);
    let end = log.log_end();
    let third = log.append_as_leader(&batch(1, 10, 5), EPOCH, NOW).unwrap();
    log.finish_flush(job.run().unwrap());
    assert_eq!(log.replicated_end(), Some(end));
    assert_eq!((log.sync_due(&second), log.sync_due(&third)), (None, Some(Offset(4))));
    flush(&mut log);
    assert_eq!(log.replicated_end(), Some(log.log_end()));

    log.set_config(LogConfig { flush_messages: 3, ..LogConfig::default() });
    let mut due = Vec::new();
    for _ in 0..4 {
        let appended = log.append_as_leader(&batch(1, 10, 5), EPOCH, NOW).unwrap();
        due.push(log.sync_due(&appended));
    }
    assert_eq!(due, [None, None, Some(Offset(7)), Some(Offset(8))], "every append beyond the third waits");
    assert_eq!(log.replicated_end(), Some(log.log_end()));
}

#[test]
fn a_directory_with_records_is_not_created_again() {
    let bench = Bench::new(LogConfig::default());
    drop(bench.create());
    let mut log = bench.create();
    append(&mut log, &batch(1, 10, 5));
    drop(log);
    let other = TopicId::default();
    let again = Log::create(&bench.pool, Path::new(DIRECTORY), other, bench.config.clone(), Offset(9), NOW);
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_ne!(bench.load(Offset(0)).unwrap().topic_id(), other);
}

#[test]
fn a_retry_is_answered_with_the_first_offsets_and_not_written() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append(&mut log, &batch(7, 10, 5));
    let first = produced(&batch(2, 10, 6), 9, 0, 0);
    append(&mut log, &first);
    let size = log.size();
    let again = log.append_as_leader(&first, EPOCH, NOW).unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (Offset(7), Offset(8), true));
    assert_eq!((log.log_end().offset, log.size()), (Offset(9), size));
    let gap = log.append_as_leader(&produced(&batch(1, 10, 6), 9, 0, 3), EPOCH, NOW);
    assert!(matches!(gap, Err(AppendError::Producer(ProducerError::OutOfOrderSequence { expected: 2, .. }))));
    assert_eq!(log.log_end().offset, Offset(9));
}

#[test]
fn the_log_append_time_is_told_only_where_the_batch_carries_it() {
    let mut log = Bench::new(LogConfig::default()).create();
    let plain = batch(1, 10, 77);
    let stamped = sealed(BatchHeader { attributes: Attributes(8), ..plain.header }, &plain.bytes);
    assert_eq!(log.append_as_leader(&plain, EPOCH, NOW).unwrap().log_append_time, Timestamp::NONE);
    assert_eq!(log.append_as_leader(&stamped, EPOCH, NOW).unwrap().log_append_time, Timestamp(77));
}

#[test]
fn segments_roll_by_size_age_and_index() {
    let one = batch(1, 31, 100);
    assert_eq!(one.bytes.len(), 99, "the table below counts on it");
    let young = LogConfig { segment_ms: 50, ..LogConfig::default() };
    let index = LogConfig { segment_index_bytes: 24, index_interval_bytes: 0, ..LogConfig::default() };
    // Configuration, timestamps of the batches, bases of the segments.
    let table: [(LogConfig, &[i64], &[i64]); 7] = [
        (LogConfig { segment_bytes: 198, ..LogConfig::default() }, &[1, 1, 1], &[0, 2]),
        (LogConfig { segment_bytes: 197, ..LogConfig::default() }, &[1, 1, 1], &[0, 1, 2]),
        (young.clone(), &[100, 150, 151], &[0, 2]),
        (young.clone(), &[100, 20, 150], &[0]),
        (LogConfig { segment_jitter_ms: 50, ..young.clone() }, &[100, 150], &[0, 1]),
        (young, &[-1, 9_000_000], &[0]), // no clock in the first batch: ours decides, and it stands still
        (index, &[1, 2, 3, 4], &[0, 2]), // room for one time entry, and the last
    ];
    for (config, timestamps, bases) in table {
        let mut log = Bench::new(config.clone()).create();
        for timestamp in timestamps {
            append(&mut log, &sealed(BatchHeader { max_timestamp: Timestamp(*timestamp), ..one.header }, &one.bytes));
        }
        let found: Vec<_> = log.closed.iter().map(|segment| segment.base.0).chain([log.active.base.0]).collect();
        assert_eq!(found, bases, "{config:?} {timestamps:?}");
        assert_eq!(read_all(&log).len(), timestamps.len());
    }
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let mut log = Bench::new(small_segments()).create();
    let refused = log.append_as_leader(&batch(1, 1000, 5), EPOCH, NOW);
    assert!(matches!(refused, Err(AppendError::BatchTooLarge { segment_bytes: 1000, .. })));
}

#[test]
fn a_full_disk_takes_nothing_back_and_gives_nothing_away() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append(&mut log, &batch(1, 400, 5));
    for space in [0, 1, 60, 61, 300] {
        bench.disk.set_space_left(Some(space));
        let full = log.append_as_leader(&batch(1, 400, 5), EPOCH, NOW);
        assert!(matches!(full, Err(AppendError::NoSpace { .. })), "{space}: {full:?}");
        let file = bench.contents("00000000000000000000.log").unwrap();
        assert_eq!(file.len() as u64, log.size(), "{space}: truncated back");
    }
    bench.disk.set_space_left(None);
    append_times(&mut log, 5, &batch(1, 400, 5));
    bench.disk.set_space_left(Some(0)); // rolling needs index entries to be written
    while log.append_as_leader(&batch(1, 400, 5), EPOCH, NOW).is_ok() {}
    bench.disk.set_space_left(None);
    append(&mut log, &batch(1, 400, 5));
    assert_eq!(i64::try_from(read_all(&log).len()).unwrap(), log.log_end().offset.0);
    assert!(!log.is_offline());
}

#[test]
fn any_other_failed_write_takes_the_log_offline() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    append(&mut log, &batch(1, 10, 5));
    bench.disk.fail(Operation::Write, 0, io::ErrorKind::Other);
    assert!(matches!(log.append_as_leader(&batch(1, 10, 5), EPOCH, NOW), Err(AppendError::Io { .. })));
    assert!(matches!(log.append_as_leader(&batch(1, 10, 5), EPOCH, NOW), Err(AppendError::Offline)));
    assert!(log.close_clean(NOW).is_err(), "nothing is called clean after that");
    assert_eq!(read_all(&log).len(), 1, "what was there can still be read");
}

#[test]
fn reads_return_the_whole_batch_that_contains_the_offset() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 40, &batch(5, 30, 5));
    for from in 0..200 {
        let slice = log.locate(Offset(from), UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true).unwrap();
        assert_eq!(slice.unwrap().start.offset, Offset(from / 5 * 5));
    }
    let out = log.locate(Offset(201), UpTo::LogEnd, 1).unwrap_err();
    assert_eq!(out, OutOfRange { from: Offset(201), log_start: Offset(0), log_end: Offset(200) });
    assert!(log.locate(Offset(200), UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true).unwrap().is_none());
    let refused = log.locate(Offset(0), UpTo::LogEnd, 10).unwrap().resolve(ReadMode::Blocking, false).unwrap();
    assert!(refused.is_none(), "the first batch does not fit");
}

#[test]
fn consumers_read_up_to_the_high_watermark() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 3, &batch(1, 30, 5));
    let committed = log.log_end();
    append_times(&mut log, 20, &batch(1, 30, 5));
    let read = |log: &Log, from| log.locate(Offset(from), UpTo::HighWatermark, 10_000).unwrap();
    assert!(read(&log, 0).resolve(ReadMode::Blocking, true).unwrap().is_none(), "nothing is committed");
    log.set_high_watermark(committed);
    let slice = read(&log, 0).resolve(ReadMode::Blocking, true).unwrap().unwrap();
    assert_eq!(u64::from(slice.length), committed.position);
    for from in [3, 4, 22, 23] {
        assert!(read(&log, from).resolve(ReadMode::Blocking, true).unwrap().is_none(), "{from}");
    }
}

#[test]
fn a_read_that_must_not_wait_says_so() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 40, &batch(1, 30, 5));
    let active = log.locate(Offset(39), UpTo::LogEnd, 1).unwrap();
    let closed = log.locate(Offset(0), UpTo::LogEnd, 1).unwrap();
    assert!(active.resolve(ReadMode::NoWait, true).is_ok());
    assert!(matches!(closed.resolve(ReadMode::NoWait, true), Err(ResolveError::WouldBlock)), "not open yet");
    closed.resolve(ReadMode::Blocking, true).unwrap();
    assert!(closed.resolve(ReadMode::NoWait, true).is_ok());
    bench.disk.set_cold(true);
    assert!(matches!(active.resolve(ReadMode::NoWait, true), Err(ResolveError::WouldBlock)));
}

#[test]
fn a_file_that_shrank_is_no_empty_read() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    append(&mut log, &batch(1, 30, 5));
    let located = log.locate(Offset(0), UpTo::LogEnd, 1).unwrap();
    log.active.open_log().unwrap().set_length(50).unwrap();
    assert!(matches!(located.resolve(ReadMode::Blocking, true), Err(ResolveError::Shrunk { .. })));
}

#[test]
fn timestamps_lead_to_the_first_record_that_is_not_older() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    let timestamps = [10, 20, 15, 40, 40, 30, 50, 60, 60, 55, 70, 20];
    for timestamp in timestamps {
        append(&mut log, &batch(2, 120, timestamp));
    }
    assert!(2 < log.closed.len(), "some lie in closed segments");
    for target in 0..80 {
        let expected = timestamps.iter().position(|timestamp| target <= *timestamp);
        let expected = expected.map(|index| (Timestamp(timestamps[index]), Offset(i64::try_from(index).unwrap() * 2)));
        let found = log.locate_timestamp(Timestamp(target)).resolve(0).unwrap();
        assert_eq!(found.map(|found| (found.timestamp, found.offset)), expected, "{target}");
    }
    let max = log.locate_max_timestamp().resolve(0).unwrap().unwrap();
    assert_eq!((max.timestamp, max.offset, max.leader_epoch), (Timestamp(70), Offset(20), EPOCH));
    assert_eq!(Bench::new(small_segments()).create().locate_max_timestamp().resolve(0).unwrap(), None);
}

#[test]
fn the_recovery_point_moves_with_a_finished_flush_and_no_further() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append(&mut log, &batch(1, 400, 5));
    assert_eq!(log.unflushed_since(), Some(NOW));
    let job = log.start_flush(Timestamp(NOW.0 + 1));
    append_times(&mut log, 5, &batch(1, 400, 5));
    assert_eq!(log.recovery_point(), Offset(0));
    log.finish_flush(job.run().unwrap());
    assert_eq!(log.recovery_point(), Offset(1));
    assert_eq!(log.unflushed_bytes(), log.size() / 6 * 5);
    assert_eq!(log.unflushed_since(), Some(Timestamp(NOW.0 + 1)));
    flush(&mut log);
    assert_eq!((log.recovery_point(), log.unflushed_bytes(), log.unflushed_since()), (Offset(6), 0, None));
    assert!(bench.names().contains(&"00000000000000000004.snapshot".to_owned()), "{:?}", bench.names());

    let (directory, config) = (Path::new("/data/late-0"), bench.config.clone());
    let mut late = Log::create(&bench.pool, directory, log.topic_id, config, Offset(9), NOW).unwrap();
    assert_eq!(late.recovery_point(), Offset(0), "its directory is not durable");
    flush(&mut late);
    assert_eq!(late.recovery_point(), Offset(9));
    bench.disk.crash(&mut || 0);
    assert_eq!(Log::topic_id_in(&bench.pool, directory).unwrap(), log.topic_id);
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    append(&mut log, &batch(1, 10, 5));
    bench.disk.fail(Operation::Sync, 0, io::ErrorKind::Other);
    assert!(log.start_flush(NOW).run().is_err());
    assert!(log.is_offline());
    assert!(log.start_flush(NOW).run().is_err(), "the disk would say yes now");
    assert_eq!(log.recovery_point(), Offset(0));
}

proptest! {
    /// Whatever is appended is read back byte for byte, apart from offsets and epoch, with any index settings.
    #[test]
    fn what_was_appended_is_read(
        batches in prop::collection::vec((1_usize..20, 0_usize..300), 1..60),
        segment_bytes in 7000_u64..20_000,
        index_interval_bytes in 0_u64..2000,
    ) {
        let mut log =
            Bench::new(LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() }).create();
        let appended: Vec<_> = batches.iter().map(|(count, bytes)| batch(*count, *bytes, 5)).collect();
        for batch in &appended {
            append(&mut log, batch);
        }
        let read = read_all(&log);
        prop_assert_eq!(read.len(), appended.len());
        let mut next = Offset(0);
        for ((header, bytes), appended) in read.iter().zip(&appended) {
            prop_assert_eq!(header.base_offset, next);
            prop_assert_eq!(&bytes[16..], &appended.bytes[16..]);
            next = header.next_offset();
        }
    }
}

#[test]
fn a_flush_leaves_nothing_in_a_directory_that_was_abandoned() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 3, &produced(&batch(1, 600, 5), -1, -1, -1));
    let job = log.start_flush(NOW);
    log.abandon_directory();
    bench.disk.rename(Path::new(DIRECTORY), Path::new("/data/aside")).unwrap();
    let another = bench.create();
    job.run().unwrap();
    assert_eq!(bench.names_with(".snapshot"), Vec::<String>::new(), "{another:?}");
}
