use std::cell::{Cell, RefCell};
use std::io::ErrorKind;

use protocol::types::Timestamp;

use super::super::testing::*;
use super::*;
use crate::bugs::{self, Bug};
use crate::faulty::Operation;
use crate::testing::*;
use crate::{CompactionError, FilePool, LoadOptions, PoolLimits, ReadMode, ResolveError, Retention, UpTo};

#[test]
fn a_pass_that_a_truncation_or_a_deletion_meets_changes_nothing_more() {
    // Changes of the log: the beginning, announce and swap for each group, and the end.
    for at in 0..8 {
        for truncates in [true, false] {
            let bench = Bench::new(small_segments());
            let (mut log, mut model) = (bench.create(), Model::default());
            for index in 0..80 {
                model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
            }
            settle(&mut log);
            let cut = log.closed[1].base;
            let between = |change: usize, log: &mut Log| {
                if change != at {
                    return;
                }
                if truncates {
                    assert!(log.prepare_truncation(cut));
                    log.truncation_prepared();
                    log.truncate_to(cut, NOW).unwrap();
                } else {
                    log.advance_log_start(log.closed[0].end).unwrap();
                    let deletion = log.delete_old_segments(&Retention::default(), NOW).unwrap().unwrap();
                    deletion.run().unwrap();
                }
            };
            let outcome = compact_with(&mut log, &limits(&bench, 1000), NOW, &between);
            if truncates {
                model.records.split_off(&cut);
                assert!(matches!(outcome, Err(CompactionError::Stopped) | Ok(_)), "{at}: {outcome:?}");
                assert!(log.first_dirty() <= log.log_end().offset);
                assert_eq!(cut < log.compacted_end(), 0 < at, "whoever cuts is told");
            }
            model.records = model.records.split_off(&log.log_start());
            // What was compacted before the cut may have relied on what was behind it.
            let check = if truncates && 2 < at {
                |model: &Model, log: &Log| drop(model.check_origin(log))
            } else {
                Model::check
            };
            check(&model, &log);
            bench.disk.crash(&mut random(at as u64));
            let options = LoadOptions { log_start: log.log_start(), ..options(log.recovery_point()) };
            let loaded = Bench::on(bench.disk.clone(), bench.config.clone()).load_with(&options).unwrap();
            check(&model, &loaded);
        }
    }
}

#[test]
fn no_crash_gives_a_segment_the_indexes_of_one_that_was_given_up() {
    for kept in 0..4 {
        let bench = Bench::new(small_segments());
        let (mut log, mut model) = (bench.create(), Model::default());
        for index in 0..80 {
            model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
        }
        settle(&mut log);
        let files =
            |bench: &Bench| ["log", "index", "timeindex"].map(|kind| bench.contents(&format!("{:020}.{kind}", 0)));
        let before = files(&bench);
        // Announced, and then the segment is let go of, but its files are still there.
        let between = |change: usize, log: &mut Log| {
            if change == 2 {
                log.advance_log_start(log.closed[0].end).unwrap();
                drop(log.delete_old_segments(&Retention::default(), NOW).unwrap());
            }
        };
        let outcome = compact_with(&mut log, &limits(&bench, 1000), NOW, &between);
        assert!(matches!(outcome, Err(CompactionError::Stopped)), "{outcome:?}");
        bench.disk.crash(&mut || kept);
        let bench = Bench::on(bench.disk.clone(), bench.config.clone());
        model.check(&bench.load(log.recovery_point()).unwrap());
        let after = files(&bench);
        assert!(
            after[0] != before[0] || after == before,
            "the indexes of another log, where {kept} files were removed"
        );
    }
}

#[test]
fn what_a_crash_leaves_of_a_compacted_log_that_was_being_dropped_is_known_for_that() {
    let mut left_in_part = 0;
    for after in 0..40 {
        let bench = Bench::new(small_segments());
        let (mut log, mut model) = (bench.create(), Model::default());
        for index in 0..200 {
            model.append(&mut log, &[(index % 20, Some(index))]).unwrap();
        }
        settle(&mut log);
        let compacted_end = compact(&bench, &mut log, NOW).unwrap().end;
        assert!(log.prepare_truncation(Offset(0)));
        log.truncation_prepared();
        bench.disk.fail(Operation::Remove, after, ErrorKind::Other);
        drop(log.restart_at(Offset(0), NOW));
        bench.disk.crash(&mut random(after));
        let options = LoadOptions { first_dirty: compacted_end, compacted_end, ..options(Offset(0)) };
        let loaded = Bench::on(bench.disk.clone(), bench.config.clone()).load_with(&options).unwrap();
        let end = loaded.log_end().offset;
        if compacted_end <= end {
            model.records.split_off(&end);
            model.check(&loaded);
        } else {
            left_in_part += u64::from(Offset(0) < end);
            assert_eq!((loaded.first_dirty(), loaded.compacted_end()), (Offset(0), compacted_end));
        }
    }
    assert!(0 < left_in_part);
}

#[test]
fn readers_at_work_go_on_with_what_they_found() {
    // What is not being read is closed, so that files are opened by name.
    let limits_of_pool = PoolLimits { open_logs_max: 1, mappings_max: 1 };
    let bench = Bench::new(small_segments());
    let bench = Bench { pool: FilePool::new(bench.disk.clone(), limits_of_pool), ..bench };
    let (mut log, mut model) = (bench.create(), Model::default());
    for index in 0..80 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    settle(&mut log);
    let before: Vec<_> =
        (0..60).map(|offset| (offset, log.locate(Offset(offset), UpTo::HighWatermark, 1).unwrap())).collect();
    let Some(compaction) = log.start_compaction(&RULES, NOW) else { panic!("nothing to compact") };
    let owner =
        Owner { log: RefCell::new(&mut log), changes: Cell::new(0), between: &|_, _| {}, removed: RefCell::default() };
    compaction.run(&limits(&bench, 1000), &owner).unwrap();
    for (offset, located) in before {
        let slice = located.resolve(ReadMode::Blocking, true).unwrap().unwrap();
        assert_eq!(slice.start.offset, Offset(offset), "the file is renamed, not gone");
    }
    model.check(&log);
    assert_eq!(log.locate_max_timestamp().resolve(1 << 20).unwrap().map(|found| found.timestamp), Some(NOW));
}

#[test]
fn consumers_read_up_to_a_high_watermark_that_ends_a_compacted_segment() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    for index in 0..40 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    let committed = log.log_end();
    log.set_high_watermark(committed);
    log.roll(NOW).unwrap();
    flush(&mut log);
    assert_eq!(log.high_watermark().segment_base, log.closed.last().unwrap().base, "where the log ended then");
    let compacted = compact(&bench, &mut log, NOW).unwrap();
    assert_eq!(compacted.end, committed.offset);
    let mut next = Offset(0);
    while next < committed.offset {
        let located = log.locate(next, UpTo::HighWatermark, 1000).unwrap();
        next = match located.resolve(ReadMode::Blocking, true) {
            Ok(slice) => {
                let slice = slice.expect("there is more");
                let end = slice.start.position + u64::from(slice.length);
                assert!(end <= slice.file.length().unwrap(), "more is promised at {next} than the file holds");
                slice.start.offset.advance(1)
            }
            Err(ResolveError::Gap { next }) => next,
            Err(error) => panic!("{next}: {error}"),
        };
    }
    assert_eq!(log.high_watermark().offset, committed.offset);
}

#[test]
fn a_crash_or_a_failure_at_any_step_loses_nothing() {
    (0..4).for_each(interrupt_everywhere);
}

#[test]
fn each_planted_bug_is_found() {
    for bug in [Bug::CleanedNotSynced, Bug::SwapNotFinished] {
        bugs::plant(Some(bug));
        let found = std::panic::catch_unwind(|| (0..4).for_each(interrupt_everywhere)).is_err();
        bugs::plant(None);
        assert!(found, "{bug:?}");
    }
}

fn interrupt_everywhere(seed: u64) {
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::SetLength,
        Operation::Sync,
        Operation::SyncDirectory,
        Operation::Rename,
        Operation::Remove,
        Operation::List,
        Operation::Read,
    ] {
        for after in 0.. {
            if !interrupted(seed, operation, after, ErrorKind::Other) {
                break;
            }
        }
    }
    for after in 0.. {
        if !interrupted(seed, Operation::Rename, after, ErrorKind::StorageFull) {
            break;
        }
    }
}

/// A pass over a compacted and a new part, which fails at that step; then a power cut. `false`: it did not fail.
fn interrupted(seed: u64, operation: Operation, after: u64, kind: ErrorKind) -> bool {
    let bench = Bench::new(small_segments());
    let (mut log, mut model, mut random) = (bench.create(), Model::default(), random(seed));
    let mut fill = |log: &mut Log, model: &mut Model| {
        for _ in 0..60 {
            model.append(log, &random_batch(&mut random, 12, 3)).unwrap();
        }
        settle(log);
    };
    fill(&mut log, &mut model);
    compact(&bench, &mut log, NOW).unwrap();
    fill(&mut log, &mut model);
    bench.disk.fail(operation, after, kind);
    let outcome = compact_with(&mut log, &limits(&bench, 1000), Timestamp(NOW.0 + 5000), &|_, _| {});
    let failed = outcome.is_err();
    if let Err(error) = &outcome {
        assert!(!error.is_shortage() || !log.is_offline(), "{error}");
    }
    let recovery_point = log.recovery_point();
    let mut random = random_after(seed, after);
    bench.disk.crash(&mut random);
    let options = LoadOptions { high_watermark: log.high_watermark().offset, ..options(recovery_point) };
    let bench = Bench::on(bench.disk.clone(), bench.config.clone());
    let mut log = bench.load_with(&options).unwrap_or_else(|error| panic!("{operation:?} {after}: {error}"));
    model.check(&log);
    assert_eq!(log.log_end().offset, recovery_point);
    settle(&mut log);
    let compacted = compact(&bench, &mut log, Timestamp(NOW.0 + 9000)).unwrap();
    model.check_compacted(&log, compacted.end);
    failed
}

fn random_after(seed: u64, after: u64) -> impl FnMut() -> u64 {
    random(seed.wrapping_mul(1000).wrapping_add(after))
}
