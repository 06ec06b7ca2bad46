//! The metadata log, `__cluster_metadata-0`: an ordinary log whose records are metadata records and control records.

use std::path::Path;
use std::sync::Arc;

use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::batch_builder::{BatchBuilder, BuildError};
use protocol::metadata_records::control::ControlRecord;
use protocol::metadata_records::{DecodeError, MetadataRecord, StringTooLong};
use protocol::produce::CheckedBatch;
use protocol::records::{self, RecordError};
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicId};
use storage::{
    AppendError, FilePool, FlushError, LoadError, LoadOptions, Log, LogConfig, OpenMode, ReadMode, ResolveError, UpTo,
};
use uuid::Uuid;

use super::features;
use crate::metadata::{Image, METADATA_DIRECTORY, ReplayError, replay};

/// Kafka's fixed id of the metadata topic.
const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(1));
/// Bytes read at once during replay.
const READ_BYTES: u32 = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct MetadataLog {
    log: Log,
    epoch: LeaderEpoch,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataLogError {
    #[error("the metadata log cannot be created: {0}")]
    Create(std::io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Read(#[from] ResolveError),
    #[error("the metadata log cannot be read: {0}")]
    Io(std::io::Error),
    #[error("metadata log, batch at offset {offset}: {source}")]
    Batch { offset: Offset, source: BatchFault },
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Flush(#[from] FlushError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error("it is cut off")]
    Truncated,
    #[error("its checksum is wrong")]
    Checksum,
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Records that cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(transparent)]
    String(#[from] StringTooLong),
    #[error(transparent)]
    Batch(#[from] BuildError),
}

impl MetadataLog {
    /// The log below `root`, made if this is the node's first start.
    /// What was synced must be there and whole: damage below `recovery_point` is no torn tail.
    pub(super) fn open(
        pool: &Arc<FilePool>,
        root: &Path,
        recovery_point: Offset,
        now: Timestamp,
    ) -> Result<Self, MetadataLogError> {
        let directory = root.join(METADATA_DIRECTORY);
        let config = LogConfig::default();
        let start = Offset(0);
        let log = if is_partition(pool, &directory) {
            let options = LoadOptions { clean: false, recovery_point, log_start: start, high_watermark: start, now };
            Log::load(pool, &directory, config, &options, &mut |_| {})?
        } else {
            Log::create(pool, &directory, TOPIC_ID, config, start, now).map_err(MetadataLogError::Create)?
        };
        let epoch = log.leader_epochs().latest().unwrap_or(LeaderEpoch(0));
        Ok(Self { log, epoch })
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.log.log_end().offset
    }

    /// Epoch of the last record, 0 in an empty log.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The image that all records add up to.
    pub(super) fn replay(&self) -> Result<Image, MetadataLogError> {
        let mut image = Image::empty();
        while image.end_offset < self.end_offset() {
            let located = self.log.locate(image.end_offset, UpTo::LogEnd, READ_BYTES);
            let slice = match located {
                Ok(located) => located.resolve(ReadMode::Blocking, true)?,
                Err(_) => None,
            };
            let truncated = MetadataLogError::Batch { offset: image.end_offset, source: BatchFault::Truncated };
            let slice = slice.ok_or(truncated)?;
            let bytes = slice.read().map_err(MetadataLogError::Io)?;
            replay_batches(&mut image, &bytes)?;
        }
        Ok(image)
    }

    /// Not durable before [`Self::sync`].
    pub(super) fn append(&mut self, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, MetadataLogError> {
        Ok(self.log.append_as_leader(batch, self.epoch, now)?.base_offset)
    }

    pub(super) fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        assert!(self.epoch < epoch, "an epoch begins once");
        self.epoch = epoch;
    }

    pub(super) fn sync(&mut self, now: Timestamp) -> Result<(), MetadataLogError> {
        let flushed = self.log.start_flush(now).run()?;
        self.log.finish_flush(flushed);
        self.log.set_high_watermark(self.log.log_end());
        Ok(())
    }

    pub(super) fn close_clean(&mut self, now: Timestamp) -> Result<(), MetadataLogError> {
        self.log.close_clean(now)?;
        Ok(())
    }
}

fn is_partition(pool: &FilePool, directory: &Path) -> bool {
    pool.disk().open(&directory.join("partition.metadata"), OpenMode::Read).is_ok()
}

/// Whole batches only; a last one that is cut off is left for the next read.
fn replay_batches(image: &mut Image, mut bytes: &[u8]) -> Result<(), MetadataLogError> {
    let begin = image.end_offset;
    while let Some(head) = bytes.first_chunk::<HEADER_LENGTH>() {
        let header = BatchHeader::decode(head);
        let at = |source: BatchFault| MetadataLogError::Batch { offset: header.base_offset, source };
        let length = header.length().ok_or_else(|| at(BatchFault::Truncated))?;
        let Some(batch) = bytes.get(..length) else { break };
        replay_batch(image, &header, batch).map_err(at)?;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    if image.end_offset == begin {
        return Err(MetadataLogError::Batch { offset: begin, source: BatchFault::Truncated });
    }
    Ok(())
}

fn replay_batch(image: &mut Image, header: &BatchHeader, batch: &[u8]) -> Result<(), BatchFault> {
    if crc32c(batch.get(CRC_START..).unwrap_or_default()) != header.crc {
        return Err(BatchFault::Checksum);
    }
    let opened = records::walk(batch, 0)?;
    for record in &opened {
        let record = record?;
        if header.attributes.is_control() {
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            replay_control(image, &ControlRecord::decode(key, value)?);
        } else {
            replay(image, &MetadataRecord::decode(record.value.unwrap_or_default())?)?;
        }
    }
    image.end_offset = header.next_offset();
    image.epoch = header.leader_epoch;
    Ok(())
}

/// What the quorum says of itself: of that, its feature level and its voters are metadata.
pub(super) fn replay_control(image: &mut Image, record: &ControlRecord) {
    match record {
        ControlRecord::KRaftVersion(level) => {
            image.features.insert(features::KRAFT_VERSION.to_owned(), *level);
        }
        ControlRecord::KRaftVoters(voters) => image.voters = voters.as_slice().into(),
        ControlRecord::LeaderChange { .. } | ControlRecord::SnapshotHeader { .. } | ControlRecord::SnapshotFooter => {}
    }
}

/// One atomic batch.
pub(super) fn encode_records(records: &[MetadataRecord], now: Timestamp) -> Result<CheckedBatch, EncodeError> {
    let mut builder = BatchBuilder::new(now);
    for record in records {
        builder.push(None, Some(&record.encode()?));
    }
    Ok(builder.build()?)
}

pub(super) fn encode_control(records: &[ControlRecord], now: Timestamp) -> Result<CheckedBatch, EncodeError> {
    let mut builder = BatchBuilder::new(now).control();
    for record in records {
        let (key, value) = record.encode()?;
        builder.push(Some(&key), Some(&value));
    }
    Ok(builder.build()?)
}
