use super::*;
use crate::batch_builder::BatchBuilder;
use crate::records::tests::{compress, with_body};

const NOW: Timestamp = Timestamp(1_000_000);
const RULES: BatchRules = BatchRules {
    message_bytes_max: 1000,
    keys_required: false,
    timestamps: TimestampRule::CreateTime { before_max_ms: i64::MAX, after_max_ms: 100 },
    codec: None,
};
const LIMITS: CheckLimits = CheckLimits { zstd_allowed: true, decompressed_bytes_max: 1000 };
const TOO_LATE: &str = "one or more records are refused: \
    record 0: timestamp 1000101 is not within -9223372036853775807 and 1000100; \
    record 1: timestamp 1000101 is not within -9223372036853775807 and 1000100";
const OLD_REFUSED: TimestampRule = TimestampRule::CreateTime { before_max_ms: 100, after_max_ms: 100 };

fn batch(keys: &[Option<&[u8]>], timestamp: Timestamp) -> CheckedBatch {
    let mut builder = BatchBuilder::new(timestamp);
    for key in keys {
        builder.push(*key, Some(b"value"));
    }
    builder.build().unwrap()
}

fn good() -> CheckedBatch {
    batch(&[Some(b"a"), None], NOW)
}

/// The valid batch with another header and a matching checksum.
fn with_header(change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let CheckedBatch { mut header, bytes } = good();
    change(&mut header);
    let mut bytes = bytes.to_vec();
    put_header(&mut bytes, &header);
    header.crc = crc32c(&bytes[CRC_START..]);
    put_header(&mut bytes, &header);
    bytes.into()
}

fn compressed(batch: &CheckedBatch, codec: Compression) -> Bytes {
    with_body(&batch.bytes, codec, &compress(codec, &batch.bytes[HEADER_LENGTH..])).into()
}

#[test]
fn a_good_batch_passes_without_a_copy() {
    let good = good();
    let checked = check(good.bytes.clone(), &RULES, LIMITS, NOW).unwrap();
    assert_eq!(checked, good);
    assert_eq!(checked.bytes.as_ptr(), good.bytes.as_ptr());
}

#[test]
fn refuses_a_header_that_breaks_a_rule() {
    type Change = fn(&mut BatchHeader);
    let table: [(Change, &str); 15] = [
        (|h| h.magic = 1, "message format 1 is no longer supported: only 2 is"),
        (|h| h.magic = 3, "unknown magic 3, expected 2"),
        (|h| h.attributes.0 |= 5, "attributes 0x0005 name a codec that does not exist"),
        (|h| h.attributes.0 |= 1 << 5, "clients must not write control records"),
        (|h| h.attributes.0 |= 1 << 6, "clients must not set a delete horizon"),
        (|h| h.attributes.0 |= 1 << 3, "producers must not use the timestamp type LogAppendTime"),
        (|h| h.base_offset = Offset(1), "base offset 1, a producer must send 0"),
        (|h| h.records_count = 0, "0 records, but the last offset delta is 1"),
        (|h| h.last_offset_delta = i32::MAX, "2 records, but the last offset delta is 2147483647"),
        (|h| (h.records_count, h.last_offset_delta) = (1, 0), "12 bytes follow the last of 1 records"),
        (|h| (h.records_count, h.last_offset_delta) = (3, 2), "record 2: bad length"),
        (|h| h.producer_id = ProducerId(4), "producer id 4 with epoch -1 and sequence -1: none may be negative"),
        (|h| h.producer_id = ProducerId(-2), "producer id -2 with epoch -1 and sequence -1: none may be negative"),
        (|h| h.attributes.0 |= 1 << 4, "producer id -1 with epoch -1 and sequence -1: none may be negative"),
        (|h| h.base_timestamp.0 += 101, TOO_LATE),
    ];
    for (change, message) in table {
        assert_eq!(check(with_header(change), &RULES, LIMITS, NOW).unwrap_err().to_string(), message);
    }
    let sequenced = with_header(|h| {
        (h.producer_id, h.producer_epoch, h.base_sequence) = (ProducerId(4), ProducerEpoch(0), 0);
    });
    assert!(check(sequenced, &RULES, LIMITS, NOW).is_ok());
}

#[test]
fn refuses_bytes_that_are_not_one_intact_batch() {
    let good = good().bytes;
    let longer = Bytes::from([&good[..], &[0]].concat());
    assert!(matches!(check(longer, &RULES, LIMITS, NOW), Err(BatchError::NotOneBatch { .. })));
    assert!(matches!(check(good.slice(..good.len() - 1), &RULES, LIMITS, NOW), Err(BatchError::NotOneBatch { .. })));
    assert!(matches!(check(Bytes::new(), &RULES, LIMITS, NOW), Err(BatchError::TooShort { length: 0 })));
    for position in [21, 40, good.len() - 1] {
        let mut flipped = good.to_vec();
        flipped[position] ^= 0x10;
        assert!(
            matches!(check(flipped.into(), &RULES, LIMITS, NOW), Err(BatchError::WrongChecksum { .. })),
            "{position}"
        );
    }
    let exact = BatchRules { message_bytes_max: good.len(), ..RULES };
    assert!(check(good.clone(), &exact, LIMITS, NOW).is_ok());
    let short = BatchRules { message_bytes_max: good.len() - 1, ..RULES };
    assert!(matches!(check(good, &short, LIMITS, NOW), Err(BatchError::TooLarge { .. })));
}

#[test]
fn offset_deltas_count_from_zero() {
    let good = good();
    let mut body = good.bytes[HEADER_LENGTH..].to_vec();
    body[3] = 2;
    let swapped = with_body(&good.bytes, Compression::None, &body);
    assert_eq!(check(swapped.into(), &RULES, LIMITS, NOW), Err(BatchError::OffsetDelta { index: 0, offset_delta: 1 }));
}

#[test]
fn a_compacted_topic_needs_keys_compressed_or_not() {
    let rules = BatchRules { keys_required: true, ..RULES };
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let refused = vec![RefusedRecord { index: 1, reason: RecordRefusal::NullKey }];
        assert_eq!(
            check(compressed(&good(), codec), &rules, LIMITS, NOW),
            Err(BatchError::Records { refused }),
            "{codec:?}"
        );
        let keyed = compressed(&batch(&[Some(b"a"), Some(b"")], NOW), codec);
        assert!(check(keyed, &rules, LIMITS, NOW).is_ok(), "{codec:?}");
    }
    let narrow = CheckLimits { decompressed_bytes_max: 20, ..LIMITS };
    let refused = check(compressed(&good(), Compression::Zstd), &rules, narrow, NOW);
    assert!(matches!(refused, Err(BatchError::Record(RecordError::TooLarge { output_max: 20, .. }))), "{refused:?}");
}

#[test]
fn a_batch_in_another_codec_than_the_topics_is_made_anew_with_the_same_records() {
    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let good = good();
    for (sent, kept) in CODECS.iter().flat_map(|sent| CODECS.map(|kept| (*sent, kept))) {
        let produced = compressed(&good, sent);
        let rules = BatchRules { codec: Some(kept), ..RULES };
        let checked = check(produced.clone(), &rules, LIMITS, NOW).unwrap();
        assert_eq!(checked.header.attributes, Attributes(kept as i16), "{sent:?} {kept:?}");
        assert_eq!(BatchHeader::decode(checked.bytes.first_chunk().unwrap()), checked.header);
        assert_eq!(crc32c(&checked.bytes[CRC_START..]), checked.header.crc);
        let read = |batch: &[u8]| records::walk(batch, 1000).unwrap().body().to_vec();
        assert_eq!(read(&checked.bytes), good.bytes[HEADER_LENGTH..], "{sent:?} {kept:?}");
        assert_eq!(checked.bytes == produced, sent == kept, "{sent:?} {kept:?}");
    }
    let plain = good.bytes.len();
    let rules = |codec| BatchRules { codec: Some(codec), message_bytes_max: plain, ..RULES };
    let grown = check(good.bytes.clone(), &rules(Compression::Gzip), LIMITS, NOW);
    assert!(matches!(grown, Err(BatchError::TooLarge { length, .. }) if plain < length), "{grown:?}");
    let narrow = CheckLimits { decompressed_bytes_max: 10, ..LIMITS };
    let elsewhere = check(good.bytes, &rules(Compression::Lz4), narrow, NOW);
    assert!(
        matches!(elsewhere, Err(BatchError::Record(RecordError::TooLarge { output_max: 10, .. }))),
        "{elsewhere:?}"
    );
}

#[test]
fn every_refused_record_is_named_up_to_a_limit() {
    let rules = BatchRules { keys_required: true, message_bytes_max: 10_000, ..RULES };
    let keys: Vec<Option<&[u8]>> = (0..300).map(|index| (index % 2 == 0).then_some(&b"key"[..])).collect();
    let Err(BatchError::Records { refused }) = check(batch(&keys, NOW).bytes, &rules, LIMITS, NOW) else {
        panic!("refused")
    };
    let indexes: Vec<_> = refused.iter().map(|record| record.index).collect();
    assert_eq!(indexes, (0..100).map(|number| 2 * number + 1).collect::<Vec<_>>());
}

#[test]
fn a_compressed_batch_is_opened_only_for_a_rule() {
    let garbage = Bytes::from(with_body(&good().bytes, Compression::Zstd, b"not zstd"));
    assert!(check(garbage.clone(), &RULES, LIMITS, NOW).is_ok());
    let old_refused = BatchRules { timestamps: OLD_REFUSED, ..RULES };
    assert!(matches!(check(garbage.clone(), &old_refused, LIMITS, NOW), Err(BatchError::Record(_))));
    let before_version_7 = CheckLimits { zstd_allowed: false, ..LIMITS };
    assert_eq!(check(garbage, &RULES, before_version_7, NOW), Err(BatchError::ZstdNotAllowed));
}

#[test]
fn timestamps_outside_the_window_are_refused_even_if_the_header_hides_them() {
    let rules = BatchRules { timestamps: OLD_REFUSED, ..RULES };
    for (offset_ms, accepted) in [(-101, false), (-100, true), (0, true), (100, true), (101, false)] {
        let timestamp = Timestamp(NOW.0 + offset_ms);
        for codec in [Compression::None, Compression::Lz4] {
            let bytes = compressed(&batch(&[None], timestamp), codec);
            assert_eq!(check(bytes, &rules, LIMITS, NOW).is_ok(), accepted, "{offset_ms} {codec:?}");
        }
        let hidden = with_header(|h| h.base_timestamp = timestamp);
        assert_eq!(check(hidden, &rules, LIMITS, NOW).is_ok(), accepted, "{offset_ms} hidden");
    }
    assert!(
        check(batch(&[None], Timestamp::NONE).bytes, &rules, LIMITS, NOW).is_ok(),
        "no timestamp is never out of range"
    );
}

#[test]
fn a_header_that_lies_about_the_highest_timestamp_is_corrected() {
    for lie in [NOW.0 - 5, NOW.0 + 5, -1, i64::MAX] {
        let checked = check(with_header(|h| h.max_timestamp = Timestamp(lie)), &RULES, LIMITS, NOW).unwrap();
        assert_eq!(checked, good(), "{lie}");
    }
}

#[test]
fn log_append_time_is_stamped_into_the_header() {
    let rules = BatchRules { timestamps: TimestampRule::LogAppendTime, ..RULES };
    let later = Timestamp(NOW.0 + 1_000_000);
    for codec in [Compression::None, Compression::Zstd] {
        let checked = check(compressed(&good(), codec), &rules, LIMITS, later).unwrap();
        assert_eq!(checked.header.max_timestamp, later);
        assert!(checked.header.attributes.is_log_append_time());
        assert_eq!(checked.header.crc, crc32c(&checked.bytes[CRC_START..]));
        assert_eq!(BatchHeader::decode(checked.bytes.first_chunk().unwrap()), checked.header);
        let opened = records::walk(&checked.bytes, 1000).unwrap();
        assert!(opened.iter().all(|record| record.unwrap().timestamp == later));
    }
}
