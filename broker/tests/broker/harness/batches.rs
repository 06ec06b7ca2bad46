//! Batches that no honest client sends, and compressed ones.

use std::io::Write as _;

use bytes::Bytes;
use protocol::batch::{Attributes, BatchHeader, CRC_START, Compression, HEADER_LENGTH, crc32c};
use protocol::types::{ProducerEpoch, ProducerId};

pub(crate) const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The batch with its header changed, and the checksum corrected.
pub(crate) fn changed(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::decode(batch.first_chunk::<HEADER_LENGTH>().unwrap());
    change(&mut header);
    let mut bytes = [&header.encode(), &batch[HEADER_LENGTH..]].concat();
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    bytes.into()
}

/// The batch as sent by an idempotent producer.
pub(crate) fn produced(batch: &[u8], id: i64, epoch: i16, sequence: i32) -> Bytes {
    changed(batch, |header| {
        (header.producer_id, header.producer_epoch) = (ProducerId(id), ProducerEpoch(epoch));
        header.base_sequence = sequence;
    })
}

/// The header of `batch`, with these bytes as its records.
pub(crate) fn with_body(batch: &[u8], codec: Compression, body: &[u8]) -> Bytes {
    let bytes = [&batch[..HEADER_LENGTH], body].concat();
    changed(&bytes, |header| {
        header.batch_length = i32::try_from(bytes.len() - 12).unwrap();
        header.attributes = Attributes(header.attributes.0 & !7 | codec as i16);
    })
}

pub(crate) fn compressed(batch: &[u8], codec: Compression) -> Bytes {
    with_body(batch, codec, &compress(codec, &batch[HEADER_LENGTH..]))
}

/// Some `mebibytes` of zeros in far fewer bytes.
pub(crate) fn bomb(codec: Compression, mebibytes: usize) -> Vec<u8> {
    match codec {
        // Codecs whose streams may be concatenated.
        Compression::Gzip | Compression::Zstd => compress(codec, &vec![0; 1 << 20]).repeat(mebibytes),
        _ => compress(codec, &vec![0; mebibytes << 20]),
    }
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
