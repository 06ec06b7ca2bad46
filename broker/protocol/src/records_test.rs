#![expect(clippy::arithmetic_side_effects, reason = "a test may panic on overflow")]

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::batch::Attributes;
use crate::batch_builder::BatchBuilder;
use crate::produce::CheckedBatch;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn batch(values: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Timestamp(1000));
    for value in values {
        builder.push(Some(b"k"), Some(value));
    }
    builder.build().unwrap().bytes.to_vec()
}

pub(crate) fn compress(codec: Compression, plain: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => plain.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(plain, 1).unwrap(),
    }
}

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        let block = compress(Compression::Snappy, block);
        framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
        framed.extend(block);
    }
    framed
}

/// The batch with its records replaced, and header and checksum adapted.
pub(crate) fn with_body(batch: &[u8], codec: Compression, body: &[u8]) -> Vec<u8> {
    let header = BatchHeader::decode(batch.first_chunk().unwrap());
    let length = i32::try_from(HEADER_LENGTH + body.len()).unwrap();
    let attributes = Attributes(header.attributes.0 & !7 | codec as i16);
    let mut bytes = vec![0; HEADER_LENGTH];
    bytes.extend(body);
    CheckedBatch::seal(BatchHeader { batch_length: length - 12, attributes, ..header }, bytes).bytes.to_vec()
}

fn values(batch: &[u8], output_max: usize) -> Result<Vec<Vec<u8>>, RecordError> {
    let records = walk(batch, output_max)?;
    records.iter().map(|record| Ok(record?.value.unwrap().to_vec())).collect()
}

#[test]
fn every_codec_is_read_up_to_the_limit_and_not_beyond() {
    let value = vec![7; 100_000];
    let plain = batch(&[&value, b"second"]);
    let body = &plain[HEADER_LENGTH..];
    for codec in CODECS.into_iter().skip(1) {
        let compressed = with_body(&plain, codec, &compress(codec, body));
        assert!(compressed.len() < 10_000, "{codec:?}");
        assert_eq!(values(&compressed, body.len()).unwrap(), [value.clone(), b"second".to_vec()], "{codec:?}");
        let output_max = body.len() - 1;
        assert_eq!(values(&compressed, output_max), Err(RecordError::TooLarge { codec, output_max }));
    }
}

#[test]
fn javas_snappy_framing_is_read_block_by_block() {
    let plain = batch(&[b"one", b"two"]);
    let body = &plain[HEADER_LENGTH..];
    let framed = with_body(&plain, Compression::Snappy, &xerial(&[&body[..9], &body[9..]]));
    assert_eq!(values(&framed, body.len()).unwrap(), [b"one", b"two"]);
    assert!(matches!(values(&framed, body.len() - 1), Err(RecordError::TooLarge { .. })));
}

#[test]
fn announced_sizes_are_not_believed() {
    // A snappy block that promises 4 GiB, bare and framed, and a zstd window of 2 GiB.
    let promise = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0];
    let mut framed = xerial(&[]);
    framed.extend([0, 0, 0, 6]);
    framed.extend(promise);
    let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8, 0x01, 0x00, 0x00];
    let legacy = [0x02, 0x21, 0x4C, 0x18, 0x01, 0x00, 0x00, 0x00, 0x00];
    let small_promise = [0x80, 0x80, 0x20];
    let plain = batch(&[b"v"]);
    for (codec, body) in [
        (Compression::Snappy, &promise[..]),
        (Compression::Snappy, &small_promise),
        (Compression::Snappy, &framed),
        (Compression::Zstd, &window),
        (Compression::Lz4, &legacy),
    ] {
        let hostile = with_body(&plain, codec, body);
        let refused = values(&hostile, 1 << 20);
        assert!(matches!(refused, Err(RecordError::TooLarge { .. } | RecordError::Undecodable { .. })), "{refused:?}");
    }
}

#[test]
fn a_malformed_record_is_named() {
    let plain = batch(&[b"v"]);
    let table: [(&[u8], RecordError); 10] = [
        (&[], malformed(RecordField::Length)),
        (&[1], malformed(RecordField::Length)),
        (&[100, 0, 0, 0, 1, 1, 0], malformed(RecordField::Length)),
        (&[0], malformed(RecordField::Attributes)),
        (&[10, 0, 0, 0, 8, b'x'], malformed(RecordField::Key)),
        (&[10, 0, 0, 0, 3, 1], malformed(RecordField::Key)),
        (&[12, 0, 0, 0, 1, 1, 2], malformed(RecordField::Headers)),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], malformed(RecordField::Headers)),
        (&[14, 0, 0, 0, 1, 1, 0, 9], malformed(RecordField::Headers)),
        (&[12, 0, 0, 0, 1, 1, 0, 9], RecordError::Trailing { count: 1, bytes: 1 }),
    ];
    for (body, error) in table {
        assert_eq!(values_or_null(&with_body(&plain, Compression::None, body)), Err(error), "{body:?}");
    }
    assert_eq!(values_or_null(&with_body(&plain, Compression::None, &[12, 0, 0, 0, 1, 1, 0])), Ok(1));
}

fn malformed(field: RecordField) -> RecordError {
    RecordError::Malformed { index: 0, field }
}

fn values_or_null(batch: &[u8]) -> Result<usize, RecordError> {
    let records = walk(batch, 0)?;
    let mut count = 0;
    for record in &records {
        record?;
        count += 1;
    }
    Ok(count)
}

#[test]
fn log_append_time_overrides_the_records_own() {
    let plain = batch(&[b"v"]);
    let header = BatchHeader::decode(plain.first_chunk().unwrap());
    let stamped =
        BatchHeader { attributes: header.attributes.with_log_append_time(), max_timestamp: Timestamp(77), ..header };
    let stamped = CheckedBatch::seal(stamped, plain).bytes;
    assert_eq!(walk(&stamped, 0).unwrap().iter().next().unwrap().unwrap().timestamp, Timestamp(77));
}

#[test]
fn a_batch_that_the_cleaner_emptied_has_no_records() {
    let plain = batch(&[b"v"]);
    for codec in CODECS {
        let mut emptied = with_body(&plain, codec, &[]);
        emptied[57..61].fill(0);
        assert_eq!(values(&emptied, 0), Ok(vec![]));
    }
}

#[test]
fn the_length_must_be_that_of_the_batch() {
    let plain = batch(&[b"v"]);
    let longer = [&plain[..], &[0]].concat();
    assert!(matches!(walk(&longer, 0), Err(RecordError::WrongLength { .. })));
    assert!(matches!(walk(&plain[..plain.len() - 1], 0), Err(RecordError::WrongLength { .. })));
    assert!(matches!(walk(&plain[..60], 0), Err(RecordError::TooShort { length: 60 })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_walker_panic_or_outgrow_its_limit(
        codec in 0..5_usize, count in 0..i32::MAX, body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut hostile = with_body(&batch(&[b"v"]), CODECS[codec], &body);
        hostile[57..61].copy_from_slice(&count.to_be_bytes());
        if let Ok(records) = walk(&hostile, 1000) {
            let bytes: usize = records.iter().filter_map(Result::ok).map(|r| r.value.unwrap_or_default().len()).sum();
            prop_assert!(bytes <= 1000);
        }
    }
}
