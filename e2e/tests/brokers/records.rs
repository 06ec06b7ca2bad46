//! Records of one partition, with librdkafka.

use std::time::Duration;

use e2e::command;
use e2e::fleet::Fleet;
use futures::executor::block_on;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::DEADLINE;

const POLL: Duration = Duration::from_millis(100);

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "100").set("retry.backoff.ms", "10");
    config
}

/// Each number is a record, acknowledged by the whole ISR, before the next one.
pub(crate) fn produce(fleet: &Fleet, topic: &str, numbers: impl IntoIterator<Item = u32>) {
    let producer = config(&fleet.bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("message.timeout.ms", DEADLINE.as_millis().to_string())
        .create()
        .unwrap();
    for number in numbers {
        send(&producer, topic, number).unwrap();
    }
}

fn send(producer: &FutureProducer, topic: &str, number: u32) -> Result<(), KafkaError> {
    let value = number.to_be_bytes();
    let record = FutureRecord::<(), _>::to(topic).partition(0).payload(&value);
    block_on(producer.send(record, DEADLINE)).map(drop).map_err(|(error, _)| error)
}

/// All records, in the order of their offsets.
pub(crate) fn read(fleet: &Fleet, topic: &str) -> Vec<u32> {
    let mut config = config(&fleet.bootstrap());
    let consumer: BaseConsumer = config.set("group.id", "assigned").set("check.crcs", "true").create().unwrap();
    let (first, end) = consumer.fetch_watermarks(topic, 0, DEADLINE).unwrap();
    assert_eq!(first, 0);
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let (mut numbers, end) = (Vec::new(), usize::try_from(end).unwrap());
    command::wait_for("all records are read", DEADLINE, || {
        while numbers.len() < end
            && let Some(Ok(message)) = consumer.poll(POLL)
        {
            numbers.push(u32::from_be_bytes(message.payload().unwrap().try_into().unwrap()));
        }
        Ok((end <= numbers.len()).then_some(()))
    })
    .unwrap();
    numbers
}
