use super::*;
use crate::batch::{Attributes, CRC_START, crc32c};
use crate::records::tests::with_body;
use crate::records::{self, Records};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

const OUTPUT_MAX: usize = 1 << 20;
const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Four records, two headers of the same name on the second, no value in the last. Timestamps 1000, 900, 1200, 1100.
fn sample(codec: Compression) -> CheckedBatch {
    let header = BatchHeader {
        base_offset: Offset(500),
        leader_epoch: LeaderEpoch(7),
        last_offset_delta: 3,
        base_timestamp: Timestamp(1000),
        max_timestamp: Timestamp(1200),
        producer_id: ProducerId(11),
        producer_epoch: ProducerEpoch(2),
        base_sequence: 40,
        records_count: 4,
        attributes: Attributes(0),
        magic: 2,
        crc: 0,
        batch_length: 0,
    };
    let large = vec![b'x'; 40_000];
    let record = |offset_delta, timestamp, key, value, headers| RecordRef {
        offset_delta,
        timestamp: Timestamp(timestamp),
        key: Some(key),
        value,
        headers,
    };
    let records = [
        record(0, 1000, &b"a"[..], Some(&large[..]), &[0][..]),
        record(1, 900, b"b", Some(b"2"), &[4, 2, b'k', 2, b'1', 2, b'k', 1]),
        record(2, 1200, b"c", Some(b""), &[0]),
        record(3, 1100, b"d", None, &[0]),
    ];
    let plain = rewrite(&header, &records, None).unwrap();
    let body = compress(codec, &plain.bytes[HEADER_LENGTH..]).unwrap();
    let bytes = with_body(&plain.bytes, codec, &body);
    CheckedBatch { header: BatchHeader::decode(bytes.first_chunk().unwrap()), bytes: bytes.into() }
}

fn opened(batch: &CheckedBatch) -> Records<'_> {
    assert_eq!(crc32c(&batch.bytes[CRC_START..]), batch.header.crc);
    assert_eq!(BatchHeader::decode(batch.bytes.first_chunk().unwrap()), batch.header);
    records::walk(&batch.bytes, OUTPUT_MAX).unwrap()
}

#[test]
fn what_stays_is_as_it_was_in_every_codec() {
    for codec in CODECS {
        let batch = sample(codec);
        let records = opened(&batch);
        let all: Vec<_> = records.iter().map(Result::unwrap).collect();
        let kept = [all[1], all[3]];
        let left = rewrite(records.header(), &kept, None).unwrap();
        let changed = BatchHeader {
            batch_length: left.header.batch_length,
            crc: left.header.crc,
            max_timestamp: Timestamp(1100),
            records_count: 2,
            ..batch.header
        };
        assert_eq!(left.header, changed, "{codec:?}");
        let reread: Vec<_> =
            opened(&left).iter().map(Result::unwrap).map(|record| (record.offset_delta, record.timestamp)).collect();
        assert_eq!(reread, [(1, Timestamp(900)), (3, Timestamp(1100))], "{codec:?}");
        let left = opened(&left).iter().map(Result::unwrap).eq(kept);
        assert!(left, "{codec:?}: keys, values and headers");
    }
}

#[test]
fn a_delete_horizon_takes_the_place_of_the_base_timestamp_and_stays() {
    let batch = sample(Compression::None);
    let records = opened(&batch);
    let all: Vec<_> = records.iter().map(Result::unwrap).collect();
    let marked = rewrite(records.header(), &all, Some(Timestamp(5_000_000_000))).unwrap();
    assert!(marked.header.attributes.has_delete_horizon());
    assert_eq!(marked.header.delete_horizon(), Some(Timestamp(5_000_000_000)));
    let reopened = opened(&marked);
    let reread: Vec<_> = reopened.iter().map(Result::unwrap).collect();
    assert_eq!(reread, all);
    let again = rewrite(&marked.header, &reread[1..2], None).unwrap();
    assert_eq!(again.header.delete_horizon(), Some(Timestamp(5_000_000_000)));
    assert_eq!(opened(&again).iter().next().unwrap().unwrap(), all[1]);
}

#[test]
fn records_that_the_broker_stamped_keep_its_timestamp() {
    let batch = sample(Compression::None);
    let stamped = BatchHeader { attributes: batch.header.attributes.with_log_append_time(), ..batch.header };
    let mut bytes = batch.bytes.to_vec();
    bytes[..HEADER_LENGTH].copy_from_slice(&stamped.encode());
    let stamped = CheckedBatch::seal(stamped, bytes);
    let records = opened(&stamped);
    let first: Vec<_> = records.iter().take(1).map(Result::unwrap).collect();
    assert_eq!(first[0].timestamp, Timestamp(1200));
    let left = rewrite(records.header(), &first, Some(Timestamp(9000))).unwrap();
    assert_eq!(left.header.max_timestamp, Timestamp(1200));
    assert_eq!(opened(&left).iter().next().unwrap().unwrap().timestamp, Timestamp(1200));
}

#[test]
fn a_batch_without_records_is_a_bare_header() {
    let batch = sample(Compression::Zstd);
    let records = opened(&batch);
    let marked = rewrite(records.header(), &[], Some(Timestamp(77))).unwrap();
    let bare = without_records(&marked.header).unwrap();
    assert_eq!(bare.bytes.len(), HEADER_LENGTH);
    let expected = BatchHeader {
        batch_length: 49,
        crc: bare.header.crc,
        attributes: Attributes(0),
        base_timestamp: Timestamp::NONE,
        records_count: 0,
        ..batch.header
    };
    assert_eq!(bare.header, expected);
    assert_eq!(opened(&bare).iter().count(), 0);
}
