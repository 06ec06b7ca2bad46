//! The records inside a batch of magic 2. After decompression each is
//!
//! ```text
//! varint length, i8 attributes = 0, varlong timestampDelta, varint offsetDelta, field key, field value,
//! varint headerCount, { field headerKey (not null), field headerValue } …
//! field = varint length (−1: null), bytes
//! ```
//!
//! Walking an uncompressed batch allocates nothing. A compressed one is decompressed up to a limit.

pub(crate) mod compress;
pub(crate) mod decompress;
mod rewrite;
pub(crate) mod varint;

use std::borrow::Cow;

use crate::batch::{BatchHeader, Compression, HEADER_LENGTH, MAGIC};
use crate::types::Timestamp;
use varint::{put_varint, take_varint, take_varlong, varint_length};

pub use rewrite::{rewrite, without_records};

/// The records of one batch, decompressed.
#[derive(Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    count: u32,
    body: Cow<'a, [u8]>,
}

/// One record, borrowed from the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub offset_delta: i32,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The header count and the headers, well-formed but not decoded.
    pub headers: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("{length} bytes are too few for a batch: its header has {HEADER_LENGTH}")]
    TooShort { length: usize },
    #[error("the batch says it has {claimed:?} bytes, but {length} are there")]
    WrongLength { claimed: Option<usize>, length: usize },
    #[error("magic {found}, expected {MAGIC}")]
    WrongMagic { found: i8 },
    #[error("attributes {attributes:#06x} name a codec that does not exist")]
    UnknownCodec { attributes: i16 },
    #[error("the batch says it has {count} records")]
    NegativeCount { count: i32 },
    #[error("{codec:?} data cannot be decompressed: {reason}")]
    Undecodable { codec: Compression, reason: String },
    #[error("{codec:?} data decompresses to more than {output_max} bytes")]
    TooLarge { codec: Compression, output_max: usize },
    #[error("record {index}: bad {field}")]
    Malformed { index: u32, field: RecordField },
    #[error("{bytes} bytes follow the last of {count} records")]
    Trailing { count: u32, bytes: usize },
}

/// The part of a record that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordField {
    Length,
    Attributes,
    TimestampDelta,
    OffsetDelta,
    Key,
    Value,
    Headers,
}

impl std::fmt::Display for RecordField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Length => "length",
            Self::Attributes => "attributes",
            Self::TimestampDelta => "timestamp delta",
            Self::OffsetDelta => "offset delta",
            Self::Key => "key",
            Self::Value => "value",
            Self::Headers => "headers",
        })
    }
}

/// Opens exactly one batch. The caller checks the checksum; `output_max` limits the decompressed size.
pub fn walk(batch: &[u8], output_max: usize) -> Result<Records<'_>, RecordError> {
    let length = batch.len();
    let (head, body) = batch.split_first_chunk::<HEADER_LENGTH>().ok_or(RecordError::TooShort { length })?;
    let header = BatchHeader::decode(head);
    if header.magic != MAGIC {
        return Err(RecordError::WrongMagic { found: header.magic });
    }
    let claimed = header.length();
    if claimed != Some(length) {
        return Err(RecordError::WrongLength { claimed, length });
    }
    open(header, body, output_max)
}

/// As [`walk`], for a batch whose header has been decoded and checked.
pub(crate) fn open(header: BatchHeader, body: &[u8], output_max: usize) -> Result<Records<'_>, RecordError> {
    let count =
        u32::try_from(header.records_count).map_err(|_| RecordError::NegativeCount { count: header.records_count })?;
    let unknown = RecordError::UnknownCodec { attributes: header.attributes.0 };
    let body = match header.attributes.compression().ok_or(unknown)? {
        Compression::None => Cow::Borrowed(body),
        // Compaction leaves bare headers behind: no records, and no compressed stream either.
        _ if body.is_empty() && count == 0 => Cow::Borrowed(body),
        codec => Cow::Owned(decompress::decompress(codec, body, output_max)?),
    };
    Ok(Records { header, count, body })
}

impl Records<'_> {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The encoded records, decompressed.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Ends after the first error. The last item is an error if the count is wrong.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, count: self.count, index: 0, rest: &self.body }
    }
}

impl<'a> IntoIterator for &'a Records<'_> {
    type Item = Result<RecordRef<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

#[derive(Debug)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    count: u32,
    index: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        if index == self.count {
            let bytes = std::mem::take(&mut self.rest).len();
            return (bytes != 0).then_some(Err(RecordError::Trailing { count: self.count, bytes }));
        }
        match take_record(&mut self.rest, self.header) {
            Ok(record) => {
                self.index = index.saturating_add(1);
                Some(Ok(record))
            }
            Err(field) => {
                self.index = self.count;
                self.rest = &[];
                Some(Err(RecordError::Malformed { index, field }))
            }
        }
    }
}

#[inline]
fn take_record<'a>(rest: &mut &'a [u8], header: &BatchHeader) -> Result<RecordRef<'a>, RecordField> {
    let length = take_varint(rest).and_then(|length| usize::try_from(length).ok()).ok_or(RecordField::Length)?;
    let (mut record, tail) = rest.split_at_checked(length).ok_or(RecordField::Length)?;
    *rest = tail;

    let (_attributes, fields) = record.split_first().ok_or(RecordField::Attributes)?;
    record = fields;
    let timestamp_delta = take_varlong(&mut record).ok_or(RecordField::TimestampDelta)?;
    let offset_delta = take_varint(&mut record).ok_or(RecordField::OffsetDelta)?;
    let key = take_field(&mut record, RecordField::Key)?;
    let value = take_field(&mut record, RecordField::Value)?;
    check_headers(record)?;
    let timestamp = if header.attributes.is_log_append_time() {
        header.max_timestamp
    } else {
        Timestamp(header.base_timestamp.0.saturating_add(timestamp_delta))
    };
    Ok(RecordRef { offset_delta, timestamp, key, value, headers: record })
}

/// A nullable field.
#[inline]
fn take_field<'a>(rest: &mut &'a [u8], name: RecordField) -> Result<Option<&'a [u8]>, RecordField> {
    let length = take_varint(rest).ok_or(name)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| name)?;
    let (field, tail) = rest.split_at_checked(length).ok_or(name)?;
    *rest = tail;
    Ok(Some(field))
}

pub(crate) fn field_length(field: Option<&[u8]>) -> usize {
    let length = field.map_or(0, <[u8]>::len);
    length.saturating_add(varint_length(field.map_or(-1, |_| clamped(length))))
}

pub(crate) fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    put_varint(out, field.map_or(-1, |bytes| clamped(bytes.len())));
    out.extend_from_slice(field.unwrap_or_default());
}

/// A length that does not fit makes the whole batch too large, which is refused when it is sealed.
pub(crate) fn clamped(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The headers must fill `rest` exactly.
#[inline]
fn check_headers(mut rest: &[u8]) -> Result<(), RecordField> {
    let name = RecordField::Headers;
    let count = take_varint(&mut rest).and_then(|count| u32::try_from(count).ok()).ok_or(name)?;
    for _ in 0..count {
        take_field(&mut rest, name)?.ok_or(name)?;
        take_field(&mut rest, name)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(name) }
}

#[cfg(test)]
#[path = "records_test.rs"]
pub(crate) mod tests;
