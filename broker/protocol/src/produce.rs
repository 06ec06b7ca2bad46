//! Checks of a produced batch before the log sees it: everything that needs no state of the log, so that it runs on
//! the network thread and outside any lock.
//!
//! An uncompressed batch is walked record by record. A compressed one is decompressed only if a rule concerns its
//! records: keys on a compacted topic, a limit on timestamps, and another codec.

use bytes::Bytes;

use crate::batch::{Attributes, BatchHeader, CRC_START, Compression, HEADER_LENGTH, LENGTH_PREFIX, MAGIC, crc32c};
use crate::records::compress::compress;
use crate::records::{self, RecordError, Records};
use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// Most refused records that are named; a batch may have millions.
pub const REFUSED_MAX: usize = 100;

/// A batch that may be appended. `bytes` begin with `header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBatch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

/// The rules of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// `max.message.bytes`, compared with the whole batch.
    pub message_bytes_max: usize,
    /// `cleanup.policy` contains `compact`.
    pub keys_required: bool,
    pub timestamps: TimestampRule,
    /// `compression.type`: the codec in which batches are kept. `None`: the producer's.
    pub codec: Option<Compression>,
}

/// What the request and the checking broker allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// Produce before version 7 does not support zstd.
    pub zstd_allowed: bool,
    /// Most bytes to which a batch may be decompressed.
    pub decompressed_bytes_max: usize,
}

/// `message.timestamp.type` and related options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampRule {
    /// The producer's timestamps, within `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` of
    /// the clock.
    CreateTime {
        before_max_ms: i64,
        after_max_ms: i64,
    },
    LogAppendTime,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{length} bytes are too few for a batch: its header has {HEADER_LENGTH}")]
    TooShort { length: usize },
    #[error("message format {magic} is no longer supported: only {MAGIC} is")]
    OldMagic { magic: i8 },
    #[error("unknown magic {magic}, expected {MAGIC}")]
    UnknownMagic { magic: i8 },
    #[error("a produce request carries exactly one batch per partition: {length} bytes, the batch claims {claimed:?}")]
    NotOneBatch { claimed: Option<usize>, length: usize },
    #[error("the batch has {length} bytes, max.message.bytes is {message_bytes_max}")]
    TooLarge { length: usize, message_bytes_max: usize },
    #[error("checksum {computed:#010x}, the header says {stored:#010x}")]
    WrongChecksum { stored: u32, computed: u32 },
    #[error("attributes {attributes:#06x} name a codec that does not exist")]
    UnknownCodec { attributes: i16 },
    #[error("zstd needs Produce version 7 or later")]
    ZstdNotAllowed,
    #[error("base offset {base_offset}, a producer must send 0")]
    BaseOffset { base_offset: Offset },
    #[error("{records_count} records, but the last offset delta is {last_offset_delta}")]
    Count { records_count: i32, last_offset_delta: i32 },
    #[error("clients must not write control records")]
    Control,
    #[error("clients must not set a delete horizon")]
    DeleteHorizon,
    #[error(
        "producer id {producer_id} with epoch {} and sequence {base_sequence}: none may be negative",
        producer_epoch.0
    )]
    Producer { producer_id: ProducerId, producer_epoch: ProducerEpoch, base_sequence: i32 },
    #[error("producers must not use the timestamp type LogAppendTime")]
    TimestampType,
    #[error("the highest timestamp: {0}")]
    Timestamp(#[from] TimestampOutOfRange),
    #[error("record {index} has offset delta {offset_delta}")]
    OffsetDelta { index: i32, offset_delta: i32 },
    /// Not empty. The search ends after [`REFUSED_MAX`].
    #[error("one or more records are refused: {}", refused.iter().map(ToString::to_string).take(3).collect::<Vec<_>>().join("; "))]
    Records { refused: Vec<RefusedRecord> },
    #[error("cannot be compressed with {codec:?}: {reason}")]
    NotCompressed { codec: Compression, reason: String },
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A record that breaks a rule of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {reason}")]
pub struct RefusedRecord {
    /// Index in the batch, from 0.
    pub index: i32,
    pub reason: RecordRefusal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    #[error("it has no key, which a compacted topic needs")]
    NullKey,
    #[error(transparent)]
    Timestamp(#[from] TimestampOutOfRange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timestamp {timestamp} is not within {earliest} and {latest}")]
pub struct TimestampOutOfRange {
    pub timestamp: Timestamp,
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

impl CheckedBatch {
    /// Writes the header over the first bytes, checksum included.
    pub(crate) fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Self {
        debug_assert_eq!(header.length(), Some(bytes.len()), "the header describes these bytes");
        put_header(&mut bytes, &header);
        header.crc = crc32c(bytes.get(CRC_START..).unwrap_or_default());
        put_header(&mut bytes, &header);
        Self { header, bytes: bytes.into() }
    }
}

/// Checks a produced batch. The bytes are copied only if the header must change (LogAppendTime, or a header without
/// the highest timestamp), and rebuilt if the topic has another codec.
pub fn check(
    records: Bytes,
    rules: &BatchRules,
    limits: CheckLimits,
    now: Timestamp,
) -> Result<CheckedBatch, BatchError> {
    let (header, body) = check_envelope(&records, rules)?;
    check_header(&header, limits)?;
    let window = Window::new(rules.timestamps, now);
    let (mut highest, mut recompressed) = (header.max_timestamp, None);
    if must_open(&header, rules) {
        let opened = records::open(header, body, limits.decompressed_bytes_max)?;
        highest = walk(&opened, rules, window)?;
        recompressed =
            other_codec(&header, rules).map(|codec| recompress(opened.body(), codec, rules, limits)).transpose()?;
    } else {
        window.check(header.max_timestamp)?;
    }
    let stamped = match rules.timestamps {
        TimestampRule::LogAppendTime => {
            BatchHeader { attributes: header.attributes.with_log_append_time(), max_timestamp: now, ..header }
        }
        TimestampRule::CreateTime { .. } => BatchHeader { max_timestamp: highest, ..header },
    };
    if let Some((codec, batch_length, bytes)) = recompressed {
        let attributes = stamped.attributes.with_compression(codec);
        return Ok(CheckedBatch::seal(BatchHeader { batch_length, attributes, ..stamped }, bytes));
    }
    if stamped == header {
        return Ok(CheckedBatch { header, bytes: records });
    }
    Ok(CheckedBatch::seal(stamped, records.into()))
}

fn other_codec(header: &BatchHeader, rules: &BatchRules) -> Option<Compression> {
    rules.codec.filter(|codec| header.attributes.compression() != Some(*codec))
}

/// The codec, the length for the header, and the bytes with room for the header.
fn recompress(
    plain: &[u8],
    codec: Compression,
    rules: &BatchRules,
    limits: CheckLimits,
) -> Result<(Compression, i32, Vec<u8>), BatchError> {
    if limits.decompressed_bytes_max < plain.len() {
        return Err(RecordError::TooLarge { codec, output_max: limits.decompressed_bytes_max }.into());
    }
    let failed = |error: std::io::Error| BatchError::NotCompressed { codec, reason: error.to_string() };
    let bytes = [&[0; HEADER_LENGTH][..], &compress(codec, plain).map_err(failed)?].concat();
    let (length, message_bytes_max) = (bytes.len(), rules.message_bytes_max);
    let batch_length = i32::try_from(length.saturating_sub(LENGTH_PREFIX)).ok();
    match batch_length.filter(|_| length <= message_bytes_max) {
        Some(batch_length) => Ok((codec, batch_length, bytes)),
        None => Err(BatchError::TooLarge { length, message_bytes_max }),
    }
}

/// Length, magic, size and checksum: whether this is a single intact batch.
fn check_envelope<'a>(records: &'a [u8], rules: &BatchRules) -> Result<(BatchHeader, &'a [u8]), BatchError> {
    let length = records.len();
    let (head, body) = records.split_first_chunk::<HEADER_LENGTH>().ok_or(BatchError::TooShort { length })?;
    let header = BatchHeader::decode(head);
    match header.magic {
        MAGIC => {}
        magic @ (0 | 1) => return Err(BatchError::OldMagic { magic }),
        magic => return Err(BatchError::UnknownMagic { magic }),
    }
    let claimed = header.length();
    if claimed != Some(length) {
        return Err(BatchError::NotOneBatch { claimed, length });
    }
    if rules.message_bytes_max < length {
        return Err(BatchError::TooLarge { length, message_bytes_max: rules.message_bytes_max });
    }
    let computed = crc32c(records.get(CRC_START..).unwrap_or_default());
    if computed != header.crc {
        return Err(BatchError::WrongChecksum { stored: header.crc, computed });
    }
    Ok((header, body))
}

fn check_header(header: &BatchHeader, limits: CheckLimits) -> Result<(), BatchError> {
    let Attributes(attributes) = header.attributes;
    match header.attributes.compression() {
        None => return Err(BatchError::UnknownCodec { attributes }),
        Some(Compression::Zstd) if !limits.zstd_allowed => return Err(BatchError::ZstdNotAllowed),
        Some(_) => {}
    }
    if header.base_offset != Offset(0) {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset });
    }
    let BatchHeader { records_count, last_offset_delta, producer_id, producer_epoch, base_sequence, .. } = *header;
    if records_count < 1 || records_count.checked_sub(1) != Some(last_offset_delta) {
        return Err(BatchError::Count { records_count, last_offset_delta });
    }
    if header.attributes.is_control() {
        return Err(BatchError::Control);
    }
    if header.attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    let names_producer = header.has_producer() || header.attributes.is_transactional();
    if names_producer && (producer_id.0 < 0 || producer_epoch.0 < 0 || base_sequence < 0) {
        return Err(BatchError::Producer { producer_id, producer_epoch, base_sequence });
    }
    if header.attributes.is_log_append_time() {
        return Err(BatchError::TimestampType);
    }
    Ok(())
}

fn must_open(header: &BatchHeader, rules: &BatchRules) -> bool {
    let old_refused =
        matches!(rules.timestamps, TimestampRule::CreateTime { before_max_ms, .. } if before_max_ms != i64::MAX);
    let is_plain = header.attributes.compression() == Some(Compression::None);
    is_plain || rules.keys_required || old_refused || other_codec(header, rules).is_some()
}

/// Checks the records. Returns their highest timestamp.
fn walk(opened: &Records<'_>, rules: &BatchRules, window: Window) -> Result<Timestamp, BatchError> {
    let mut highest = Timestamp::NONE;
    let mut refused = Vec::new();
    for (index, record) in (0..).zip(opened) {
        let record = record?;
        if record.offset_delta != index {
            return Err(BatchError::OffsetDelta { index, offset_delta: record.offset_delta });
        }
        if rules.keys_required && record.key.is_none() {
            refused.push(RefusedRecord { index, reason: RecordRefusal::NullKey });
        } else if let Err(error) = window.check(record.timestamp) {
            refused.push(RefusedRecord { index, reason: error.into() });
        }
        if refused.len() == REFUSED_MAX {
            break;
        }
        highest = highest.max(record.timestamp);
    }
    if refused.is_empty() { Ok(highest) } else { Err(BatchError::Records { refused }) }
}

fn put_header(bytes: &mut [u8], header: &BatchHeader) {
    if let Some(head) = bytes.first_chunk_mut::<HEADER_LENGTH>() {
        *head = header.encode();
    }
}

/// The timestamps that are accepted, both ends included.
#[derive(Clone, Copy)]
struct Window {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Window {
    fn new(rule: TimestampRule, now: Timestamp) -> Self {
        match rule {
            TimestampRule::CreateTime { before_max_ms, after_max_ms } => Self {
                earliest: Timestamp(now.0.saturating_sub(before_max_ms)),
                latest: Timestamp(now.0.saturating_add(after_max_ms)),
            },
            TimestampRule::LogAppendTime => Self { earliest: Timestamp(i64::MIN), latest: Timestamp(i64::MAX) },
        }
    }

    #[inline]
    fn check(self, timestamp: Timestamp) -> Result<(), TimestampOutOfRange> {
        let Self { earliest, latest } = self;
        if timestamp == Timestamp::NONE || (earliest <= timestamp && timestamp <= latest) {
            return Ok(());
        }
        Err(TimestampOutOfRange { timestamp, earliest, latest })
    }
}

#[cfg(test)]
#[path = "produce_test.rs"]
mod tests;
