//! The log on a real file system: mapped indexes, `RWF_NOWAIT`, descriptors for `sendfile`.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use protocol::batch_builder::BatchBuilder;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicId};
use storage::{FilePool, LoadOptions, Log, LogConfig, PoolLimits, ReadMode, ResolveError, SystemDisk, UpTo};

const BATCHES: i64 = 2000;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() }
}

fn batch(number: i64) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Timestamp(1000 + number));
    builder.push(Some(&number.to_be_bytes()), Some(&[b'v'; 150]));
    builder.push(None, None);
    builder.build().unwrap()
}

/// Few files may stay open, so that opening and closing them is part of the test.
fn pool() -> Arc<FilePool> {
    FilePool::new(Arc::new(SystemDisk), PoolLimits { open_logs_max: 2, mappings_max: 3 })
}

fn create(pool: &Arc<FilePool>, directory: &Path) -> Log {
    let topic_id: TopicId = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
    Log::create(pool, directory, topic_id, config(), Offset(0), Timestamp(0)).unwrap()
}

fn written(directory: &Path) -> Offset {
    let mut log = create(&pool(), directory);
    for number in 0..BATCHES {
        log.append_as_leader(&batch(number), LeaderEpoch(0), Timestamp(0)).unwrap();
    }
    log.close_clean(Timestamp(0)).unwrap()
}

#[test]
fn a_log_is_read_back_from_mapped_indexes() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("topic-0");
    let end = written(&directory);
    let options = LoadOptions {
        clean: true,
        recovery_point: end,
        log_start: Offset(0),
        high_watermark: end,
        first_dirty: Offset(0),
        compacted_end: Offset(0),
        now: Timestamp(0),
    };
    let log = Log::load(&pool(), &directory, config(), &options, &mut |_| {}).unwrap();
    assert_eq!(log.log_end().offset, Offset(2 * BATCHES));
    for number in (0..BATCHES).rev().step_by(7) {
        let located = log.locate(Offset(2 * number + 1), UpTo::HighWatermark, 1).unwrap();
        let slice = located.resolve(ReadMode::Blocking, true).unwrap().unwrap();
        assert_eq!(slice.start.offset, Offset(2 * number));
        assert!(slice.file.as_fd().is_some());
        let mut bytes = vec![0; slice.length.try_into().unwrap()];
        assert_eq!(slice.file.read_at(&mut bytes, slice.start.position).unwrap(), bytes.len());
        assert_eq!(bytes.get(16..), batch(number).bytes.get(16..));
        match located.resolve(ReadMode::NoWait, true) {
            Ok(again) => assert_eq!(again.unwrap().start, slice.start),
            Err(error) => assert!(matches!(error, ResolveError::WouldBlock), "{error}"),
        }
        let found = log.locate_timestamp(Timestamp(1000 + number)).resolve(0).unwrap().unwrap();
        assert_eq!(found.offset, Offset(2 * number));
    }
}

/// Files of this process below `root`.
fn open_files(root: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(root)).count()
}

#[test]
fn logs_whose_records_are_synced_hold_no_more_descriptors_than_the_pool() {
    const LOGS: usize = 40;
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().canonicalize().unwrap();
    let pool = FilePool::new(Arc::new(SystemDisk), PoolLimits { open_logs_max: 8, mappings_max: 8 });
    let logs = (0..LOGS).map(|number| create(&pool, &directory.join(format!("topic-{number}"))));
    let mut logs: Vec<_> = logs.collect();
    let append = |log: &mut Log, number| {
        let appended = log.append_as_leader(&batch(number), LeaderEpoch(0), Timestamp(0)).unwrap();
        assert_eq!(appended.base_offset, Offset(2 * number));
    };
    for number in 0..3 {
        for log in &mut logs {
            append(log, number);
            let flushed = log.start_flush(Timestamp(0)).run().unwrap();
            log.finish_flush(flushed);
            assert!(open_files(&directory) <= 8);
        }
    }
    for log in &mut logs {
        append(log, 3);
    }
    assert_eq!(open_files(&directory), LOGS, "what is not synced stays open: an error of the disk must be heard");
    for log in &logs {
        for number in 0..4 {
            let located = log.locate(Offset(2 * number), UpTo::LogEnd, 1).unwrap();
            let slice = located.resolve(ReadMode::Blocking, true).unwrap().unwrap();
            assert_eq!(slice.read().unwrap().get(16..), batch(number).bytes.get(16..));
        }
    }
}
