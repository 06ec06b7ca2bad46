//! A model of a compacted log, and an owner of one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::ops::ControlFlow;
use std::path::PathBuf;

use protocol::batch_builder::BatchBuilder;
use protocol::produce::CheckedBatch;
use protocol::records;
use protocol::types::{Offset, Timestamp};

use super::{Compacted, CompactionError, CompactionLimits, CompactionOwner, CompactionRules, KeyHasher};
use crate::testing::*;
use crate::{AppendError, LoadOptions, Log, LogConfig};

/// About eight batches of a few small records in each.
pub(super) fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 200, compacted: true, ..LogConfig::default() }
}

pub(super) const RULES: CompactionRules =
    CompactionRules { dirty_ratio_min: 0.0, lag_ms_min: 0, lag_ms_max: i64::MAX, delete_retention_ms: 1000 };

pub(super) fn limits(bench: &Bench, keys_max: u64) -> CompactionLimits {
    CompactionLimits {
        disk: bench.disk.clone(),
        hasher: KeyHasher::new([RandomState::new(), RandomState::new()]),
        map_bytes_max: keys_max * 24,
        load_factor: 1.0,
        decompressed_bytes_max: 1 << 20,
    }
}

/// The owner of a single log; calls `between` before its n-th change.
pub(super) struct Owner<'a> {
    pub(super) log: RefCell<&'a mut Log>,
    pub(super) changes: Cell<usize>,
    pub(super) between: &'a dyn Fn(usize, &mut Log),
    pub(super) removed: RefCell<Vec<PathBuf>>,
}

impl CompactionOwner for Owner<'_> {
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let log = &mut **self.log.borrow_mut();
        (self.between)(self.changes.get(), log);
        self.changes.set(self.changes.get() + 1);
        Some(change(log))
    }

    fn begins(&self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn used(&self, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn replaced(&self, files: Vec<PathBuf>) {
        self.removed.borrow_mut().extend(files);
    }
}

pub(super) fn compact_with(
    log: &mut Log,
    limits: &CompactionLimits,
    now: Timestamp,
    between: &dyn Fn(usize, &mut Log),
) -> Result<Option<Compacted>, CompactionError> {
    let Some(compaction) = log.start_compaction(&RULES, now) else { return Ok(None) };
    let owner = Owner { log: RefCell::new(log), changes: Cell::new(0), between, removed: RefCell::default() };
    let compacted = compaction.run(limits, &owner)?;
    for file in owner.removed.into_inner() {
        limits.disk.remove_file(&file).unwrap_or_default();
    }
    Ok(Some(compacted))
}

pub(super) fn compact(bench: &Bench, log: &mut Log, now: Timestamp) -> Option<Compacted> {
    compact_with(log, &limits(bench, 1 << 20), now, &|_, _| {}).unwrap()
}

pub(super) type Record = (Vec<u8>, Option<Vec<u8>>);

/// What was appended, record by record, and so what may be read.
#[derive(Debug, Default, Clone)]
pub(super) struct Model {
    pub(super) records: BTreeMap<Offset, Record>,
}

impl Model {
    pub(super) fn append(&mut self, log: &mut Log, batch: &[(u64, Option<u64>)]) -> Result<(), AppendError> {
        let bytes = |(key, value): &(u64, Option<u64>)| {
            (format!("key-{key}").into_bytes(), value.map(|value| value.to_be_bytes().to_vec()))
        };
        let records: Vec<Record> = batch.iter().map(bytes).collect();
        let appended = log.append_as_leader(&batch_of(&records), EPOCH, NOW)?;
        self.records.extend((appended.base_offset.0..).map(Offset).zip(records));
        Ok(())
    }

    fn last_of_keys(&self) -> BTreeMap<&[u8], (Offset, Option<&[u8]>)> {
        let records = self.records.iter();
        records.map(|(offset, (key, value))| (key.as_slice(), (*offset, value.as_deref()))).collect()
    }

    /// Checks that every record read was appended.
    pub(super) fn check_origin(&self, log: &Log) -> BTreeMap<Offset, Record> {
        let read = all_records(log);
        for (offset, record) in &read {
            assert_eq!(self.records.get(offset), Some(record), "{offset}");
        }
        read
    }

    /// As `check_origin`; also that the last record of each key is there, and deleted ones stay deleted.
    pub(super) fn check(&self, log: &Log) {
        let read = self.check_origin(log);
        let mut left: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for (key, value) in read.values() {
            left.insert(key, value.as_deref());
        }
        for (key, (offset, value)) in self.last_of_keys() {
            match value {
                Some(_) => assert!(read.contains_key(&offset), "the last record of a key, at {offset}, is lost"),
                None => assert_eq!(left.get(key).copied().flatten(), None, "a deleted key is back: {offset}"),
            }
        }
    }

    /// As `check`, for a log compacted up to `end`: there is at most one record of each key.
    pub(super) fn check_compacted(&self, log: &Log, end: Offset) {
        self.check(log);
        let last: BTreeMap<_, _> = self.records.range(..end).map(|(offset, (key, _))| (key.clone(), *offset)).collect();
        for (offset, (key, _)) in all_records(log).range(..end) {
            assert_eq!(last.get(key), Some(offset), "it is not the last of its key");
        }
    }
}

pub(super) fn all_records(log: &Log) -> BTreeMap<Offset, Record> {
    let mut found = BTreeMap::new();
    for (header, batch) in read_all(log) {
        for record in &records::walk(&batch, 1 << 20).unwrap() {
            let record = record.unwrap();
            let offset = header.base_offset.advance(record.offset_delta.into());
            found.insert(offset, (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
        }
    }
    found
}

/// Syncs and commits everything.
pub(super) fn settle(log: &mut Log) {
    flush(log);
    log.set_high_watermark(log.log_end());
}

fn batch_of(records: &[Record]) -> CheckedBatch {
    let mut builder = BatchBuilder::new(NOW);
    for (key, value) in records {
        builder.push(Some(key), value.as_deref());
    }
    builder.build().unwrap()
}

pub(super) fn reload(bench: &Bench, log: &Log) -> Log {
    let options = LoadOptions { high_watermark: log.high_watermark().offset, ..options(log.recovery_point()) };
    Bench::on(bench.disk.clone(), bench.config.clone()).load_with(&options).unwrap()
}

pub(super) fn random_batch(random: &mut impl FnMut() -> u64, keys: u64, records: u64) -> Vec<(u64, Option<u64>)> {
    (0..=random() % records).map(|_| (random() % keys, (!random().is_multiple_of(5)).then_some(random()))).collect()
}
