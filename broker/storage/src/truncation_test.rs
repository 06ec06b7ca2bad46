use proptest::prelude::*;
use proptest::sample::Index;
use protocol::batch::BatchHeader;
use protocol::produce::CheckedBatch;
use protocol::types::LeaderEpoch;

use super::*;
use crate::faulty::Operation;
use crate::testing::*;
use crate::{FetchedBatches, FlushJob, Flushed, LoadError, LogConfig};

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 200, ..LogConfig::default() }
}

#[derive(Debug, Clone)]
enum Step {
    /// A few batches at once.
    Append(usize),
    NewEpoch,
    StartFlush,
    RunFlush,
    FinishFlush,
    Checkpoint,
    /// To a batch's start, or within a batch.
    Truncate {
        to: Index,
        within: bool,
    },
    /// A power cut during a truncation.
    TornTruncation {
        to: Index,
        operation: Operation,
        after: u64,
        seed: u64,
    },
    /// Drops everything and continues that far beyond the end; perhaps torn as above.
    Restart {
        beyond: i64,
    },
    TornRestart {
        operation: Operation,
        after: u64,
        seed: u64,
    },
    StopCleanly,
    Crash {
        seed: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{List, Open, Read, Remove, SetLength, Sync, SyncDirectory};
    prop::sample::select(vec![List, Open, Read, Remove, SetLength, Sync, SyncDirectory])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_usize..5).prop_map(Step::Append),
        2 => Just(Step::NewEpoch),
        2 => Just(Step::StartFlush),
        2 => Just(Step::RunFlush),
        2 => Just(Step::FinishFlush),
        2 => Just(Step::Checkpoint),
        4 => (any::<Index>(), any::<bool>()).prop_map(|(to, within)| Step::Truncate { to, within }),
        2 => (any::<Index>(), operation(), 0_u64..8, any::<u64>())
            .prop_map(|(to, operation, after, seed)| Step::TornTruncation { to, operation, after, seed }),
        1 => (0_i64..9).prop_map(|beyond| Step::Restart { beyond }),
        1 => (operation(), 0_u64..8, any::<u64>())
            .prop_map(|(operation, after, seed)| Step::TornRestart { operation, after, seed }),
        1 => Just(Step::StopCleanly),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A follower's log, and its expected content.
struct Model {
    bench: Bench,
    log: Log,
    expected: Vec<CheckedBatch>,
    epoch: LeaderEpoch,
    /// A number for every batch, whatever is truncated: no two have the same bytes.
    sequence: i32,
    job: Option<FlushJob>,
    flushed: Option<Flushed>,
    checkpoint: Offset,
    /// The offset at which the log was last restarted.
    base: Offset,
    /// The last sequence before it: known if a crash has left only the snapshot there.
    known_at_base: Option<i32>,
}

fn last_sequence(batch: &CheckedBatch) -> i32 {
    batch.header.base_sequence + batch.header.last_offset_delta
}

impl Model {
    fn new() -> Self {
        let bench = Bench::new(small_segments());
        let log = bench.create();
        let (checkpoint, base) = (Offset(0), Offset(0));
        Self {
            bench,
            log,
            expected: Vec::new(),
            epoch: EPOCH,
            sequence: 0,
            job: None,
            flushed: None,
            checkpoint,
            base,
            known_at_base: None,
        }
    }

    fn end(&self) -> Offset {
        self.expected.last().map_or(self.base, |batch| batch.header.next_offset())
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(count) => self.append(*count),
            Step::NewEpoch => self.epoch = LeaderEpoch(self.epoch.0 + 1),
            Step::StartFlush => {
                if self.job.is_none() && self.flushed.is_none() {
                    self.job = Some(self.log.start_flush(NOW));
                }
            }
            Step::RunFlush => {
                if let Some(job) = self.job.take() {
                    self.flushed = Some(job.run().unwrap());
                }
            }
            Step::FinishFlush => {
                if let Some(flushed) = self.flushed.take() {
                    self.log.finish_flush(flushed);
                }
            }
            Step::Checkpoint => self.checkpoint = self.log.recovery_point(),
            Step::Truncate { to, within } => self.truncate(*to, *within),
            Step::TornTruncation { to, operation, after, seed } => {
                if !self.expected.is_empty() {
                    let offset = to.get(&self.expected).header.base_offset;
                    self.prepare(offset);
                    self.bench.disk.fail(*operation, *after, io::ErrorKind::Other);
                    let kept = self.expected.iter().take_while(|batch| batch.header.next_offset() <= offset).count();
                    if self.log.truncate_to(offset, NOW).is_ok() {
                        self.expected.truncate(kept);
                    }
                    self.crash(*seed);
                }
            }
            Step::Restart { beyond } => {
                let offset = self.end().advance(*beyond);
                self.log.restart_at(offset, NOW).unwrap();
                self.expected.clear();
                (self.base, self.known_at_base) = (offset, None);
                self.check();
            }
            Step::TornRestart { operation, after, seed } => self.tear_restart(*operation, *after, *seed),
            Step::StopCleanly => {
                (self.job, self.flushed) = (None, None);
                self.checkpoint = self.log.close_clean(NOW).unwrap();
                let before = self.expected.len();
                self.reload(true);
                assert_eq!(self.expected.len(), before, "a clean stop loses nothing");
            }
            Step::Crash { seed } => self.crash(*seed),
        }
    }

    fn append(&mut self, count: usize) {
        let batches: Vec<_> = (0..count).map(|_| self.next_batch()).collect();
        let bytes = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
        let fetched = FetchedBatches::check(bytes).unwrap();
        self.log.append_as_follower(&fetched, self.epoch, NOW).unwrap();
    }

    fn next_batch(&mut self) -> CheckedBatch {
        self.sequence += 1;
        let batch = batch(3, 90, self.sequence.into());
        let header = BatchHeader {
            base_offset: self.end(),
            leader_epoch: self.epoch,
            producer_id: protocol::types::ProducerId(9),
            producer_epoch: protocol::types::ProducerEpoch(0),
            base_sequence: self.sequence,
            ..batch.header
        };
        let batch = sealed(header, &batch.bytes);
        self.expected.push(batch.clone());
        batch
    }

    fn prepare(&mut self, offset: Offset) {
        if self.log.prepare_truncation(offset) {
            let refused = self.log.truncate_to(offset, NOW);
            assert!(matches!(refused, Ok(()) | Err(TruncateError::NotPrepared { .. })), "{refused:?}");
            self.checkpoint = self.log.recovery_point();
            self.log.truncation_prepared();
        }
    }

    fn truncate(&mut self, to: Index, within: bool) {
        if self.expected.is_empty() {
            return;
        }
        let start = to.get(&self.expected).header.base_offset;
        let offset = if within { start.advance(1) } else { start };
        self.prepare(offset);
        while let Err(error) = self.log.truncate_to(offset, NOW) {
            let TruncateError::NotPrepared { offset: boundary } = error else { panic!("{error}") };
            assert_eq!(boundary, start, "the batch's start is named");
            self.prepare(boundary);
        }
        self.expected.retain(|batch| batch.header.next_offset() <= start);
        // A new leader with its own batches.
        self.check();
    }

    fn tear_restart(&mut self, operation: Operation, after: u64, seed: u64) {
        let offset = self.end().advance(5);
        let (former, former_base) = (self.expected.clone(), self.base);
        self.bench.disk.fail(operation, after, io::ErrorKind::Other);
        if self.log.restart_at(offset, NOW).is_ok() {
            self.expected.clear();
            self.base = offset;
        }
        self.bench.disk.crash(&mut random(seed));
        let log = self.load(false);
        if log.log_start() == offset {
            self.expected.clear();
            self.base = offset;
        }
        // Or the oldest segments were deleted.
        self.expected.retain(|batch| log.log_start() <= batch.header.base_offset);
        self.base = log.log_start();
        if self.base != former_base {
            let before = former.iter().find(|batch| batch.header.next_offset() == self.base);
            self.known_at_base = before.map(last_sequence);
        }
        self.log = log;
        self.check_loaded();
    }

    fn crash(&mut self, seed: u64) {
        self.bench.disk.crash(&mut random(seed));
        self.reload(false);
    }

    fn reload(&mut self, clean: bool) {
        self.log = self.load(clean);
        self.check_loaded();
    }

    fn load(&mut self, clean: bool) -> Log {
        (self.job, self.flushed) = (None, None);
        let options = crate::LoadOptions { clean, ..options(self.checkpoint) };
        self.bench = Bench::on(self.bench.disk.clone(), small_segments());
        match self.bench.load_with(&options) {
            Err(LoadError::PartitionMetadata(_)) if self.checkpoint == Offset(0) => {
                let _gone = self.bench.pool.disk().remove_directory(Path::new(DIRECTORY));
                self.bench.pool.disk().sync_directory(Path::new("/data")).unwrap();
                (self.base, self.known_at_base) = (Offset(0), None);
                self.bench.create()
            }
            loaded => loaded.unwrap(),
        }
    }

    /// A prefix of what was there, with everything below the checkpointed recovery point.
    fn check_loaded(&mut self) {
        let end = self.log.log_end().offset;
        assert!(self.checkpoint <= end, "synced up to {}, the log ends at {end}", self.checkpoint);
        self.expected.retain(|batch| batch.header.next_offset() <= end);
        self.check();
    }

    fn check(&self) {
        let read: Vec<_> = read_all(&self.log).into_iter().map(|(_, bytes)| bytes).collect();
        let expected: Vec<_> = self.expected.iter().map(|batch| batch.bytes.to_vec()).collect();
        assert!(read == expected, "{} batches, {} expected", read.len(), expected.len());
        assert_eq!(self.log.log_end().offset, self.end());
        assert!(self.log.recovery_point() <= self.end());
        assert!(self.log.high_watermark().offset <= self.end());
        for batch in self.expected.iter().rev().take(90) {
            let base = batch.header.base_offset;
            let position = self.log.position_of(base).unwrap();
            let read = self.log.locate(base, crate::UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true);
            assert_eq!(position, read.unwrap().unwrap().start);
        }
        for batch in &self.expected {
            let epoch = self.log.leader_epochs().epoch_for_offset(batch.header.base_offset);
            assert_eq!(epoch, Some(batch.header.leader_epoch));
        }
        let latest = self.expected.last().map(|batch| batch.header.leader_epoch);
        assert_eq!(self.log.leader_epochs().latest(), latest, "no epoch without records");
        let known: Vec<_> = self.log.producers.iter().flat_map(|(_, producer)| &producer.batches).collect();
        let known: Vec<_> = known.iter().map(|batch| batch.last_sequence).collect();
        let first = self.expected.len().saturating_sub(5);
        let sequences: Vec<_> = self.expected[first..].iter().map(last_sequence).collect();
        let before = known.strip_suffix(sequences.as_slice()).expect("every batch that a retry may be of is known");
        assert!(before.is_empty() || before.last() == self.known_at_base.as_ref(), "{known:?} for {sequences:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn after_any_truncation_and_crash_the_log_is_a_beginning_of_what_it_was(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.check();
    }
}

/// Segments of two batches each; the log end is 21.
fn sample() -> (Bench, Log) {
    let bench = Bench::new(LogConfig { segment_bytes: 700, index_interval_bytes: 100, ..LogConfig::default() });
    let mut log = bench.create();
    for index in 0..7_i32 {
        let batch = produced(&batch(3, 60, index.into()), 9, 0, index * 3);
        log.append_as_leader(&batch, LeaderEpoch(1 + index / 3), NOW).unwrap();
    }
    assert_eq!((log.closed.len(), log.log_end().offset), (3, Offset(21)));
    (bench, log)
}

#[test]
fn any_cut_leaves_what_would_be_there_without_the_rest() {
    for cut in (0..=21).step_by(3) {
        let (bench, mut log) = sample();
        log.set_high_watermark(log.log_end());
        // Indexes are mapped, and a reader keeps them.
        let held: Vec<_> = log.closed.iter().map(|closed| closed.index(IndexKind::Time, ReadMode::Blocking)).collect();
        log.truncate_to(Offset(cut), NOW).unwrap();
        let names = bench.names_with(".log");
        let fresh = Bench::new(bench.config.clone());
        let mut expected = fresh.create();
        for index in 0..i32::try_from(cut / 3).unwrap() {
            let batch = produced(&batch(3, 60, index.into()), 9, 0, index * 3);
            expected.append_as_leader(&batch, LeaderEpoch(1 + index / 3), NOW).unwrap();
        }
        assert_eq!(log.high_watermark().offset, Offset(cut));
        assert_eq!(log.leader_epochs(), expected.leader_epochs(), "{cut}");
        assert_eq!(log.producers, expected.producers, "{cut}");
        if 0 < cut && log.closed.len() == expected.closed.len() {
            log.close_clean(NOW).unwrap();
            expected.close_clean(NOW).unwrap();
            assert_eq!(bench.names(), fresh.names(), "{cut}");
            for name in names {
                let index = name.replace(".log", ".index");
                assert_eq!(bench.contents(&name), fresh.contents(&name), "{cut}: {name}");
                assert_eq!(bench.contents(&index), fresh.contents(&index), "{cut}: {index}");
            }
        } else {
            assert_eq!((log.active.base, log.active.size), (Offset(cut), 0), "an empty segment is kept for its name");
        }
        drop(held);
    }
}

#[test]
fn a_wrong_index_keeps_no_log_from_being_cut() {
    let (bench, mut log) = sample();
    bench.disk.put(&path("00000000000000000006.index"), vec![0, 0, 0, 1, 0, 0, 0, 10]);
    log.truncate_to(Offset(9), NOW).unwrap();
    assert_eq!((log.log_end().offset, read_all(&log).len()), (Offset(9), 3));
}

#[test]
fn a_log_whose_front_was_deleted_begins_anew_where_it_is_cut_before_that() {
    let (bench, mut log) = sample();
    flush(&mut log);
    log.set_high_watermark(log.log_end());
    log.advance_log_start(Offset(13)).unwrap();
    let deletion = log.delete_old_segments(&crate::Retention::default(), NOW).unwrap().unwrap();
    assert!(matches!(log.truncate_to(Offset(4), NOW), Err(TruncateError::NotPrepared { offset: Offset(4) })));
    assert!(log.prepare_truncation(Offset(4)));
    log.truncation_prepared();
    log.truncate_to(Offset(4), NOW).unwrap();
    assert!(deletion.run().unwrap().is_empty(), "names are the new log's");
    assert_eq!((log.log_start(), log.log_end().offset), (Offset(4), Offset(4)));
    assert_eq!(bench.names_with(".log"), ["00000000000000000004.log"]);
    assert_eq!((log.leader_epochs().entries().len(), log.active_producers().len()), (0, 0));
}

#[test]
fn segments_that_a_deletion_let_go_of_go_with_the_truncation_that_stops_it() {
    let (bench, mut log) = sample();
    flush(&mut log);
    log.set_high_watermark(log.log_end());
    log.advance_log_start(Offset(13)).unwrap();
    let deletion = log.delete_old_segments(&crate::Retention::default(), NOW).unwrap().unwrap();
    assert!(log.prepare_truncation(Offset(15)));
    log.truncation_prepared();
    log.truncate_to(Offset(15), NOW).unwrap();
    assert!(deletion.run().unwrap().is_empty());
    assert_eq!(bench.names_with(".log"), ["00000000000000000012.log"]);
    let options = crate::LoadOptions { log_start: Offset(13), ..options(Offset(15)) };
    let loaded = bench.load_with(&options).unwrap();
    assert_eq!((loaded.log_start(), loaded.log_end().offset, read_all(&loaded).len()), (Offset(13), Offset(15), 1));
}

#[test]
fn a_flush_that_a_truncation_overtakes_vouches_for_nothing() {
    let (bench, mut log) = sample();
    let job = log.start_flush(NOW);
    log.truncate_to(Offset(9), NOW).unwrap();
    assert!(!log.finish_flush(job.run().unwrap()), "the rest is to be flushed still");
    assert_eq!(log.recovery_point(), Offset(0));
    assert_eq!((bench.names_with(".snapshot").len(), bench.contents("leader-epoch-checkpoint")), (0, None));
    flush(&mut log);
    assert_eq!(log.recovery_point(), Offset(9));
    assert_eq!(bench.contents("leader-epoch-checkpoint").unwrap(), b"0\n1\n1 0\n");
}

#[test]
fn without_space_a_restart_changes_nothing_and_a_failed_truncation_ends_the_log() {
    let (bench, mut log) = sample();
    bench.disk.fail(Operation::Open, 0, io::ErrorKind::StorageFull);
    assert!(matches!(log.restart_at(Offset(50), NOW), Err(TruncateError::Write(AppendError::NoSpace { .. }))));
    assert_eq!(read_all(&log).len(), 7);
    bench.disk.fail(Operation::SetLength, 0, io::ErrorKind::Other);
    assert!(matches!(log.truncate_to(Offset(4), NOW), Err(TruncateError::Write(AppendError::Io { .. }))));
    assert!(matches!(log.truncate_to(Offset(4), NOW), Err(TruncateError::Offline)));
}

#[test]
fn an_epoch_in_which_nothing_was_written_goes_with_a_truncation_to_the_end() {
    let (_, mut log) = sample();
    let found = |log: &Log| (log.log_end().offset, log.leader_epochs().latest());
    let before = found(&log);
    log.begin_epoch(LeaderEpoch(50));
    log.truncate_to(before.0, NOW).unwrap();
    assert_eq!(found(&log), before);
}
