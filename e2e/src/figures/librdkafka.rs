//! Load through librdkafka, with 1 KiB records.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::load::{LARGE, value};

/// For any one step; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(2);
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Numbered records that go to the partitions in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream<'a> {
    pub(super) bootstrap: &'a str,
    pub(super) topic: &'a str,
    pub(super) partitions: u32,
    pub(super) records: u32,
}

impl Stream<'_> {
    /// The partition and offset of a record.
    fn place(&self, number: u32) -> Result<(i32, i64)> {
        Ok((i32::try_from(number % self.partitions)?, i64::from(number / self.partitions)))
    }

    /// How many records a partition gets.
    pub(super) fn share(&self, partition: u32) -> i64 {
        i64::from(self.records / self.partitions) + i64::from(partition < self.records % self.partitions)
    }
}

/// The value of a record: a number, and bytes that do not compress.
#[derive(Debug)]
pub(super) struct Payload(Vec<u8>);

impl Payload {
    pub(super) fn new() -> Self {
        Self(value(0, LARGE.record_bytes))
    }

    pub(super) fn of(&mut self, number: u32) -> &[u8] {
        self.0[..4].copy_from_slice(&number.to_be_bytes());
        &self.0
    }
}

/// How many records a producer puts into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batches {
    /// As by default in Kafka's producer (`batch.size`, `linger.ms`).
    Default,
    Large,
}

impl Batches {
    const fn settings(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Default => [("batch.size", "16384"), ("linger.ms", "5")],
            Self::Large => [("batch.size", "1000000"), ("linger.ms", "100")],
        }
    }
}

/// Returns when everything is acknowledged.
pub(super) fn produce(stream: &Stream<'_>, acks: &str, batches: Batches) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stream.bootstrap).set("acks", acks);
    config.set("queue.buffering.max.kbytes", "65536");
    for (name, value) in batches.settings() {
        config.set(name, value);
    }
    let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
    let mut payload = Payload::new();
    for number in 0..stream.records {
        let (partition, _) = stream.place(number)?;
        send(&producer, stream.topic, partition, payload.of(number))?;
    }
    producer.flush(PATIENCE).context("librdkafka did not get every record acknowledged")
}

/// Waits while librdkafka's queue is full.
fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, partition: i32, value: &[u8]) -> Result<()> {
    let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
    while let Err((error, returned)) = producer.send(record) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err(error).context("librdkafka does not take a record");
        }
        std::thread::sleep(QUEUE_PAUSE);
        record = returned;
    }
    Ok(())
}

/// Reads all partitions from their beginnings: everything that was sent, in order, and after it at most `behind`
/// records in each partition.
pub(super) fn consume(stream: &Stream<'_>, behind: i64) -> Result<()> {
    let consumer = consumer(stream)?;
    let mut payload = Payload::new();
    let mut next = vec![0; stream.partitions as usize];
    let mut missing = stream.records;
    while 0 < missing {
        let message = consumer.poll(PATIENCE).with_context(|| format!("{missing} records do not come"))??;
        let partition = u32::try_from(message.partition())?;
        let expected = next.get_mut(partition as usize).context("a partition that was not asked for")?;
        ensure!(message.offset() == *expected, "offset {} came in place of {expected}", message.offset());
        *expected += 1;
        if stream.share(partition) < *expected {
            continue; // One of those behind.
        }
        let number = u32::try_from(message.offset())? * stream.partitions + partition;
        ensure!(message.payload() == Some(payload.of(number)), "record {number} is not what was sent");
        missing -= 1;
    }
    for partition in 0..stream.partitions {
        let expected = stream.share(partition) + behind;
        let (_, end) = consumer.fetch_watermarks(stream.topic, i32::try_from(partition)?, PATIENCE)?;
        ensure!(end == expected, "partition {partition} ends at {end} instead of {expected}");
    }
    Ok(())
}

/// Reads all partitions from their beginnings.
fn consumer(stream: &Stream<'_>) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stream.bootstrap).set("group.id", "figures").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("fetch.message.max.bytes", "8388608").create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..stream.partitions {
        assignment.add_partition_offset(stream.topic, i32::try_from(partition)?, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::kafka::null_broker::with_null_broker;
    use crate::figures::machine::Cores;

    #[test]
    fn records_go_to_the_partitions_in_turn() {
        let stream = Stream { bootstrap: "", topic: "t", partitions: 3, records: 8 };
        let places = (0..8).map(|number| stream.place(number).unwrap()).collect::<Vec<_>>();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2)]);
        assert_eq!([0, 1, 2].map(|partition| stream.share(partition)), [3, 3, 2]);
    }

    #[test]
    fn what_is_read_is_counted_and_compared() {
        with_null_broker(&Cores::choose().unwrap().client, |port| {
            let bootstrap = format!("127.0.0.1:{port}");
            let stream = Stream { bootstrap: &bootstrap, topic: "t", partitions: 1, records: 2_500 };
            produce(&stream, "all", Batches::Default)?;
            consume(&stream, 0)?;
            let fewer = consume(&Stream { records: 2_499, ..stream }, 0).unwrap_err();
            assert_eq!(fewer.to_string(), "partition 0 ends at 2500 instead of 2499");
            consume(&Stream { records: 2_499, ..stream }, 1)
        })
        .unwrap();
    }
}
