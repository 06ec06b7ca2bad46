//! Rewrites a batch of which compaction keeps only some records. Its identity does not change: offsets, producer,
//! sequence, leader epoch. So there are gaps between its offsets.

use std::io;

use super::compress::compress;
use super::varint::{put_varint, put_varlong, varint_length, varlong_length};
use super::{RecordRef, field_length, put_field};
use crate::batch::{BatchHeader, Compression, HEADER_LENGTH, LENGTH_PREFIX};
use crate::produce::CheckedBatch;
use crate::types::Timestamp;

/// The batch of `header` with these of its records, in its codec. A new `delete_horizon` tells until when its
/// tombstones stay (KIP-534); an existing one is kept.
pub fn rewrite(
    header: &BatchHeader,
    kept: &[RecordRef<'_>],
    delete_horizon: Option<Timestamp>,
) -> io::Result<CheckedBatch> {
    let base_timestamp = delete_horizon.unwrap_or(header.base_timestamp);
    let mut bytes = vec![0; HEADER_LENGTH];
    for record in kept {
        put_record(&mut bytes, record, base_timestamp);
    }
    let codec = header.attributes.compression().unwrap_or(Compression::None);
    if codec != Compression::None {
        let compressed = compress(codec, bytes.get(HEADER_LENGTH..).unwrap_or_default())?;
        bytes.truncate(HEADER_LENGTH);
        bytes.extend(compressed);
    }
    let is_log_append_time = header.attributes.is_log_append_time();
    let highest = kept.iter().map(|record| record.timestamp).max().filter(|_| !is_log_append_time);
    let attributes = header.attributes;
    let changed = BatchHeader {
        attributes: if delete_horizon.is_some() { attributes.with_delete_horizon() } else { attributes },
        base_timestamp,
        max_timestamp: highest.unwrap_or(header.max_timestamp),
        records_count: i32::try_from(kept.len()).map_err(io::Error::other)?,
        ..*header
    };
    seal(changed, bytes)
}

/// The batch of `header` without any records: its offsets and its producer remain.
pub fn without_records(header: &BatchHeader) -> io::Result<CheckedBatch> {
    let bare = BatchHeader {
        attributes: header.attributes.of_bare_header(),
        base_timestamp: Timestamp::NONE,
        records_count: 0,
        ..*header
    };
    seal(bare, vec![0; HEADER_LENGTH])
}

fn seal(header: BatchHeader, bytes: Vec<u8>) -> io::Result<CheckedBatch> {
    let batch_length = i32::try_from(bytes.len().saturating_sub(LENGTH_PREFIX)).map_err(io::Error::other)?;
    Ok(CheckedBatch::seal(BatchHeader { batch_length, ..header }, bytes))
}

fn put_record(out: &mut Vec<u8>, record: &RecordRef<'_>, base_timestamp: Timestamp) {
    let timestamp_delta = record.timestamp.0.saturating_sub(base_timestamp.0);
    let length = varlong_length(timestamp_delta)
        .saturating_add(varint_length(record.offset_delta))
        .saturating_add(field_length(record.key))
        .saturating_add(field_length(record.value))
        .saturating_add(record.headers.len())
        .saturating_add(1); // attributes
    put_varint(out, i32::try_from(length).unwrap_or(i32::MAX));
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, record.offset_delta);
    put_field(out, record.key);
    put_field(out, record.value);
    out.extend_from_slice(record.headers);
}

#[cfg(test)]
#[path = "rewrite_test.rs"]
mod tests;
