//! Uncompressed batches that the broker itself writes: metadata records, coordinator records and control records.

use crate::batch::{Attributes, BatchHeader, HEADER_LENGTH, LENGTH_PREFIX, MAGIC};
use crate::produce::CheckedBatch;
use crate::records::varint::{put_varint, varint_length};
use crate::records::{clamped, field_length, put_field};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Collects records with one timestamp. Base offset and leader epoch are left to the append, as for a produced batch.
#[derive(Debug)]
pub struct BatchBuilder {
    timestamp: Timestamp,
    attributes: Attributes,
    count: i32,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("a batch needs at least one record")]
    Empty,
    #[error("{bytes} bytes do not fit one batch: its length is a 32-bit number")]
    TooLarge { bytes: usize },
}

impl BatchBuilder {
    pub fn new(timestamp: Timestamp) -> Self {
        Self { timestamp, attributes: Attributes(0), count: 0, bytes: vec![0; HEADER_LENGTH] }
    }

    /// Marks the batch as one of control records: see [`crate::metadata_records::control`].
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes = self.attributes.with_control();
        self
    }

    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let fixed = varint_length(self.count).saturating_add(3); // attributes, timestamp delta and header count
        let length = fixed.saturating_add(field_length(key)).saturating_add(field_length(value));
        put_varint(&mut self.bytes, clamped(length));
        self.bytes.extend_from_slice(&[0, 0]);
        put_varint(&mut self.bytes, self.count);
        put_field(&mut self.bytes, key);
        put_field(&mut self.bytes, value);
        self.bytes.push(0);
        self.count = self.count.saturating_add(1);
    }

    /// Bytes of the batch so far, its header included.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn build(self) -> Result<CheckedBatch, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        let bytes = self.bytes.len();
        let batch_length =
            i32::try_from(bytes.saturating_sub(LENGTH_PREFIX)).map_err(|_| BuildError::TooLarge { bytes })?;
        let header = BatchHeader {
            base_offset: Offset(0),
            batch_length,
            leader_epoch: LeaderEpoch(-1),
            magic: MAGIC,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta: self.count.saturating_sub(1),
            base_timestamp: self.timestamp,
            max_timestamp: self.timestamp,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: -1,
            records_count: self.count,
        };
        Ok(CheckedBatch::seal(header, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records;

    #[test]
    fn a_control_batch_lies_byte_for_byte_as_kafka_writes_it() {
        let mut builder = BatchBuilder::new(Timestamp(5)).control();
        builder.push(Some(&[0, 0, 0, 2]), Some(b"hi"));
        builder.push(None, None);
        let batch = builder.build().unwrap();
        assert_eq!(batch.header.attributes, Attributes(0x20));
        assert_eq!(batch.header.max_timestamp, Timestamp(5));
        let records = [
            24, 0, 0, 0, 8, 0, 0, 0, 2, 4, b'h', b'i', 0, // length 12, delta 0, key of 4, value of 2
            12, 0, 0, 2, 1, 1, 0, // length 6, delta 1, both null
        ];
        assert_eq!(batch.bytes[HEADER_LENGTH..], records);
        assert_eq!(BatchHeader::decode(batch.bytes.first_chunk().unwrap()), batch.header);
        assert_eq!(batch.header.length(), Some(batch.bytes.len()));
        assert_eq!(batch.header.crc, crate::batch::crc32c(&batch.bytes[21..]));
    }

    #[test]
    fn refuses_to_build_nothing() {
        assert_eq!(BatchBuilder::new(Timestamp(0)).build().unwrap_err(), BuildError::Empty);
    }

    type Field = Option<Vec<u8>>;

    proptest! {
        #[test]
        fn what_was_pushed_is_read_back(pushed in prop::collection::vec(any::<(Field, Field)>(), 1..200)) {
            let mut builder = BatchBuilder::new(Timestamp(1));
            for (key, value) in &pushed {
                builder.push(key.as_deref(), value.as_deref());
            }
            let length = builder.length();
            let batch = builder.build().unwrap();
            prop_assert_eq!(batch.bytes.len(), length);
            let records = records::walk(&batch.bytes, 0).unwrap();
            let read: Vec<_> = records.iter().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), pushed.len());
            for (index, (record, (key, value))) in read.iter().zip(&pushed).enumerate() {
                prop_assert_eq!(usize::try_from(record.offset_delta).unwrap(), index);
                prop_assert_eq!(record.timestamp, Timestamp(1));
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, value.as_deref());
            }
        }
    }
}
