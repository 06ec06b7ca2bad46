use std::io;

use protocol::types::LeaderEpoch;

use super::*;
use crate::faulty::Operation;
use crate::testing::*;
use crate::{LoadOptions, LogConfig, ReadMode, TimestampOffset, UpTo};

/// Segments of two batches of two records: bases 0, 4, 8, …
fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 500, index_interval_bytes: 100, ..LogConfig::default() }
}

/// A log of `batches` batches whose timestamps count from 100 on.
fn filled(bench: &Bench, batches: i64) -> Log {
    let mut log = bench.create();
    for number in 0..batches {
        append(&mut log, &batch(2, 50, 100 + number));
    }
    log.set_high_watermark(log.log_end());
    log
}

fn bases(log: &Log) -> Vec<i64> {
    log.closed.iter().map(|segment| segment.base.0).chain([log.active.base.0]).collect()
}

fn delete(log: &mut Log, retention: &Retention) -> Vec<PathBuf> {
    log.delete_old_segments(retention, NOW).unwrap().map_or(Vec::new(), |deletion| deletion.run().unwrap())
}

const BEFORE_LOG_START: Retention = Retention { bytes_max: None, age_ms_max: None };

#[test]
fn the_log_start_moves_up_to_the_high_watermark_and_never_back() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 5);
    let committed = LogPosition { offset: Offset(7), ..log.log_end() };
    log.set_high_watermark(committed);
    for (offset, expected) in [(3, Ok(3)), (1, Ok(3)), (7, Ok(7)), (8, Err(())), (-1, Err(())), (7, Ok(7))] {
        let moved = log.advance_log_start(Offset(offset)).map(|()| log.log_start().0).map_err(drop);
        assert_eq!(moved, expected, "{offset}");
    }
    let out = log.locate(Offset(6), UpTo::LogEnd, 1).unwrap_err();
    assert_eq!((out.log_start, out.log_end), (Offset(7), Offset(10)));
    assert_eq!(log.leader_epochs().entries()[0].start_offset, Offset(7));
}

#[test]
fn segments_go_from_the_oldest_up_to_the_first_that_has_to_stay() {
    let size = filled(&Bench::new(small_segments()), 10).closed[0].size;
    let table: [(&str, i64, Retention, &[i64]); 10] = [
        ("nothing before the log start", 3, BEFORE_LOG_START, &[0, 4, 8, 12, 16]),
        ("one segment before it", 4, BEFORE_LOG_START, &[4, 8, 12, 16]),
        ("the active one never by the log start", 20, BEFORE_LOG_START, &[16]),
        ("by size", 0, Retention { bytes_max: Some(3 * size), age_ms_max: None }, &[8, 12, 16]),
        ("never below it", 0, Retention { bytes_max: Some(3 * size + 1), age_ms_max: None }, &[4, 8, 12, 16]),
        ("the limit is kept", 0, Retention { bytes_max: Some(1 << 20), age_ms_max: None }, &[0, 4, 8, 12, 16]),
        ("by age", 0, Retention { bytes_max: None, age_ms_max: Some(NOW.0 - 104) }, &[8, 12, 16]),
        ("one limit is enough", 4, Retention { bytes_max: Some(1 << 20), age_ms_max: Some(NOW.0 - 106) }, &[12, 16]),
        ("the active one is rolled first", 0, Retention { bytes_max: Some(0), age_ms_max: None }, &[20]),
        ("by age all go", 0, Retention { bytes_max: None, age_ms_max: Some(0) }, &[20]),
    ];
    for (what, log_start, retention, expected) in table {
        let bench = Bench::new(small_segments());
        let mut log = filled(&bench, 10);
        assert_eq!(bases(&log), [0, 4, 8, 12, 16], "the table counts on it");
        log.advance_log_start(Offset(log_start)).unwrap();
        delete(&mut log, &retention);
        assert_eq!(bases(&log), expected, "{what}");
        assert_eq!(log.log_start().0, expected[0].max(log_start), "{what}");
        assert!(delete(&mut log, &retention).is_empty(), "{what}: an empty active segment stays");
        append(&mut log, &batch(2, 50, NOW.0));
        assert_eq!(log.log_end().offset, Offset(22), "{what}");
    }
}

#[test]
fn nothing_at_or_beyond_the_high_watermark_goes() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 10);
    log.set_high_watermark(LogPosition { offset: Offset(7), segment_base: Offset(4), position: 0 });
    delete(&mut log, &Retention { bytes_max: Some(0), age_ms_max: Some(0) });
    assert_eq!(bases(&log), [4, 8, 12, 16]);
    assert_eq!(log.high_watermark().offset, Offset(7));
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 6, &batch(2, 50, -1));
    log.set_high_watermark(log.log_end());
    let retention = Retention { bytes_max: None, age_ms_max: Some(1000) };
    bench.disk.set_modified(Timestamp(NOW.0 - 1000));
    assert!(delete(&mut log, &retention).is_empty());
    bench.disk.set_modified(Timestamp(NOW.0 - 1001));
    delete(&mut log, &retention);
    assert_eq!(bases(&log), [12]);
}

#[test]
fn files_are_renamed_as_kafka_does_and_snapshots_go_along() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 5);
    flush(&mut log);
    assert_eq!(bench.names_with(".snapshot").len(), 2);
    log.advance_log_start(Offset(9)).unwrap();
    let mut renamed = delete(&mut log, &BEFORE_LOG_START);
    renamed.sort();
    let expected = [
        "00000000000000000000.index.deleted",
        "00000000000000000000.log.deleted",
        "00000000000000000000.timeindex.deleted",
        "00000000000000000004.index.deleted",
        "00000000000000000004.log.deleted",
        "00000000000000000004.snapshot.deleted",
        "00000000000000000004.timeindex.deleted",
    ];
    assert_eq!(renamed, expected.map(path));
    assert_eq!(bench.names_with(".deleted"), expected);
    assert_eq!(bench.names_with(".snapshot"), ["00000000000000000008.snapshot"]);
}

#[test]
fn a_reader_in_progress_finds_the_segment_until_it_is_removed() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 10);
    let begun = log.locate(Offset(1), UpTo::HighWatermark, 1).unwrap();
    let open =
        log.locate(Offset(5), UpTo::HighWatermark, 1).unwrap().resolve(ReadMode::Blocking, true).unwrap().unwrap();
    let lookup = log.locate_timestamp(Timestamp(102));
    let renamed = delete(&mut log, &Retention { bytes_max: Some(0), age_ms_max: None });
    let slice = begun.resolve(ReadMode::Blocking, true).unwrap().unwrap();
    assert_eq!(slice.start.offset, Offset(0));
    assert_eq!(lookup.resolve(0).unwrap().unwrap().offset, Offset(4));
    for path in renamed {
        bench.pool.disk().remove_file(&path).unwrap();
    }
    assert_eq!(open.read().unwrap().len(), open.length as usize, "an unlinked file can be read");
    assert!(log.locate(Offset(1), UpTo::HighWatermark, 1).is_err());
}

#[test]
fn a_disk_too_full_for_new_names_loses_the_files_at_once() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 10);
    bench.disk.fail(Operation::Rename, 0, io::ErrorKind::StorageFull);
    bench.disk.set_space_left(Some(0));
    delete(&mut log, &Retention { bytes_max: Some(0), age_ms_max: None });
    assert_eq!(bases(&log), [16], "there is no space for another active segment");
    assert!(!bench.names().contains(&"00000000000000000000.log".to_owned()));
    bench.disk.fail(Operation::Rename, 0, io::ErrorKind::Other);
    bench.disk.set_space_left(None);
    let deletion = log.delete_old_segments(&Retention { bytes_max: Some(0), age_ms_max: None }, NOW).unwrap().unwrap();
    assert!(deletion.run().is_err());
}

#[test]
fn the_highest_timestamp_is_that_of_a_record_still_there() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    for timestamp in [50, 90, 70, 60, 40, 30] {
        append(&mut log, &batch(2, 50, timestamp));
    }
    log.set_high_watermark(log.log_end());
    // Log start, and the first record with the highest timestamp from there on.
    let table = [(0, 90, 2), (3, 90, 3), (4, 70, 4), (5, 70, 5), (6, 60, 6), (8, 40, 8), (10, 30, 10), (11, 30, 11)];
    for (log_start, timestamp, offset) in table {
        log.advance_log_start(Offset(log_start)).unwrap();
        let expected = TimestampOffset { timestamp: Timestamp(timestamp), offset: Offset(offset), leader_epoch: EPOCH };
        assert_eq!(log.locate_max_timestamp().resolve(0).unwrap(), Some(expected), "{log_start}");
        delete(&mut log, &BEFORE_LOG_START);
        assert_eq!(log.locate_max_timestamp().resolve(0).unwrap(), Some(expected), "{log_start}, deleted");
        let found = log.locate_timestamp(Timestamp(0)).resolve(0).unwrap().unwrap();
        assert_eq!(found.offset, Offset(log_start), "all are younger");
    }
    log.advance_log_start(Offset(12)).unwrap();
    assert_eq!(log.locate_max_timestamp().resolve(0).unwrap(), None);
}

/// Wherever a crash interrupts a deletion: the log opens, from the log start on nothing synced is missing, and
/// producers are not restored to a state before what was deleted.
#[test]
fn a_crash_around_a_deletion_loses_nothing_from_the_log_start_on() {
    for seed in 0..200 {
        let bench = Bench::new(small_segments());
        let mut log = bench.create();
        for number in 0..10 {
            append(&mut log, &produced(&batch(2, 50, 100), 7, 0, number * 2));
            if number == i32::try_from(seed % 10).unwrap() {
                flush(&mut log);
            }
        }
        log.set_high_watermark(log.log_end());
        let synced = log.recovery_point();
        let log_start = Offset(i64::try_from(seed).unwrap() * 7 % 21);
        log.advance_log_start(log_start).unwrap();
        let deletion = log.delete_old_segments(&BEFORE_LOG_START, NOW).unwrap();
        if seed % 3 != 0 {
            drop(deletion.map(|deletion| deletion.run().unwrap()));
        }
        drop(log);
        bench.disk.crash(&mut random(seed));
        let options = LoadOptions { log_start, ..options(synced) };
        let mut log = bench.load_with(&options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(log.log_start(), log_start, "seed {seed}");
        assert!(synced.max(log_start) <= log.log_end().offset, "seed {seed}");
        let end = log.log_end().offset.0;
        let next = produced(&batch(2, 50, 100), 7, 0, i32::try_from(end - end % 2).unwrap());
        if log_start < log.log_end().offset {
            assert_eq!(log.append_as_leader(&next, LeaderEpoch(2), NOW).unwrap().base_offset.0, end, "seed {seed}");
        }
    }
}

#[test]
fn producers_expire_without_a_snapshot() {
    let mut log = Bench::new(LogConfig { producer_id_expiration_ms: 50, ..LogConfig::default() }).create();
    append(&mut log, &produced(&batch(2, 10, 100), 7, 3, 0));
    assert_eq!(log.active_producers()[0].last_sequence, 1);
    let gap = produced(&batch(1, 10, 160), 7, 3, 9);
    log.expire_producers(Timestamp(149));
    assert!(log.append_as_leader(&gap, EPOCH, NOW).is_err());
    log.expire_producers(Timestamp(150));
    assert!(log.active_producers().is_empty());
    append(&mut log, &gap);
}

#[test]
fn in_an_abandoned_directory_nothing_is_renamed() {
    let bench = Bench::new(small_segments());
    let mut log = filled(&bench, 10);
    let deletion = log.delete_old_segments(&Retention { bytes_max: Some(0), age_ms_max: None }, NOW).unwrap().unwrap();
    log.abandon_directory();
    let names = bench.names();
    assert!(deletion.run().unwrap().is_empty());
    assert_eq!(bench.names(), names);
}

/// It lacks what producers wrote in the deleted segments.
#[test]
fn a_snapshot_of_before_the_first_segment_is_not_believed() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append(&mut log, &produced(&batch(2, 50, 100), 8, 0, 0));
    append_times(&mut log, 2, &batch(2, 50, 100));
    flush(&mut log);
    let old = bench.contents("00000000000000000004.snapshot").unwrap();
    append(&mut log, &produced(&batch(2, 50, 100), 8, 0, 2));
    append_times(&mut log, 4, &batch(2, 50, 100));
    log.set_high_watermark(log.log_end());
    flush(&mut log);
    log.advance_log_start(Offset(12)).unwrap();
    delete(&mut log, &BEFORE_LOG_START);
    assert_eq!(bases(&log), [12]);
    bench.disk.put(&path("00000000000000000004.snapshot"), old);
    let mut log = bench.load_with(&LoadOptions { log_start: Offset(12), ..options(Offset(11)) }).unwrap();
    append(&mut log, &produced(&batch(2, 50, 100), 8, 0, 4));
}

/// With a recovery point above 0 a lost `partition.metadata` is no creation that was cut short.
#[test]
fn what_a_killed_process_deleted_is_vouched_for_once_the_directory_is_durable() {
    let everything = Retention { bytes_max: Some(0), age_ms_max: None };
    for (batches, retention, expected) in [(9, &BEFORE_LOG_START, 12), (9, &everything, 18), (0, &everything, 12)] {
        for stops in [false, true] {
            let bench = Bench::new(small_segments());
            let mut killed = filled(&bench, batches);
            killed.advance_log_start(killed.log_end().offset.min(Offset(12))).unwrap();
            delete(&mut killed, retention);
            let at = |recovery_point| LoadOptions { log_start: Offset(12), ..options(recovery_point) };
            let mut log = bench.load_with(&at(Offset(0))).unwrap();
            assert_eq!((bases(&log)[0], log.recovery_point()), (expected, Offset(0)));
            if stops {
                log.close_clean(NOW).unwrap();
            } else {
                flush(&mut log);
            }
            assert_eq!(log.recovery_point(), log.log_end().offset, "begins at {expected}");
            bench.disk.crash(&mut || 0);
            let loaded = bench.load_with(&at(log.recovery_point()));
            let loaded = loaded.unwrap_or_else(|error| panic!("begins at {expected}, stops {stops}: {error}"));
            assert_eq!(loaded.log_end(), log.log_end());
        }
    }
}
