use std::cell::RefCell;

use protocol::batch::{Attributes, BatchHeader, Compression};
use protocol::batch_builder::BatchBuilder;
use protocol::produce::CheckedBatch;
use protocol::records;

use super::testing::*;
use super::*;
use crate::LoadOptions;
use crate::bugs::{self, Bug};
use crate::faulty::Operation;
use crate::testing::*;

#[test]
fn a_million_records_leave_the_last_of_each_key() {
    let bench = Bench::new(LogConfig { segment_bytes: 1 << 20, compacted: true, ..LogConfig::default() });
    let (mut log, mut model, mut random) = (bench.create(), Model::default(), random(7));
    let mut now = NOW;
    while model.records.len() < 1_000_000 {
        for _ in 0..1500 {
            model.append(&mut log, &random_batch(&mut random, 20_000, 200)).unwrap();
        }
        settle(&mut log);
        now.0 += 400;
        let compacted = compact(&bench, &mut log, now).unwrap();
        assert_eq!(compacted.end, log.active.base);
        model.check_compacted(&log, compacted.end);
        assert_eq!(log.first_dirty(), compacted.end);
    }
    let before = all_records(&log);
    assert!(before.len() < 50_000, "{}", before.len());
    assert_eq!(all_records(&reload(&bench, &log)), before);
    assert!(bench.names().iter().all(|name| ![".cleaned", ".swap"].iter().any(|suffix| name.ends_with(suffix))));
}

#[test]
fn a_full_map_ends_the_pass_there_and_the_next_one_goes_on() {
    let bench = Bench::new(LogConfig { segment_bytes: 20_000, ..small_segments() });
    let (mut log, mut model, mut random) = (bench.create(), Model::default(), random(3));
    for _ in 0..4000 {
        model.append(&mut log, &random_batch(&mut random, 20_000, 8)).unwrap();
    }
    settle(&mut log);
    let (mut passes, mut end) = (0, Offset(0));
    // The minimum: sixteen keys in each of 256 shards.
    while let Some(compacted) = compact_with(&mut log, &limits(&bench, 0), NOW, &|_, _| {}).unwrap() {
        assert!(end < compacted.end, "no pass is in vain");
        (passes, end) = (passes + 1, compacted.end);
        model.check_compacted(&log, end);
    }
    assert!(2 < passes, "{passes}");
    assert_eq!(end, log.active.base);
}

#[test]
fn a_deletion_stays_for_a_time_that_begins_with_the_first_pass() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    model.append(&mut log, &[(1, Some(1)), (2, Some(2)), (3, Some(3))]).unwrap();
    model.append(&mut log, &[(1, None), (2, Some(4))]).unwrap();
    let fill = |log: &mut Log, model: &mut Model| {
        for _ in 0..30 {
            model.append(log, &[(9, Some(9))]).unwrap();
        }
        settle(log);
    };
    let deletion = |log: &Log| all_records(log).get(&Offset(3)).cloned();
    // A pass at each time. The tombstone is marked by the first, and so dropped by the one 1000 ms later.
    for (time, is_there) in [(5_000_000, true), (5_000_999, true), (5_001_000, false)] {
        fill(&mut log, &mut model);
        compact(&bench, &mut log, Timestamp(time)).unwrap();
        assert_eq!(deletion(&log).is_some(), is_there, "{time}");
        assert_eq!(
            all_records(&log).keys().take(2).map(|offset| offset.0).collect::<Vec<_>>(),
            if is_there { [2, 3] } else { [2, 4] }
        );
        model.check(&log);
    }
}

#[test]
fn a_clock_that_is_late_ends_no_deletion_early() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    model.append(&mut log, &[(1, Some(1))]).unwrap();
    model.append(&mut log, &[(1, None)]).unwrap();
    for (time, is_there) in [(NOW.0 - 5000, true), (NOW.0 - 1000, true), (NOW.0 + 999, true), (NOW.0 + 1000, false)] {
        for _ in 0..30 {
            model.append(&mut log, &[(9, Some(9))]).unwrap();
        }
        settle(&mut log);
        compact(&bench, &mut log, Timestamp(time)).unwrap();
        assert_eq!(all_records(&log).contains_key(&Offset(1)), is_there, "{time}");
    }
}

#[test]
fn what_counts_as_compacted_is_in_the_log() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    for index in 0..80 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    settle(&mut log);
    let end = compact(&bench, &mut log, NOW).unwrap().end;
    assert_eq!(log.first_dirty(), end);
    let end = log.log_end().offset;
    for (checkpointed, expected) in [(end, end), (end.advance(1), log.log_start())] {
        let options = LoadOptions { first_dirty: checkpointed, ..options(log.recovery_point()) };
        let loaded = Bench::on(bench.disk.clone(), bench.config.clone()).load_with(&options).unwrap();
        assert_eq!((loaded.first_dirty(), loaded.compacted_end()), (expected, checkpointed), "what was cut is told");
    }
}

#[test]
fn what_is_to_be_compacted_is_told_before_anything_is_replaced() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    for index in 0..80 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    settle(&mut log);
    let Some(compaction) = log.start_compaction(&RULES, NOW) else { panic!("nothing to compact") };
    let last = compaction.segments.last().unwrap().end;
    let swapped = log.closed[0].clone();
    let owner = Unready(RefCell::new(&mut log));
    assert!(matches!(compaction.run(&limits(&bench, 1000), &owner), Err(CompactionError::Stopped)));
    assert!(Arc::ptr_eq(&log.closed[0], &swapped), "nothing happens before it is durable");
    assert_eq!((log.compacted_end(), log.first_dirty()), (last, Offset(0)));

    // A pass that ends after its first group.
    bench.disk.fail(Operation::Rename, 12, io::ErrorKind::StorageFull);
    compact_with(&mut log, &limits(&bench, 1000), NOW, &|_, _| {}).unwrap_err();
    assert!(!Arc::ptr_eq(&log.closed[0], &swapped));
    assert_eq!((log.compacted_end(), log.first_dirty()), (last, Offset(0)));
    let start = log.log_start();
    assert!(log.prepare_truncation(start));
    log.truncation_prepared();
    log.restart_at(start, NOW).unwrap();
    assert_eq!(log.compacted_end(), start, "nothing is left");
}

/// An owner whose checkpoints cannot be written.
struct Unready<'a>(RefCell<&'a mut Log>);

impl CompactionOwner for Unready<'_> {
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        Some(change(&mut self.0.borrow_mut()))
    }

    fn begins(&self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn used(&self, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn replaced(&self, _: Vec<PathBuf>) {}
}

#[test]
fn what_a_header_tells_stays_and_segments_end_where_the_next_begin() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    let keyed = |key: &[u8]| {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(Some(key), Some(&[b'v'; 50]));
        builder.push(Some(key), Some(&[b'v'; 50]));
        builder.build().unwrap()
    };
    for index in 0..40_i32 {
        let producer = i64::from(index % 4);
        append(&mut log, &produced(&keyed(b"same"), producer, 0, index / 4 * 2));
    }
    for _ in 0..8 {
        append(&mut log, &keyed(b"same"));
    }
    settle(&mut log);
    let (end, producers) = (log.log_end().offset, log.active_producers().len());
    let compacted = compact(&bench, &mut log, NOW).unwrap();
    assert!(compacted.bytes_after < compacted.bytes_before / 2, "{compacted:?}");
    let read = read_all(&log);
    for producer in 0..4 {
        let of_producer = read.iter().filter(|(header, _)| header.producer_id.0 == producer);
        let sequences: Vec<_> = of_producer.map(|(header, _)| header.base_sequence).collect();
        assert!(sequences.ends_with(&[10, 12, 14, 16, 18]), "of producer {producer} only {sequences:?} are left");
    }
    let bare = read.iter().filter(|(header, _)| header.records_count == 0).count();
    assert!(bare <= 4 * 5 + log.closed.len(), "{bare} batches without records");
    for segment in &log.closed {
        let (last, _) = read.iter().rfind(|(header, _)| header.base_offset < segment.end).unwrap();
        assert_eq!(last.next_offset(), segment.end);
    }
    // Without everything that a clean stop leaves, so that all is read again.
    for name in bench.names_with(".snapshot") {
        bench.disk.remove_file(&path(&name)).unwrap();
    }
    let mut log = bench.load(Offset(0)).unwrap();
    assert_eq!((log.log_end().offset, log.active_producers().len()), (end, producers));
    for sequence in [10, 18] {
        let retry = log.append_as_leader(&produced(&keyed(b"same"), 3, 0, sequence), EPOCH, NOW).unwrap();
        assert!(retry.duplicate, "{sequence}");
    }
}

#[test]
fn each_planted_bug_is_found() {
    let table: [(Bug, fn()); 2] = [
        (Bug::RememberedBatchCompacted, what_a_header_tells_stays_and_segments_end_where_the_next_begin),
        (Bug::OnlyNewSuperseded, a_full_map_ends_the_pass_there_and_the_next_one_goes_on),
    ];
    for (bug, test) in table {
        bugs::plant(Some(bug));
        let found = std::panic::catch_unwind(test).is_err();
        bugs::plant(None);
        assert!(found, "{bug:?}");
    }
}

#[test]
fn every_codec_is_opened_and_used_again() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bench = Bench::new(LogConfig { segment_bytes: 4000, ..small_segments() });
        let (mut plain, mut model, mut random) = (Bench::new(small_segments()).create(), Model::default(), random(5));
        for _ in 0..400 {
            model.append(&mut plain, &random_batch(&mut random, 30, 20)).unwrap();
        }
        let mut log = bench.create();
        for (header, bytes) in read_all(&plain) {
            append(&mut log, &compressed(header, &bytes, codec));
        }
        settle(&mut log);
        let compacted = compact(&bench, &mut log, NOW).unwrap();
        assert!(compacted.bytes_after < compacted.bytes_before / 4, "{codec:?}: {compacted:?}");
        model.check_compacted(&log, compacted.end);
        let codecs = read_all(&log).into_iter().filter(|(header, _)| 0 < header.records_count);
        assert!(codecs.map(|(header, _)| header.attributes.compression()).all(|found| found == Some(codec)));

        let mut narrow = limits(&bench, 1 << 20);
        narrow.decompressed_bytes_max = 30;
        model.append(&mut log, &[(1, Some(1))]).unwrap();
        log.first_dirty = Offset(0);
        let error = compact_with(&mut log, &narrow, NOW, &|_, _| {}).unwrap_err();
        assert!(matches!(error, CompactionError::Read(ResolveError::Corrupt { .. })), "{error}");
        assert!(!error.is_fatal() && !error.is_shortage());
        model.check(&log);
    }
}

/// As sent by a producer that compresses.
fn compressed(header: BatchHeader, bytes: &[u8], codec: Compression) -> CheckedBatch {
    let attributes = Attributes(codec as i16);
    let opened = records::walk(bytes, 0).unwrap();
    let all: Vec<_> = opened.iter().map(Result::unwrap).collect();
    records::rewrite(&BatchHeader { attributes, base_offset: Offset(0), ..header }, &all, None).unwrap()
}

#[test]
fn only_what_is_closed_committed_synced_and_old_enough_counts() {
    let bench = Bench::new(small_segments());
    let (mut log, mut model) = (bench.create(), Model::default());
    for index in 0..100 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    let bases: Vec<_> = log.closed.iter().map(|segment| segment.base).collect();
    assert!(6 < bases.len());
    assert!(log.start_compaction(&RULES, NOW).is_none(), "nothing is committed");
    let at = |log: &Log, base| log.position_of(base).unwrap();
    log.set_high_watermark(at(&log, bases[4]));
    assert!(log.start_compaction(&RULES, NOW).is_none(), "nothing is synced");
    flush(&mut log);
    let cleanable =
        |log: &Log, rules: &CompactionRules, now| log.start_compaction(rules, now).map(|pass| pass.segments.len());
    assert_eq!(cleanable(&log, &RULES, NOW), Some(4));
    settle(&mut log);
    assert_eq!(cleanable(&log, &RULES, NOW), Some(bases.len()), "the active one never");
    let lagging = CompactionRules { lag_ms_min: 10, ..RULES };
    assert_eq!(cleanable(&log, &lagging, Timestamp(NOW.0 + 9)), None);
    assert_eq!(cleanable(&log, &lagging, Timestamp(NOW.0 + 10)), Some(bases.len()));
    let overdue = |log: &Log, now| {
        log.dirt(&CompactionRules { lag_ms_max: 5, ..RULES }, now)
            .overdue_ms(&CompactionRules { lag_ms_max: 5, ..RULES }, now)
    };
    assert_eq!((overdue(&log, Timestamp(NOW.0 + 5)), overdue(&log, Timestamp(NOW.0 + 7))), (0, 2));

    assert!((log.dirt(&RULES, NOW).ratio() - 1.0).abs() < 1e-9);
    compact(&bench, &mut log, NOW).unwrap();
    assert_eq!((log.dirt(&RULES, NOW).dirty_bytes(), cleanable(&log, &RULES, NOW)), (0, None));
    for index in 0..10 {
        model.append(&mut log, &[(index % 3, Some(index))]).unwrap();
    }
    settle(&mut log);
    let dirt = log.dirt(&RULES, NOW);
    assert!(0 < dirt.dirty_bytes() && 0.0 < dirt.ratio() && dirt.ratio() < 1.0, "{dirt:?}");
}

#[test]
fn what_a_transaction_wrote_supersedes_nothing_and_is_superseded() {
    let bench = Bench::new(small_segments());
    let (mut log, mut sequence) = (bench.create(), 0);
    let mut of_transaction = |log: &mut Log, key: u8, value: Option<&[u8]>, attributes: Attributes| {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(Some(&[key]), value);
        let batch = produced(&builder.build().unwrap(), 7, 0, sequence);
        sequence += i32::from(!attributes.is_control());
        append(log, &sealed(BatchHeader { attributes, ..batch.header }, &batch.bytes)).0
    };
    let (data, end) = (Attributes(1 << 4), Attributes(1 << 4).with_control());
    let plain = |log: &mut Log, key: u8, value: Option<&[u8]>| {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(Some(&[key]), value);
        append(log, &builder.build().unwrap()).0
    };
    let below = plain(&mut log, 1, Some(b"committed"));
    let perhaps = of_transaction(&mut log, 1, Some(b"aborted?"), data);
    let perhaps_deleted = of_transaction(&mut log, 1, None, data);
    let superseded = of_transaction(&mut log, 2, Some(b"old"), data);
    let marker = of_transaction(&mut log, 0, Some(&[0; 6]), end);
    let deletion = plain(&mut log, 2, None);
    let fill = |log: &mut Log| {
        for _ in 0..30 {
            plain(log, 9, Some(&[b'v'; 60]));
        }
        settle(log);
    };
    fill(&mut log);
    let aborted = |base: Offset| path(&format!("{:020}.txnindex", base.0));
    let second = log.closed[1].base;
    bench.disk.put(&aborted(Offset(0)), vec![1; 34]);
    bench.disk.put(&aborted(second), vec![2; 34]);
    for (time, is_deletion_there) in [(5_000_000, true), (5_001_000, false)] {
        compact(&bench, &mut log, Timestamp(time)).unwrap();
        let offsets: Vec<_> = all_records(&log).into_keys().map(|offset| offset.0).collect();
        let has = |offset| offsets.contains(&offset);
        assert!([below, perhaps, perhaps_deleted, marker].into_iter().all(has), "{offsets:?}");
        assert_eq!((has(superseded), has(deletion)), (false, is_deletion_there), "{offsets:?}");
        fill(&mut log);
    }
    assert!(log.closed[0].base < second && second < log.closed[0].end);
    assert_eq!(bench.disk.contents(&aborted(Offset(0))), Some([[1; 34], [2; 34]].concat()));
    assert_eq!(all_records(&reload(&bench, &log)), all_records(&log));
}

#[test]
fn replicas_agree_after_each_has_compacted_for_itself() {
    let (leading, following) =
        (Bench::new(small_segments()), Bench::new(LogConfig { segment_bytes: 3000, ..small_segments() }));
    let (mut leader, mut early, mut model, mut random) =
        (leading.create(), following.create(), Model::default(), random(11));
    let catch_up = |leader: &Log, follower: &mut Log| {
        let missing =
            read_all(leader).into_iter().filter(|(header, _)| follower.log_end().offset <= header.base_offset);
        let bytes: Vec<u8> = missing.flat_map(|(_, bytes)| bytes).collect();
        let fetched = crate::FetchedBatches::check_compacted(bytes.into()).unwrap();
        follower.append_as_follower(&fetched, EPOCH, NOW).unwrap();
        settle(follower);
        assert_eq!(follower.log_end().offset, leader.log_end().offset);
    };
    for round in 0..6 {
        for _ in 0..60 {
            model.append(&mut leader, &random_batch(&mut random, 15, 4)).unwrap();
        }
        settle(&mut leader);
        catch_up(&leader, &mut early);
        compact(&leading, &mut leader, Timestamp(NOW.0 + round * 400)).unwrap();
        compact(&following, &mut early, Timestamp(NOW.0 + round * 300)).unwrap();
        let bench = Bench::new(small_segments());
        let mut late = bench.create();
        catch_up(&leader, &mut late);
        compact(&bench, &mut late, NOW).unwrap();
        for follower in [&early, &late, &reload(&bench, &late)] {
            model.check(follower);
        }
    }
}
