//! `OFFSET.snapshot`: the producers as of the records before `OFFSET`, big-endian:
//!
//! ```text
//! i16 version = 1, u32 CRC-32C of what follows, i32 count, per batch 46 bytes:
//! i64 producerId, i16 epoch, i32 lastSequence, i64 lastOffset, i32 offsetDelta, i64 timestamp,
//! i32 coordinatorEpoch, i64 currentTxnFirstOffset (−1: none)
//! ```
//!
//! Kafka keeps the last batch of each producer, and then refuses a retry of an earlier one. Here all remembered
//! batches are written, oldest first: of several entries of a producer Kafka takes the last, so it finds what it
//! would have written.
//!
//! A snapshot is written after the log and its indexes up to `OFFSET` were synced, or together with that, and is used
//! only at or below the recovery point: so recovery may begin there.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use protocol::batch::crc32c;
use protocol::types::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::disk::{Disk, OpenMode, length_u64, read_file, remove_if_present, write_all_at};
use crate::files::{FileKind, segment_path};
use crate::log::is_shortage;
use crate::producers::{NO_SEQUENCE, ProducedBatch, Producer, Producers};

const VERSION: [u8; 2] = 1_i16.to_be_bytes();
const HEAD_LENGTH: usize = 10;
const CRC_END: usize = 6;
const ENTRY_LENGTH: usize = 46;
/// Longest snapshot that is written or read: a million producers.
const LENGTH_MAX: u64 = 256 << 20;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{0} bytes are too few for a snapshot")]
    Length(usize),
    #[error("more than {LENGTH_MAX} bytes are not read")]
    TooLong,
    #[error("unknown version")]
    Version,
    #[error("its checksum is wrong")]
    Checksum,
}

pub(crate) fn path(directory: &Path, offset: Offset) -> PathBuf {
    segment_path(directory, offset, FileKind::Snapshot)
}

/// Not durable before the directory is synced. `false`: something ran out, or it would be too long to be read, and
/// there is none.
pub(crate) fn write(disk: &dyn Disk, directory: &Path, offset: Offset, bytes: &[u8]) -> io::Result<bool> {
    let path = path(directory, offset);
    let written = if length_u64(bytes.len()) <= LENGTH_MAX {
        write_file(disk, &path, bytes)
    } else {
        Err(io::ErrorKind::StorageFull.into())
    };
    match written {
        Ok(()) => Ok(true),
        Err(error) if is_shortage(&error) => {
            tracing::warn!(path = %path.display(), bytes = bytes.len(), %error, "producer snapshot not written");
            remove_if_present(disk, &path)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create)?;
    file.set_length(0)?;
    write_all_at(&*file, bytes, &[], 0)?;
    file.sync_data()
}

/// The inner error: the file is not a valid snapshot.
pub(crate) fn read(disk: &dyn Disk, directory: &Path, offset: Offset) -> io::Result<Result<Producers, SnapshotError>> {
    match read_file(disk, &path(directory, offset), LENGTH_MAX) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(SnapshotError::TooLong)),
        Err(error) => Err(error),
    }
}

pub(crate) fn encode(producers: &Producers) -> Vec<u8> {
    let entries = producers.iter().map(|(_, producer)| producer.batches.len().max(1)).sum::<usize>();
    let count = i32::try_from(entries).unwrap_or(i32::MAX);
    let mut body = Vec::with_capacity(entries.saturating_mul(ENTRY_LENGTH).saturating_add(HEAD_LENGTH));
    body.extend_from_slice(&VERSION);
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&count.to_be_bytes());
    for (producer_id, producer) in producers.iter() {
        put_producer(&mut body, producer_id, producer);
    }
    let crc = crc32c(body.get(CRC_END..).unwrap_or_default());
    if let Some(place) = body.get_mut(VERSION.len()..CRC_END) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    body
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Producers, SnapshotError> {
    let wrong_length = || SnapshotError::Length(bytes.len());
    let mut rest = bytes;
    if take(&mut rest).ok_or_else(wrong_length)? != VERSION {
        return Err(SnapshotError::Version);
    }
    let crc = u32::from_be_bytes(take(&mut rest).ok_or_else(wrong_length)?);
    if crc32c(rest) != crc {
        return Err(SnapshotError::Checksum);
    }
    let count = i32::from_be_bytes(take(&mut rest).ok_or_else(wrong_length)?);
    let (entries, trailing) = rest.as_chunks::<ENTRY_LENGTH>();
    if !trailing.is_empty() || usize::try_from(count) != Ok(entries.len()) {
        return Err(wrong_length());
    }
    let mut producers = Producers::default();
    for entry in entries {
        let (producer_id, producer) = take_entry(entry).ok_or_else(wrong_length)?;
        producers.restore(producer_id, producer);
    }
    Ok(producers)
}

fn put_producer(out: &mut Vec<u8>, producer_id: ProducerId, producer: &Producer) {
    let none = ProducedBatch {
        last_sequence: NO_SEQUENCE,
        last_offset: Offset(-1),
        offset_delta: 0,
        timestamp: producer.last_timestamp,
    };
    let earlier = producer.batches.len().saturating_sub(1);
    for batch in producer.batches.iter().take(earlier) {
        put_entry(out, producer_id, producer, batch);
    }
    let last = producer.batches.back().unwrap_or(&none);
    put_entry(out, producer_id, producer, &ProducedBatch { timestamp: producer.last_timestamp, ..*last });
}

fn put_entry(out: &mut Vec<u8>, producer_id: ProducerId, producer: &Producer, batch: &ProducedBatch) {
    out.extend_from_slice(&producer_id.0.to_be_bytes());
    out.extend_from_slice(&producer.epoch.0.to_be_bytes());
    out.extend_from_slice(&batch.last_sequence.to_be_bytes());
    out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
    out.extend_from_slice(&batch.offset_delta.to_be_bytes());
    out.extend_from_slice(&batch.timestamp.0.to_be_bytes());
    out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    out.extend_from_slice(&producer.transaction_first_offset.unwrap_or(Offset(-1)).0.to_be_bytes());
}

fn take_entry(entry: &[u8; ENTRY_LENGTH]) -> Option<(ProducerId, Producer)> {
    let mut rest = entry.as_slice();
    let producer_id = ProducerId(i64::from_be_bytes(take(&mut rest)?));
    let epoch = ProducerEpoch(i16::from_be_bytes(take(&mut rest)?));
    let last_sequence = i32::from_be_bytes(take(&mut rest)?);
    let last_offset = Offset(i64::from_be_bytes(take(&mut rest)?));
    let offset_delta = i32::from_be_bytes(take(&mut rest)?);
    let timestamp = Timestamp(i64::from_be_bytes(take(&mut rest)?));
    let coordinator_epoch = i32::from_be_bytes(take(&mut rest)?);
    let transaction = Offset(i64::from_be_bytes(take(&mut rest)?));
    let batch = ProducedBatch { last_sequence, last_offset, offset_delta, timestamp };
    let batches: VecDeque<_> = (0 <= last_offset.0).then_some(batch).into_iter().collect();
    let transaction_first_offset = (0 <= transaction.0).then_some(transaction);
    let producer = Producer { epoch, batches, last_timestamp: timestamp, coordinator_epoch, transaction_first_offset };
    Some((producer_id, producer))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogConfig;
    use crate::testing::{Bench, DIRECTORY};

    fn one_producer() -> Producers {
        let mut producers = Producers::default();
        let producer = Producer {
            epoch: ProducerEpoch(3),
            batches: [batch(9)].into(),
            last_timestamp: Timestamp(9),
            coordinator_epoch: -1,
            transaction_first_offset: None,
        };
        producers.restore(ProducerId(7), producer);
        producers
    }

    fn batch(last_sequence: i32) -> ProducedBatch {
        let last_offset = Offset(100 + i64::from(last_sequence));
        ProducedBatch { last_sequence, last_offset, offset_delta: 4, timestamp: Timestamp(last_sequence.into()) }
    }

    #[test]
    fn the_last_batches_of_a_producer_follow_each_other() {
        let mut producers = one_producer();
        for sequence in (14..=44).step_by(5) {
            let mut producer = producers.iter().next().unwrap().1.clone();
            (producer.batches, producer.last_timestamp) = ([batch(sequence)].into(), Timestamp(sequence.into()));
            producers.restore(ProducerId(7), producer);
        }
        let (_, known) = producers.iter().next().unwrap();
        assert_eq!(known.batches, [24, 29, 34, 39, 44].map(batch), "the last five");
        let bytes = encode(&producers);
        assert_eq!(decode(&bytes), Ok(producers.clone()));
        let (entries, _) = bytes[HEAD_LENGTH..].as_chunks::<ENTRY_LENGTH>();
        assert_eq!(take_entry(entries.last().unwrap()).unwrap().1.batches, [batch(44)], "what Kafka takes");

        let later = Producer { epoch: ProducerEpoch(4), batches: [batch(4)].into(), ..known.clone() };
        producers.restore(ProducerId(7), later);
        assert_eq!(producers.iter().next().unwrap().1.batches, [batch(4)], "of the epoch before nothing is known");
    }

    #[test]
    fn lies_byte_for_byte_as_kafka_writes_it() {
        let bytes = encode(&one_producer());
        let body = [
            0, 0, 0, 1, // count
            0, 0, 0, 0, 0, 0, 0, 7, 0, 3, // id, epoch
            0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 109, 0, 0, 0, 4, // last sequence, last offset, delta
            0, 0, 0, 0, 0, 0, 0, 9, // timestamp
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, // no coordinator, no transaction
        ];
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(bytes[2..6], crc32c(&body).to_be_bytes());
        assert_eq!(bytes[6..], body);
        assert_eq!(decode(&bytes), Ok(one_producer()));
        assert_eq!(decode(&encode(&Producers::default())), Ok(Producers::default()));
    }

    #[test]
    fn one_too_long_is_not_written_and_not_read() {
        let bench = Bench::new(LogConfig::default());
        bench.create();
        let (disk, directory) = (&*bench.disk, Path::new(DIRECTORY));
        let too_long = vec![0; usize::try_from(LENGTH_MAX).unwrap() + 1];
        assert!(!write(disk, directory, Offset(5), &too_long).unwrap());
        assert_eq!(bench.names_with(".snapshot"), Vec::<String>::new());
        disk.put(&path(directory, Offset(0)), too_long);
        assert_eq!(read(disk, directory, Offset(0)).unwrap(), Err(SnapshotError::TooLong));
        bench.load_clean(Offset(0)).unwrap();
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_taken_for_a_snapshot() {
        let bytes = encode(&one_producer());
        for index in 0..bytes.len() {
            assert!(decode(&bytes[..index]).is_err(), "cut at {index}");
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert!(decode(&flipped).is_err(), "flipped {index}");
        }
    }
}
