//! The seeds of each corpus: what honest clients send, and what a broker writes.

use std::io::Write as _;

use protocol::api;
use protocol::batch::{Attributes, BatchHeader, Compression, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::frame::LENGTH_BYTES;
use protocol::schema::{Request, Versions};
use protocol::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::codecs::each_version;
use crate::random::{self, Random};
use crate::{batch, segment};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let seeds = each_version().map(|(codec, version)| {
        let body = random::body(&mut choices(codec.request, version), codec.request, version);
        let head = [codec.request.key as i16, version].map(|number| u8::try_from(number).expect("keys are small"));
        [&head[..], &body].concat()
    });
    seeds.collect()
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    let served = api::APIS.iter().flat_map(|api| versions(api.versions).map(move |version| (api, version)));
    let frames: Vec<_> = served
        .map(|(api, version)| {
            let body = random::body(&mut choices(api.request, version), api.request, version);
            let tags: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
            let header = [&api.key_number().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7, 0, 1, b'c'], tags];
            frame(&[&header.concat()[..], &body].concat())
        })
        .collect();
    let pipelined = frames.concat();
    frames.into_iter().chain([pipelined]).collect()
}

/// The same for a version, whatever other versions there are.
fn choices(request: &Request, version: i16) -> Random {
    Random(u64::from((request.key as i16).unsigned_abs()) << 16 | u64::from(version.unsigned_abs()))
}

fn versions(versions: Versions) -> impl Iterator<Item = i16> {
    versions.first..=versions.last
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("seeds are small").to_be_bytes();
    const { assert!(LENGTH_BYTES == size_of::<i32>()) };
    [&length[..], bytes].concat()
}

pub(crate) fn batches() -> Vec<Vec<u8>> {
    let rules = [batch::SEAL, batch::SEAL | batch::NARROW | batch::KEYS_REQUIRED, batch::SEAL | batch::LOG_APPEND_TIME];
    let plain = [records(1, Some(b"k")), records(7, None), records(3, Some(b""))];
    let numbered = plain.clone().map(|plain| with_header(&plain, numbered));
    let compressed = plain.iter().flat_map(|plain| CODECS.map(|codec| compress(plain, codec)));
    let all: Vec<_> = compressed.chain(numbered).collect();
    rules.iter().flat_map(|rules| all.iter().map(|batch| [&[*rules][..], batch].concat())).collect()
}

fn numbered(header: &mut BatchHeader) {
    (header.producer_id, header.producer_epoch, header.base_sequence) = (ProducerId(9), ProducerEpoch(1), 40);
}

fn records(count: usize, key: Option<&[u8]>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(batch::NOW);
    for number in 0..count {
        builder.push(key, (number != 1).then_some(b"value".as_slice()));
    }
    builder.build().unwrap().bytes.to_vec()
}

fn with_header(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::decode(batch.first_chunk().unwrap());
    change(&mut header);
    let mut changed = [&header.encode(), &batch[HEADER_LENGTH..]].concat();
    batch::seal(&mut changed);
    changed
}

fn compress(batch: &[u8], codec: Compression) -> Vec<u8> {
    let (header, records) = batch.split_at(HEADER_LENGTH);
    let records = match codec {
        Compression::None => records.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(records).unwrap(),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(records, 1).unwrap(),
    };
    with_header(&[header, &records].concat(), |header| header.attributes = Attributes(codec as i16))
}

/// Segments of one to eight batches, in one or several epochs, whole or torn, with other files beside them.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for batches in 1..=8_u8 {
        let whole = segment(i64::from(batches));
        let torn = &whole[..whole.len() - usize::from(batches)];
        for flags in [0, segment::SEAL] {
            seeds.push([&[flags, 0, 0][..], &whole].concat());
            seeds.push([&[flags, batches, 0][..], &whole].concat());
            seeds.push([&[flags, batches - 1, 0][..], torn].concat());
        }
        let other = [0, 0, 0, batches, 0, 0, 0, 100];
        for file in [0, 2, 4] {
            seeds.push([&[file, 1, 8][..], &other, &whole].concat());
        }
        let epochs = format!("0\n1\n{batches} 0\n");
        let length = u8::try_from(epochs.len()).expect("a short file");
        seeds.push([&[segment::OTHER_FILE, 0, length][..], epochs.as_bytes(), &whole].concat());
    }
    seeds
}

/// Offsets without gaps; a new epoch with every third batch.
fn segment(batches: i64) -> Vec<u8> {
    let mut next = Offset(0);
    let written = (0..batches).flat_map(|number| {
        let records = records(1 + usize::try_from(number % 3).unwrap_or_default(), None);
        with_header(&records, |header| {
            numbered(header);
            header.base_offset = next;
            header.leader_epoch = LeaderEpoch(i32::try_from(number / 3).unwrap_or_default());
            header.base_timestamp = Timestamp(batch::NOW.0 + number);
            header.max_timestamp = header.base_timestamp;
            next = header.next_offset();
        })
    });
    written.collect()
}
