//! What a producer may send as a batch. An input is one byte that chooses the topic's rules, and the batch.

use allocation_counter::measure;
use bytes::Bytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};
use protocol::batch::{BatchHeader, CRC_START, Compression, HEADER_LENGTH, LENGTH_PREFIX, crc32c};
use protocol::produce::{BatchRules, CheckLimits, CheckedBatch, REFUSED_MAX, RefusedRecord, TimestampRule, check};
use protocol::records;
use protocol::types::Timestamp;

/// Length and checksum are corrected before the check: mutations would not get past them otherwise.
pub const SEAL: u8 = 1;
pub const KEYS_REQUIRED: u8 = 2;
pub const NO_ZSTD: u8 = 4;
pub const LOG_APPEND_TIME: u8 = 8;
/// Only timestamps close to [`NOW`] are allowed.
pub const NARROW: u8 = 16;
/// The topic keeps its batches uncompressed.
pub const UNCOMPRESSED: u8 = 32;

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
const WINDOW_MS: i64 = 3_600_000;
const BYTES_MAX: usize = 1 << 20;
/// A batch that is not decompressed is copied at most once, if its header changes; a list of refused records grows to
/// its limit by doubling.
const CLOSED_EXTRA_BYTES: u64 = 64 + (4 * REFUSED_MAX * size_of::<RefusedRecord>()) as u64;
/// Two of the largest blocks of LZ4, and the spare capacity of a vector that grows to the limit.
const OPENED_BYTES_MAX: u64 = 12 << 20;
/// The decoder overflows on timestamps that are far apart.
const TIMESTAMP_MAX: i64 = 1 << 60;

pub fn run(input: &[u8]) {
    let Some((flags, batch)) = input.split_first() else { return };
    let mut batch = batch.to_vec();
    if flags & SEAL != 0 {
        seal(&mut batch);
    }
    let (length, rules, limits) = (batch.len() as u64, rules(*flags), limits(*flags));
    let compressed = is_compressed(&batch);
    let batch = Bytes::from(batch);
    let mut checked = None;
    let allocated = measure(|| checked = check(batch, &rules, limits, NOW).ok());
    if compressed {
        assert!(allocated.bytes_max <= OPENED_BYTES_MAX, "{allocated:?}");
    } else {
        assert!(allocated.bytes_total <= length + CLOSED_EXTRA_BYTES, "{length} bytes: {allocated:?}");
    }
    if let Some(checked) = checked {
        kafka_accepts(&checked, &rules, limits);
    }
}

fn rules(flags: u8) -> BatchRules {
    let timestamps = if flags & LOG_APPEND_TIME != 0 {
        TimestampRule::LogAppendTime
    } else if flags & NARROW != 0 {
        TimestampRule::CreateTime { before_max_ms: WINDOW_MS, after_max_ms: WINDOW_MS }
    } else {
        TimestampRule::CreateTime { before_max_ms: i64::MAX, after_max_ms: i64::MAX }
    };
    BatchRules {
        message_bytes_max: BYTES_MAX,
        keys_required: flags & KEYS_REQUIRED != 0,
        timestamps,
        codec: (flags & UNCOMPRESSED != 0).then_some(Compression::None),
    }
}

fn limits(flags: u8) -> CheckLimits {
    CheckLimits { zstd_allowed: flags & NO_ZSTD == 0, decompressed_bytes_max: BYTES_MAX }
}

/// Corrects length and checksum of a batch.
pub fn seal(batch: &mut [u8]) {
    if batch.len() < HEADER_LENGTH {
        return;
    }
    let length = i32::try_from(batch.len() - LENGTH_PREFIX).unwrap_or(i32::MAX);
    batch[8..LENGTH_PREFIX].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[CRC_START..]);
    batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
}

fn is_compressed(batch: &[u8]) -> bool {
    let header = batch.first_chunk().map(BatchHeader::decode);
    header.is_some_and(|header| header.attributes.compression() != Some(Compression::None))
}

/// The rules of Kafka's brokers, one by one, for what has been accepted.
fn kafka_accepts(checked: &CheckedBatch, rules: &BatchRules, limits: CheckLimits) {
    let CheckedBatch { header, bytes } = checked;
    assert_eq!(bytes.first_chunk().map(BatchHeader::decode), Some(*header), "the header is that of the bytes");
    assert_eq!(crc32c(&bytes[CRC_START..]), header.crc, "{header:?}");
    assert_eq!(header.length(), Some(bytes.len()), "{header:?}");
    assert!(bytes.len() <= rules.message_bytes_max, "{header:?}");
    assert_eq!((header.magic, header.base_offset.0), (2, 0), "{header:?}");
    assert!(0 < header.records_count && header.records_count - 1 == header.last_offset_delta, "{header:?}");
    assert!(!header.attributes.is_control() && !header.attributes.has_delete_horizon(), "{header:?}");
    let numbered = 0 <= header.producer_epoch.0 && 0 <= header.base_sequence;
    assert!(header.producer_id.0 == -1 || (0 <= header.producer_id.0 && numbered), "{header:?}");
    let append_time = rules.timestamps == TimestampRule::LogAppendTime;
    assert_eq!(header.attributes.is_log_append_time(), append_time, "{header:?}");
    match header.attributes.compression() {
        Some(Compression::None) => records(checked, rules),
        Some(codec) => assert!(limits.zstd_allowed || codec != Compression::Zstd, "{header:?}"),
        None => panic!("no such codec: {header:?}"),
    }
}

/// kafka-protocol reads the same records from an uncompressed batch.
fn records(checked: &CheckedBatch, rules: &BatchRules) {
    let CheckedBatch { header, bytes } = checked;
    let opened = records::walk(bytes, BYTES_MAX).unwrap();
    let ours: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    let moderate = |timestamp: Timestamp| timestamp.0.unsigned_abs() < TIMESTAMP_MAX.unsigned_abs();
    if !moderate(header.base_timestamp) || !ours.iter().all(|record| moderate(record.timestamp)) {
        return;
    }
    let theirs: Vec<Record> = match RecordBatchDecoder::decode(&mut bytes.clone()) {
        Ok(set) => set.records,
        Err(error) if error.is::<std::str::Utf8Error>() => return,
        Err(error) => panic!("kafka-protocol refuses what was accepted: {error:#}"),
    };
    assert_eq!(i32::try_from(theirs.len()), Ok(header.records_count), "{header:?}");
    let append_time = rules.timestamps == TimestampRule::LogAppendTime;
    for ((offset, theirs), ours) in (0..).zip(&theirs).zip(&ours) {
        // kafka-protocol leaves it to the reader which timestamp a record has.
        let timestamp = if append_time { NOW.0 } else { theirs.timestamp };
        assert_eq!((theirs.offset, timestamp), (offset, ours.timestamp.0), "{theirs:?}");
        assert_eq!((theirs.key.as_deref(), theirs.value.as_deref()), (ours.key, ours.value));
        assert!(!rules.keys_required || theirs.key.is_some(), "{theirs:?}");
        if let TimestampRule::CreateTime { before_max_ms, after_max_ms } = rules.timestamps {
            let (early, late) = (NOW.0.saturating_sub(theirs.timestamp), theirs.timestamp.saturating_sub(NOW.0));
            let within = early <= before_max_ms && late <= after_max_ms;
            assert!(theirs.timestamp == -1 || within, "{theirs:?}");
        }
    }
    let highest = theirs.iter().map(|record| record.timestamp).fold(Timestamp::NONE.0, i64::max);
    let expected = if append_time { NOW.0 } else { highest };
    assert_eq!(header.max_timestamp.0, expected, "{header:?}");
}
