//! The header of a record batch, magic 2 (KIP-98), on the wire and on disk, big-endian:
//!
//! ```text
//!  0 baseOffset i64      12 partitionLeaderEpoch i32   21 attributes i16        43 producerId i64
//!  8 batchLength i32     16 magic i8 = 2               23 lastOffsetDelta i32   51 producerEpoch i16
//!                        17 crc u32 (CRC-32C of 21..)  27 baseTimestamp i64     53 baseSequence i32
//!                                                      35 maxTimestamp i64      57 recordsCount i32, records
//! ```
//!
//! `batchLength` counts the bytes after itself. The leader writes `baseOffset` and `partitionLeaderEpoch`, which the
//! checksum does not cover.

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Bytes before the first record.
pub const HEADER_LENGTH: usize = 61;
/// Bytes that `batchLength` does not count: the base offset and itself.
pub const LENGTH_PREFIX: usize = 12;
/// First byte that the checksum covers.
pub const CRC_START: usize = 21;
pub const MAGIC: i8 = 2;

/// Codec in bits 0–2 of the attributes, by this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Bits 3–6 of the attributes and the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 7;
    const TIMESTAMP_TYPE: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// `None` for the codecs 5 to 7, which Kafka does not define.
    pub fn compression(self) -> Option<Compression> {
        Some(match self.0 & Self::CODEC {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return None,
        })
    }

    #[must_use]
    pub(crate) fn with_compression(self, codec: Compression) -> Self {
        Self(self.0 & !Self::CODEC | codec as i16)
    }

    pub fn is_log_append_time(self) -> bool {
        self.0 & Self::TIMESTAMP_TYPE != 0
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    #[must_use]
    pub fn with_log_append_time(self) -> Self {
        Self(self.0 | Self::TIMESTAMP_TYPE)
    }

    /// Marks the base timestamp as a delete horizon, see [`BatchHeader::delete_horizon`].
    #[must_use]
    pub(crate) fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// Without the attributes of records: their codec, and the delete horizon.
    #[must_use]
    pub(crate) fn of_bare_header(self) -> Self {
        Self(self.0 & !(Self::CODEC | Self::DELETE_HORIZON))
    }

    #[must_use]
    pub fn with_control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }
}

/// The 61 bytes, decoded. They may not make sense: see [`BatchHeader::length`] and the reader's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    pub batch_length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Self {
        let mut rest: &[u8] = bytes;
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(take(&mut rest))),
            batch_length: i32::from_be_bytes(take(&mut rest)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(take(&mut rest))),
            magic: i8::from_be_bytes(take(&mut rest)),
            crc: u32::from_be_bytes(take(&mut rest)),
            attributes: Attributes(i16::from_be_bytes(take(&mut rest))),
            last_offset_delta: i32::from_be_bytes(take(&mut rest)),
            base_timestamp: Timestamp(i64::from_be_bytes(take(&mut rest))),
            max_timestamp: Timestamp(i64::from_be_bytes(take(&mut rest))),
            producer_id: ProducerId(i64::from_be_bytes(take(&mut rest))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(take(&mut rest))),
            base_sequence: i32::from_be_bytes(take(&mut rest)),
            records_count: i32::from_be_bytes(take(&mut rest)),
        };
        debug_assert!(rest.is_empty(), "the fields cover the header");
        header
    }

    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let fields: [&[u8]; 13] = [
            &self.base_offset.0.to_be_bytes(),
            &self.batch_length.to_be_bytes(),
            &self.leader_epoch.0.to_be_bytes(),
            &self.magic.to_be_bytes(),
            &self.crc.to_be_bytes(),
            &self.attributes.0.to_be_bytes(),
            &self.last_offset_delta.to_be_bytes(),
            &self.base_timestamp.0.to_be_bytes(),
            &self.max_timestamp.0.to_be_bytes(),
            &self.producer_id.0.to_be_bytes(),
            &self.producer_epoch.0.to_be_bytes(),
            &self.base_sequence.to_be_bytes(),
            &self.records_count.to_be_bytes(),
        ];
        let mut bytes = [0; HEADER_LENGTH];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Bytes of the whole batch, prefix included. `None` if `batchLength` is impossible.
    pub fn length(&self) -> Option<usize> {
        let length = usize::try_from(self.batch_length).ok()?.checked_add(LENGTH_PREFIX)?;
        (HEADER_LENGTH <= length).then_some(length)
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset.advance(i64::from(self.last_offset_delta))
    }

    pub fn next_offset(&self) -> Offset {
        self.last_offset().advance(1)
    }

    /// When tombstones may be dropped (KIP-534): it replaces the base timestamp.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }
}

/// CRC-32C (Castagnoli, as in iSCSI) of the bytes of a batch from [`CRC_START`] on.
pub fn crc32c(bytes_after_crc: &[u8]) -> u32 {
    // A CRC of 32 bits fits; the library widens all of them to 64.
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes_after_crc)).unwrap_or(u32::MAX)
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((head, tail)) => {
            *rest = tail;
            *head
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_the_round_trip_and_lies_where_kafka_puts_it() {
        let header = BatchHeader {
            base_offset: Offset(0x0102_0304_0506_0708),
            batch_length: 49,
            leader_epoch: LeaderEpoch(7),
            magic: MAGIC,
            crc: 0xDEAD_BEEF,
            attributes: Attributes(4).with_control(),
            last_offset_delta: 9,
            base_timestamp: Timestamp(11),
            max_timestamp: Timestamp(13),
            producer_id: ProducerId(17),
            producer_epoch: ProducerEpoch(19),
            base_sequence: 23,
            records_count: 10,
        };
        let bytes = header.encode();
        assert_eq!(BatchHeader::decode(&bytes), header);
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[16], 2);
        assert_eq!(bytes[17..21], [0xDE, 0xAD, 0xBE, 0xEF]);
        assert_eq!(bytes[21..23], [0, 0b10_0100]);
        assert_eq!(bytes[57..61], [0, 0, 0, 10]);
        assert_eq!(header.length(), Some(61));
        assert_eq!(header.next_offset(), Offset(0x0102_0304_0506_0708 + 10));
        assert_eq!(header.attributes.compression(), Some(Compression::Zstd));
    }

    #[test]
    fn a_length_shorter_than_the_header_is_no_batch() {
        for batch_length in [i32::MIN, -1, 0, 48] {
            let header = BatchHeader { batch_length, ..BatchHeader::decode(&[0; HEADER_LENGTH]) };
            assert_eq!(header.length(), None, "{batch_length}");
        }
    }

    #[test]
    fn checksum_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
