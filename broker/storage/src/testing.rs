//! Shared by the tests of several modules.

use std::path::Path;
use std::sync::Arc;

use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::batch_builder::BatchBuilder;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};

use crate::faulty::FaultyDisk;
use crate::{Disk as _, FilePool, LoadError, LoadOptions, Log, LogConfig, PoolLimits, ReadMode, UpTo};

pub(crate) const DIRECTORY: &str = "/data/topic-0";
pub(crate) const NOW: Timestamp = Timestamp(1_000_000);
pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(1);

/// A disk, and a pool to open logs on it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) disk: Arc<FaultyDisk>,
    pub(crate) pool: Arc<FilePool>,
    pub(crate) config: LogConfig,
}

impl Bench {
    pub(crate) fn new(config: LogConfig) -> Self {
        let disk = FaultyDisk::new();
        disk.create_directory(Path::new("/data")).unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        Self::on(Arc::new(disk), config)
    }

    pub(crate) fn on(disk: Arc<FaultyDisk>, config: LogConfig) -> Self {
        let pool = FilePool::new(disk.clone(), PoolLimits::default());
        Self { disk, pool, config }
    }

    pub(crate) fn create(&self) -> Log {
        let topic_id: TopicId = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        Log::create(&self.pool, Path::new(DIRECTORY), topic_id, self.config.clone(), Offset(0), NOW).unwrap()
    }

    pub(crate) fn load(&self, recovery_point: Offset) -> Result<Log, LoadError> {
        self.load_with(&options(recovery_point))
    }

    pub(crate) fn load_clean(&self, recovery_point: Offset) -> Result<Log, LoadError> {
        self.load_with(&LoadOptions { clean: true, ..options(recovery_point) })
    }

    pub(crate) fn load_with(&self, options: &LoadOptions) -> Result<Log, LoadError> {
        Log::load(&self.pool, Path::new(DIRECTORY), self.config.clone(), options, &mut |_| {})
    }

    /// The content of a file of the log.
    pub(crate) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.contents(&path(name))
    }

    /// Names that end with `suffix`.
    pub(crate) fn names_with(&self, suffix: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(suffix)).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.disk.list(Path::new(DIRECTORY)).unwrap();
        entries.into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
    }
}

pub(crate) fn options(recovery_point: Offset) -> LoadOptions {
    LoadOptions { recovery_point, now: NOW, ..LoadOptions::default() }
}

/// A generator that gives the same numbers on every machine.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

pub(crate) fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// `count` records of `value_bytes` bytes each.
pub(crate) fn batch(count: usize, value_bytes: usize, timestamp: i64) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Timestamp(timestamp));
    let value = vec![b'v'; value_bytes];
    (0..count).for_each(|_| builder.push(None, Some(&value)));
    builder.build().unwrap()
}

pub(crate) fn produced(batch: &CheckedBatch, producer: i64, epoch: i16, sequence: i32) -> CheckedBatch {
    let header = BatchHeader {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        ..batch.header
    };
    sealed(header, &batch.bytes)
}

pub(crate) fn sealed(mut header: BatchHeader, bytes: &[u8]) -> CheckedBatch {
    let mut bytes = bytes.to_vec();
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    CheckedBatch { header, bytes: bytes.into() }
}

pub(crate) fn append(log: &mut Log, batch: &CheckedBatch) -> Offset {
    log.append_as_leader(batch, EPOCH, NOW).unwrap().base_offset
}

pub(crate) fn append_times(log: &mut Log, times: usize, batch: &CheckedBatch) {
    for _ in 0..times {
        append(log, batch);
    }
}

pub(crate) fn flush(log: &mut Log) {
    let flushed = log.start_flush(NOW).run().unwrap();
    log.finish_flush(flushed);
}

/// Every batch from the log start to the log end, as a consumer would get them.
pub(crate) fn read_all(log: &Log) -> Vec<(BatchHeader, Vec<u8>)> {
    let mut batches = Vec::new();
    let mut next = log.log_start();
    loop {
        let located = log.locate(next, UpTo::LogEnd, 1000).unwrap();
        let Some(slice) = located.resolve(ReadMode::Blocking, true).unwrap() else { return batches };
        let mut bytes = vec![0; slice.length as usize];
        assert_eq!(slice.file.read_at(&mut bytes, slice.start.position).unwrap(), bytes.len());
        let mut rest = bytes.as_slice();
        let mut whole = 0;
        while let Some(header) = rest.first_chunk().map(BatchHeader::decode) {
            let length = header.length().unwrap();
            let Some(batch) = rest.get(..length) else { break };
            assert_eq!(crc32c(&batch[CRC_START..]), header.crc, "checksum at {next}");
            next = header.next_offset();
            batches.push((header, batch.to_vec()));
            rest = &rest[length..];
            whole += 1;
        }
        assert_ne!(whole, 0, "a read begins with a whole batch");
    }
}
