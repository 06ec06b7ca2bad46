use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use protocol::batch::{BatchHeader, crc32c};
use protocol::produce::CheckedBatch;
use protocol::types::LeaderEpoch;

use super::*;
use crate::faulty::Operation;
use crate::scanner::BatchScanner;
use crate::segment_indexes::SegmentIndexes;
use crate::testing::*;
use crate::{OpenMode, ReadMode, UpTo};

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 300, ..LogConfig::default() }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: usize,
        value_bytes: usize,
    },
    NewEpoch,
    /// Starts a flush, appends once more, and finishes it.
    Flush {
        appends_between: bool,
    },
    /// Writes the recovery point to the checkpoint.
    Checkpoint,
    DiskFull,
    StopCleanly,
    Crash {
        seed: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_usize..6, 0_usize..150).prop_map(|(count, value_bytes)| Step::Append { count, value_bytes }),
        1 => Just(Step::NewEpoch),
        2 => any::<bool>().prop_map(|appends_between| Step::Flush { appends_between }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::DiskFull),
        1 => Just(Step::StopCleanly),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ];
    prop::collection::vec(step, 1..60)
}

/// The log and its expected content.
struct Model {
    bench: Bench,
    log: Log,
    appended: Vec<(BatchHeader, Vec<u8>)>,
    epoch: LeaderEpoch,
    sequence: i32,
    checkpoint: Offset,
}

impl Model {
    fn new() -> Self {
        let bench = Bench::new(small_segments());
        let log = bench.create();
        Self { bench, log, appended: Vec::new(), epoch: EPOCH, sequence: 0, checkpoint: Offset(0) }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append { count, value_bytes } => self.append(*count, *value_bytes),
            Step::NewEpoch => self.epoch = LeaderEpoch(self.epoch.0 + 1),
            Step::Flush { appends_between } => {
                let job = self.log.start_flush(NOW);
                if *appends_between {
                    self.append(2, 100);
                }
                self.log.finish_flush(job.run().unwrap());
            }
            Step::Checkpoint => self.checkpoint = self.log.recovery_point(),
            Step::DiskFull => {
                self.bench.disk.set_space_left(Some(70));
                let full = self.log.append_as_leader(&batch(1, 100, 5), self.epoch, NOW);
                assert!(matches!(full, Err(crate::AppendError::NoSpace { .. })), "{full:?}");
                self.bench.disk.set_space_left(None);
            }
            Step::StopCleanly => {
                self.checkpoint = self.log.close_clean(NOW).unwrap();
                self.check_indexes();
                let before = self.appended.len();
                self.reload(true);
                assert_eq!(self.appended.len(), before, "a clean stop loses nothing");
            }
            Step::Crash { seed } => {
                self.bench.disk.crash(&mut random(*seed));
                self.reload(false);
            }
        }
    }

    fn append(&mut self, count: usize, value_bytes: usize) {
        let timestamp = 5 + i64::from(self.sequence % 7);
        let batch = produced(&batch(count, value_bytes, timestamp), 9, 0, self.sequence);
        let appended = self.log.append_as_leader(&batch, self.epoch, NOW).unwrap();
        let header = BatchHeader { base_offset: appended.base_offset, leader_epoch: self.epoch, ..batch.header };
        self.sequence += i32::try_from(count).unwrap();
        self.appended.push((header, batch.bytes.to_vec()));
    }

    fn reload(&mut self, clean: bool) {
        let options = LoadOptions { clean, ..options(self.checkpoint) };
        self.bench = Bench::on(self.bench.disk.clone(), small_segments());
        self.log = match self.bench.load_with(&options) {
            Err(LoadError::PartitionMetadata(_)) if self.checkpoint == Offset(0) => self.made_anew(),
            loaded => loaded.unwrap(),
        };
        self.check(self.checkpoint);
    }

    /// Nothing of a new partition is durable before its first flush.
    fn made_anew(&self) -> Log {
        let _gone = self.bench.disk.remove_directory(Path::new(DIRECTORY));
        self.bench.disk.sync_directory(Path::new("/data")).unwrap();
        self.bench.create()
    }

    /// The log must be a prefix of what was appended, with everything that was synced.
    fn check(&mut self, synced: Offset) {
        let read = read_all(&self.log);
        assert!(read.len() <= self.appended.len());
        self.appended.truncate(read.len());
        for ((header, bytes), (expected, original)) in read.iter().zip(&self.appended) {
            assert_eq!(header, expected);
            assert_eq!(bytes[16..], original[16..]);
            assert_eq!(self.log.leader_epochs().epoch_for_offset(header.base_offset), Some(header.leader_epoch));
        }
        let end = self.appended.last().map_or(Offset(0), |(header, _)| header.next_offset());
        assert_eq!(self.log.log_end().offset, end);
        assert!(synced <= end, "synced up to {synced}, the log ends at {end}");
        assert!(self.log.recovery_point() <= end);
        self.check_producer();
    }

    fn check_producer(&mut self) {
        let Some((last, bytes)) = self.appended.last() else {
            self.sequence = 0;
            return;
        };
        let retry = CheckedBatch { header: *last, bytes: bytes.clone().into() };
        let again = self.log.append_as_leader(&retry, self.epoch, NOW).unwrap();
        assert!(again.duplicate, "the last batch is known");
        assert_eq!((again.base_offset, again.last_offset), (last.base_offset, last.last_offset()));
        self.sequence = last.base_sequence + last.records_count;
    }

    /// Offset indexes must equal those of one walk over the segment, however often recovery continued them.
    fn check_indexes(&self) {
        for name in self.bench.names_with(".log") {
            let log = self.bench.pool.disk().open(&path(&name), OpenMode::Read).unwrap();
            let base = Offset(name[..20].parse().unwrap());
            let mut indexes = SegmentIndexes::new(base);
            let mut buffer = vec![0; 4096];
            let length = log.length().unwrap();
            let mut scanner = BatchScanner::new(&*log, ReadMode::Blocking, (0, base), length, &mut buffer);
            while let Some(batch) = scanner.next().unwrap() {
                indexes.append(&batch.header, batch.position, batch.length, 300);
            }
            let file = self.bench.contents(&name.replace(".log", ".index")).unwrap();
            assert_eq!(file, indexes.offsets(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn after_any_crash_what_was_synced_is_there_and_nothing_else_than_what_was_appended(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.check(Offset(0));
    }
}

/// Three segments, synced up to offset 30 of about 40; and every batch by its base offset.
fn sample(clean: bool) -> (Bench, BTreeMap<Offset, Vec<u8>>) {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    for index in 0..20_i32 {
        if index == 15 {
            flush(&mut log);
        }
        append(&mut log, &produced(&batch(2, 80, index.into()), 9, 0, index * 2));
    }
    if clean {
        log.close_clean(NOW).unwrap();
    }
    assert_eq!(log.closed.len(), 2);
    let batches = read_all(&log).into_iter().map(|(header, bytes)| (header.base_offset, bytes)).collect();
    (bench, batches)
}

/// Reads until something is refused. Every batch was appended or has a wrong checksum. The base offset is outside the
/// checksum: only recovery's scan detects a flip there.
fn check_what_is_served(log: &Log, originals: &BTreeMap<Offset, Vec<u8>>) {
    let mut next = log.log_start();
    while let Ok(Some(slice)) = log.locate(next, UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true) {
        let mut bytes = vec![0; slice.length as usize];
        slice.file.read_at(&mut bytes, slice.start.position).unwrap();
        let header = BatchHeader::decode(bytes.first_chunk().unwrap());
        assert!(next <= header.last_offset(), "a read makes progress");
        let intact = crc32c(&bytes[21..]) == header.crc;
        assert!(!intact || originals.values().any(|original| original[16..] == bytes[16..]));
        next = header.next_offset();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_files_are_repaired_or_refused(
        clean in any::<bool>(),
        damages in prop::collection::vec((any::<Index>(), damage()), 1..4),
    ) {
        let (bench, originals) = sample(clean);
        for (file, damage) in &damages {
            let names = bench.names();
            damage.inflict(&bench, &names[file.index(names.len())]);
        }
        let bench = Bench::on(bench.disk, small_segments());
        let synced = Offset(30);
        let loaded = if clean { bench.load_clean(Offset(40)) } else { bench.load(synced) };
        if let Ok(log) = loaded {
            prop_assert!(synced <= log.log_end().offset, "{:?}", log.log_end());
            check_what_is_served(&log, &originals);
        }
    }
}

/// Possible damage to a file at rest.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: Index,
        mask: u8,
    },
    Cut {
        at: Index,
    },
    Zero {
        from: Index,
        length: usize,
    },
    Swap {
        one: Index,
        other: Index,
    },
    Remove,
    /// A copy of it turns up under the name of another segment.
    Stray {
        base: i64,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 1_u8..).prop_map(|(at, mask)| Damage::Flip { at, mask }),
        2 => any::<Index>().prop_map(|at| Damage::Cut { at }),
        2 => (any::<Index>(), 1_usize..600).prop_map(|(from, length)| Damage::Zero { from, length }),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Damage::Swap { one, other }),
        1 => Just(Damage::Remove),
        1 => (0_i64..60).prop_map(|base| Damage::Stray { base }),
    ]
}

impl Damage {
    fn inflict(&self, bench: &Bench, name: &str) {
        let mut bytes = bench.contents(name).unwrap();
        let length = bytes.len();
        let mut target = name.to_owned();
        match self {
            Self::Remove => return bench.pool.disk().remove_file(&path(name)).unwrap(),
            Self::Stray { base } if name.starts_with('0') => target = format!("{base:020}{}", &name[20..]),
            _ if length == 0 => return,
            Self::Flip { at, mask } => bytes[at.index(length)] ^= mask,
            Self::Cut { at } => bytes.truncate(at.index(length)),
            Self::Zero { from, length: zeroed } => {
                let from = from.index(length);
                bytes[from..length.min(from + zeroed)].fill(0);
            }
            Self::Swap { one, other } => {
                const BLOCK: usize = 128;
                let blocks = length / BLOCK;
                if blocks < 2 {
                    return;
                }
                let (one, other) = (one.index(blocks) * BLOCK, other.index(blocks) * BLOCK);
                (0..BLOCK).for_each(|index| bytes.swap(one + index, other + index));
            }
            Self::Stray { .. } => target = "stray.txt".to_owned(),
        }
        bench.disk.put(&path(&target), bytes);
    }
}

#[test]
fn a_wrong_base_offset_is_told_by_its_neighbours() {
    let place = |log: &Log, offset| {
        let slice = log.locate(Offset(offset), UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true);
        let start = slice.unwrap().unwrap().start;
        (format!("{:020}.log", start.segment_base.0), usize::try_from(start.position).unwrap() + 7)
    };
    let flip = |bench: &Bench, (name, position): &(String, usize)| {
        let mut bytes = bench.contents(name).unwrap();
        bytes[*position] ^= 1;
        bench.disk.put(&path(name), bytes);
    };
    let (bench, _) = sample(false);
    let wrong = place(&bench.load(Offset(30)).unwrap(), 34);
    flip(&bench, &wrong);
    assert_eq!(bench.load(Offset(30)).unwrap().log_end().offset, Offset(34), "what follows was not synced");

    let (bench, _) = sample(true);
    let log = bench.load_clean(Offset(40)).unwrap();
    let base = log.active.base.0;
    for offset in (0..base - 2).step_by(2) {
        let wrong = place(&log, offset);
        flip(&bench, &wrong);
        let options = LoadOptions { clean: true, high_watermark: Offset(40), ..options(Offset(40)) };
        let damaged = Bench::on(bench.disk.clone(), small_segments()).load_with(&options).unwrap();
        let read = damaged.locate(Offset(offset), UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true);
        assert!(matches!(read, Err(ResolveError::Corrupt { .. })), "{offset}: {read:?}");
        flip(&bench, &wrong);
    }
}

#[test]
fn a_bad_batch_ends_the_log_beyond_the_recovery_point_and_is_refused_below() {
    for (offset, refused) in [(36, false), (30, false), (28, true)] {
        let (bench, _) = sample(false);
        let log = bench.load(Offset(30)).unwrap();
        let slice = log.locate(Offset(offset), UpTo::LogEnd, 1).unwrap().resolve(ReadMode::Blocking, true);
        let start = slice.unwrap().unwrap().start;
        let name = format!("{:020}.log", start.segment_base.0);
        let mut bytes = bench.contents(&name).unwrap();
        bytes[usize::try_from(start.position).unwrap() + 70] ^= 1;
        bench.disk.put(&path(&name), bytes);
        for name in bench.names_with(".snapshot") {
            bench.disk.put(&path(&name), Vec::new()); // so that everything is read
        }
        match bench.load(Offset(30)) {
            Ok(log) => assert_eq!((log.log_end().offset, refused), (Offset(offset), false)),
            Err(error) => assert!(refused && matches!(error, LoadError::Corrupt { .. }), "{error}"),
        }
    }
}

#[test]
fn a_segment_closed_while_a_flush_runs_is_synced_by_the_next() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    append_times(&mut log, 3, &batch(1, 500, 5));
    let job = log.start_flush(NOW);
    append(&mut log, &batch(1, 500, 5)); // the next segment, at the job's end
    log.finish_flush(job.run().unwrap());
    flush(&mut log);
    bench.disk.crash(&mut || 0);
    let loaded = Bench::on(bench.disk, small_segments()).load(Offset(4)).unwrap();
    assert_eq!(loaded.log_end().offset, Offset(4));
    assert_eq!(loaded.closed.len(), 1);
    let index = crate::disk::read_file(&**loaded.pool.disk(), &path("00000000000000000000.index"), 100).unwrap();
    assert_eq!(index.len(), 16, "written and synced with its segment");
}

#[test]
fn a_log_shorter_than_its_recovery_point_is_refused() {
    let (bench, _) = sample(true);
    assert!(matches!(bench.load(Offset(41)), Err(LoadError::TooShort { log_end: Offset(40), .. })));
}

#[test]
fn after_a_clean_stop_no_batch_is_read() {
    let (bench, _) = sample(true);
    let mut scanned = 0;
    let options = LoadOptions { clean: true, high_watermark: Offset(39), ..options(Offset(40)) };
    let log = Log::load(&bench.pool, Path::new(DIRECTORY), small_segments(), &options, &mut |progress| {
        scanned = progress.scanned_bytes;
    });
    let log = log.unwrap();
    assert_eq!(scanned, log.active.size, "nothing was left to do");
    assert_eq!(log.unflushed_bytes(), 0);
    assert_eq!((log.recovery_point(), log.log_end().offset), (Offset(40), Offset(40)));
    assert_eq!(log.high_watermark().offset, Offset(38), "the batch that contains it");
}

#[test]
fn a_missing_index_is_made_again() {
    for extension in ["index", "timeindex"] {
        let (bench, _) = sample(true);
        let name = format!("00000000000000000000.{extension}");
        let before = bench.contents(&name).unwrap();
        bench.pool.disk().remove_file(&path(&name)).unwrap();
        bench.load_clean(Offset(40)).unwrap();
        assert_eq!(bench.contents(&name), Some(before), "{name}");
    }
}

#[test]
fn without_an_epoch_file_the_batches_tell() {
    let (bench, _) = sample(true);
    bench.pool.disk().remove_file(&path("leader-epoch-checkpoint")).unwrap();
    let mut log = bench.load_clean(Offset(40)).unwrap();
    assert_eq!(log.leader_epochs().epoch_for_offset(Offset(0)), Some(EPOCH));
    flush(&mut log);
    assert_eq!(bench.contents("leader-epoch-checkpoint").unwrap(), b"0\n1\n1 0\n");
}

#[test]
fn a_directory_without_topic_id_is_refused() {
    let (bench, _) = sample(true);
    bench.pool.disk().remove_file(&path("partition.metadata")).unwrap();
    let refused = bench.load_clean(Offset(40));
    assert!(matches!(refused, Err(LoadError::PartitionMetadata(PartitionMetadataError::Missing { .. }))));
}

#[test]
fn records_before_the_log_start_are_out_of_reach() {
    let (bench, _) = sample(true);
    let log = bench.load_with(&LoadOptions { clean: true, log_start: Offset(5), ..options(Offset(40)) }).unwrap();
    assert!(log.locate(Offset(4), UpTo::LogEnd, 1).is_err());
    assert!(log.locate(Offset(5), UpTo::LogEnd, 1).is_ok());
    drop(log);
    let log = bench.load_with(&LoadOptions { clean: true, log_start: Offset(50), ..options(Offset(40)) }).unwrap();
    assert_eq!((log.log_start(), log.log_end().offset), (Offset(50), Offset(50)), "all of it was deleted");
    assert_eq!(bench.names_with(".log").len(), 1);
}

#[test]
fn an_empty_directory_begins_at_the_log_start() {
    let (bench, _) = sample(true);
    let logs = bench.names_with(".log");
    for name in &logs {
        bench.pool.disk().remove_file(&path(name)).unwrap();
    }
    let log = bench.load_with(&LoadOptions { log_start: Offset(7), ..options(Offset(0)) }).unwrap();
    assert_eq!((log.log_start(), log.log_end().offset), (Offset(7), Offset(7)));
    assert!(!bench.names().iter().any(|name| name == "00000000000000000000.index"), "indexes without a log go");
}

#[test]
fn a_read_error_is_no_torn_tail() {
    let (bench, _) = sample(false);
    let log_bytes = |bench: &Bench| {
        let logs = bench.names_with(".log").into_iter();
        logs.map(|name| bench.contents(&name).unwrap().len()).collect::<Vec<_>>()
    };
    let before = log_bytes(&bench);
    for after in 0..8 {
        bench.disk.fail(Operation::Read, after, io::ErrorKind::Other);
        bench.load(Offset(0)).unwrap_err();
        assert_eq!(log_bytes(&bench), before, "read {after}: nothing is deleted");
    }
}

#[test]
fn a_log_that_lost_nothing_is_opened_without_a_sync() {
    let (bench, _) = sample(true);
    bench.disk.fail(Operation::SyncDirectory, 0, io::ErrorKind::Other);
    bench.disk.fail(Operation::Sync, 0, io::ErrorKind::Other);
    bench.load(Offset(40)).unwrap();
}

#[test]
fn what_comes_after_the_logs_end_comes_back_empty_or_not_at_all() {
    let (bench, _) = sample(true);
    let logs = bench.names_with(".log");
    let mut first = bench.contents(&logs[0]).unwrap();
    first.pop();
    bench.disk.put(&path(&logs[0]), first);
    bench.disk.fail(Operation::SyncDirectory, 0, io::ErrorKind::Other);
    bench.load(Offset(0)).unwrap_err();
    assert_eq!(bench.names_with(".log"), logs[..1]);
    bench.disk.crash(&mut || 0);
    assert_eq!(bench.names_with(".log"), logs, "no directory was synced");
    for name in &logs[1..] {
        assert_eq!(bench.contents(name), Some(Vec::new()), "{name}");
    }
}
