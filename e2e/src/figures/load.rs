//! Batches that are sent and read back, each record with its own mark. The checksum of a batch covers everything that
//! the broker must not change, so the checksums read must be those sent.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};
use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

use crate::connection::{Connection, PATIENCE, PRODUCE_VERSION, encode, produce_request};

/// With their lengths these stay below the largest batch that Kafka accepts by default, 1 MiB and 12 bytes.
pub(super) const LARGE: Shape = Shape { record_bytes: 1024, records_per_batch: 1_000, acks: 1, in_flight_max: 4 };
/// One small record in each request.
pub(super) const ONE_RECORD: Shape = Shape { record_bytes: 100, records_per_batch: 1, acks: 1, in_flight_max: 1 };

const FETCH_VERSION: i16 = 11;
const FETCH_BYTES_MAX: i32 = 8 << 20;
const CRC: Range<usize> = 17..CRC_START;
/// Timestamp of every record, so that batches can be built again for comparison. Brokers delete what is older than a
/// week.
pub(super) static TIMESTAMP: LazyLock<Timestamp> = LazyLock::new(|| {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
});

/// The content of a request: one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of the value, at least its mark.
    pub(super) record_bytes: u32,
    pub(super) records_per_batch: u32,
    pub(super) acks: i16,
    /// Requests that wait for their answer.
    pub(super) in_flight_max: usize,
}

/// The checksums of the batches that were acknowledged, in order, and how many records each has.
#[derive(Debug)]
pub(super) struct Sent {
    records_per_batch: u32,
    checksums: Vec<u32>,
}

impl Sent {
    pub(super) fn new(shape: Shape, checksums: Vec<u32>) -> Self {
        Self { records_per_batch: shape.records_per_batch, checksums }
    }
}

/// A Produce request with one batch, marked anew before each sending.
#[derive(Debug)]
pub(super) struct ProduceFrame {
    pub(super) bytes: BytesMut,
    batch_start: usize,
    /// Offsets of the records' values in the batch.
    marks: Vec<usize>,
}

impl ProduceFrame {
    pub(super) fn new(topic: &TopicName, shape: Shape) -> Result<Self> {
        let mut builder = BatchBuilder::new(*TIMESTAMP);
        let mut marks = Vec::new();
        for record in 0..shape.records_per_batch {
            let value = value(record, shape.record_bytes);
            builder.push(None, Some(&value));
            // The value is followed by the number of headers, one byte.
            marks.push(builder.length() - 1 - value.len());
        }
        let batch = builder.build()?.bytes;
        let batch_length = batch.len();
        let bytes = encode(PRODUCE_VERSION, &produce_request(topic, shape.acks, batch))?;
        Ok(Self { batch_start: bytes.len() - batch_length, bytes, marks })
    }

    /// Makes it batch `number` and returns the new checksum.
    pub(super) fn mark(&mut self, number: u32) -> u32 {
        let (_, batch) = self.bytes.split_at_mut(self.batch_start);
        for (record, start) in (0_u32..).zip(&self.marks) {
            batch[*start..][..4].copy_from_slice(&number.to_be_bytes());
            batch[*start + 4..][..4].copy_from_slice(&record.to_be_bytes());
        }
        let checksum = crc32c(&batch[CRC_START..]);
        batch[CRC].copy_from_slice(&checksum.to_be_bytes());
        checksum
    }
}

/// A value without a pattern, different for each number (xorshift).
pub(super) fn value(number: u32, bytes: u32) -> Vec<u8> {
    let mut state = u64::from(number) << 1 | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    words.flatten().take(bytes as usize).collect()
}

/// Produces to the empty partition 0 and returns when all is acknowledged, at the expected offsets.
pub(super) fn produce(connection: &mut Connection, topic: &TopicName, shape: Shape, batches: u32) -> Result<Sent> {
    let records_per_batch = shape.records_per_batch;
    let mut frame = ProduceFrame::new(topic, shape)?;
    let mut checksums = Vec::new();
    let mut acknowledged = 0;
    for batch in 0..batches {
        if acknowledged + shape.in_flight_max <= checksums.len() {
            acknowledge(connection, records_per_batch, &mut acknowledged)?;
        }
        checksums.push(frame.mark(batch));
        connection.send(&mut frame.bytes)?;
    }
    while acknowledged < checksums.len() {
        acknowledge(connection, records_per_batch, &mut acknowledged)?;
    }
    Ok(Sent::new(shape, checksums))
}

/// Produces one record as the one of that number in the topic.
pub(super) fn produce_one(connection: &mut Connection, topic: &TopicName, number: u32) -> Result<()> {
    connection.send(&mut ProduceFrame::new(topic, ONE_RECORD)?.bytes)?;
    let offset = connection.receive_base_offset()?;
    ensure!(offset == i64::from(number), "record {number} was written at offset {offset}");
    Ok(())
}

fn acknowledge(connection: &mut Connection, records_per_batch: u32, acknowledged: &mut usize) -> Result<()> {
    let (found, expected) = (connection.receive_base_offset()?, offset(*acknowledged, records_per_batch)?);
    ensure!(found == expected, "batch {acknowledged} was written at offset {found} instead of {expected}");
    *acknowledged += 1;
    Ok(())
}

fn offset(batch: usize, records_per_batch: u32) -> Result<i64> {
    Ok(i64::try_from(batch)? * i64::from(records_per_batch))
}

/// Reads partition 0 from its start: exactly what was sent, in order, and nothing after it.
pub(super) fn consume(connection: &mut Connection, topic: &TopicName, sent: &Sent) -> Result<()> {
    let mut read = 0;
    while read < sent.checksums.len() {
        let records = fetch(connection, topic, offset(read, sent.records_per_batch)?)?;
        let before = read;
        let mut rest: &[u8] = &records;
        while let Some((batch, behind)) = split_batch(rest) {
            check(batch, sent, read)?;
            rest = behind;
            read += 1;
        }
        ensure!(before < read, "{} bytes at batch {read} hold no whole batch", records.len());
    }
    let behind = fetch(connection, topic, offset(read, sent.records_per_batch)?)?;
    ensure!(behind.is_empty(), "{} bytes more than was sent", behind.len());
    Ok(())
}

/// The records from an offset on.
pub(super) fn fetch(connection: &mut Connection, topic: &TopicName, offset: i64) -> Result<Bytes> {
    fetch_within(connection, topic, offset, Duration::ZERO)
}

/// The same, waiting until there is something.
pub(super) fn wait_for(connection: &mut Connection, topic: &TopicName, offset: i64) -> Result<Bytes> {
    fetch_within(connection, topic, offset, PATIENCE / 2)
}

fn fetch_within(connection: &mut Connection, topic: &TopicName, offset: i64, wait: Duration) -> Result<Bytes> {
    let partition =
        FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(FETCH_BYTES_MAX);
    let topic = FetchTopic::default().with_topic(topic.clone()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_min_bytes(1)
        .with_max_wait_ms(i32::try_from(wait.as_millis())?)
        .with_topics(vec![topic]);
    let response = connection.call(FETCH_VERSION, &request)?;
    ensure!(response.error_code == 0, "Fetch at offset {offset} failed with error {}", response.error_code);
    let mut partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
    let partition = partitions.next().context("a Fetch response without a partition")?;
    ensure!(partition.error_code == 0, "Fetch at offset {offset} failed with error {}", partition.error_code);
    Ok(partition.records.unwrap_or_default())
}

/// The first whole batch and what follows it.
pub(super) fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = BatchHeader::decode(bytes.first_chunk::<HEADER_LENGTH>()?).length()?;
    bytes.split_at_checked(length)
}

fn check(batch: &[u8], sent: &Sent, number: usize) -> Result<()> {
    let header = BatchHeader::decode(batch.first_chunk().context("a batch without a header")?);
    let expected = sent.checksums.get(number).context("more batches than were sent")?;
    ensure!(header.base_offset.0 == offset(number, sent.records_per_batch)?, "batch {number}: {header:?}");
    ensure!(u32::try_from(header.records_count)? == sent.records_per_batch, "batch {number}: {header:?}");
    let found = crc32c(&batch[CRC_START..]);
    ensure!(found == *expected, "batch {number}: checksum {found:08x} was read, {expected:08x} was sent");
    Ok(())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    fn frame(records_per_batch: u32) -> ProduceFrame {
        let topic = TopicName(StrBytes::from_static_str("t"));
        ProduceFrame::new(&topic, Shape { records_per_batch, ..LARGE }).unwrap()
    }

    fn batch(frame: &ProduceFrame) -> Vec<u8> {
        frame.bytes[frame.batch_start..].to_vec()
    }

    #[test]
    fn a_marked_batch_is_valid_and_no_record_is_like_another() {
        let mut frame = frame(3);
        let mut values = Vec::new();
        for number in [0, 1, 70_000] {
            frame.mark(number);
            let decoded = RecordBatchDecoder::decode(&mut Bytes::from(batch(&frame))).unwrap();
            values.extend(decoded.records.into_iter().map(|record| record.value.unwrap()));
        }
        assert_eq!(values[8][..8], [0, 1, 0x11, 0x70, 0, 0, 0, 2]);
        assert!(values.iter().all(|value| value.len() == LARGE.record_bytes as usize));
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 9);
    }

    #[test]
    fn what_differs_from_what_was_sent_is_refused() {
        let mut frame = frame(3);
        let checksums = vec![frame.mark(0), frame.mark(1)];
        let mut second = batch(&frame);
        second[..8].copy_from_slice(&3_i64.to_be_bytes());
        let sent = Sent { records_per_batch: 3, checksums };
        check(&second, &sent, 1).unwrap();
        let altered = |position: usize| {
            let mut altered = second.clone();
            altered[position] ^= 1;
            check(&altered, &sent, 1)
        };
        let last = second.len() - 2;
        for (position, what) in [(7, "offset"), (60, "count"), (22, "attributes"), (100, "value"), (last, "value")] {
            assert!(altered(position).is_err(), "another {what} is accepted");
        }
        assert!(check(&second, &sent, 0).is_err(), "another order is accepted");
        assert!(check(&second, &sent, 2).is_err(), "more than was sent is accepted");
    }
}
