//! The same load through librdkafka: what its users' brokers have to bear.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::load::value;

const PATIENCE: Duration = Duration::from_mins(2);
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Produces with acks=1 to partition 0.
pub(super) fn produce(bootstrap: &str, topic: &str, records: u32) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "1")
        .set("linger.ms", "100")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()?;
    for number in 0..records {
        let value = value(number);
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(0).payload(&value);
        while let Err((error, returned)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).context("librdkafka does not take a record");
            }
            std::thread::sleep(QUEUE_PAUSE);
            record = returned;
        }
    }
    producer.flush(PATIENCE).context("librdkafka did not get every record acknowledged")
}

/// Reads partition 0 from its beginning, and compares.
pub(super) fn consume(bootstrap: &str, topic: &str, records: u32) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "figures")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "8388608")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let deadline = Instant::now() + PATIENCE;
    for number in 0..records {
        let Some(message) = consumer.poll(deadline.saturating_duration_since(Instant::now())) else {
            bail!("librdkafka read {number} of {records} records in {} s", PATIENCE.as_secs());
        };
        let message = message?;
        ensure!(message.offset() == i64::from(number), "offset {} came in place of {number}", message.offset());
        ensure!(message.payload() == Some(value(number).as_slice()), "record {number} is not what was sent");
    }
    Ok(())
}
