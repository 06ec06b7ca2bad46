//! The threads around the broker, all of them librdkafka's clients.

use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{PARTITIONS, TOPICS, Topic, World};
use crate::broker::Site;
use crate::command::wait_for;
use crate::soak::history::Record;
use crate::soak::random::Random;

/// For everything to be acknowledged, or read, once the last kill is over.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
const CALL_AT_MOST: Duration = Duration::from_millis(500);
const BURST_MAX: u64 = 12;
const PAUSE_MAX: Duration = Duration::from_millis(8);
/// How many records a wandering reader reads before it goes elsewhere.
const WANDERING_READS: usize = 300;
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// A topic by its index, and what its producer is told.
struct Load {
    topic: usize,
    settings: [(&'static str, &'static str); 3],
}

const LOADS: [Load; 5] = [
    idempotent("none"),
    idempotent("lz4"),
    idempotent("zstd"),
    Load { topic: 1, settings: [("compression.type", "gzip"), ("acks", "all"), ("enable.idempotence", "false")] },
    Load { topic: 1, settings: [("compression.type", "snappy"), ("acks", "1"), ("enable.idempotence", "false")] },
];

const fn idempotent(codec: &'static str) -> Load {
    Load { topic: 0, settings: [("compression.type", codec), ("acks", "all"), ("enable.idempotence", "true")] }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "50")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = config(bootstrap);
    config.set("group.id", "librdkafka wants one").set("enable.auto.commit", "false").set("check.crcs", "true");
    config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "50");
    Ok(config.create()?)
}

/// Topics come into being by being asked for.
pub(super) fn create_topics(bootstrap: &str) -> Result<()> {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config(bootstrap).create()?;
    for topic in TOPICS {
        wait_for(topic.name, PATIENCE, || {
            let metadata = producer.client().fetch_metadata(Some(topic.name), CALL_AT_MOST).ok();
            let partitions = metadata.and_then(|metadata| Some(metadata.topics().first()?.partitions().len()));
            Ok((partitions == Some(PARTITIONS)).then_some(()))
        })?;
    }
    Ok(())
}

/// Notes what the broker acknowledges.
struct Recorder {
    world: Arc<World>,
    topic: usize,
}

impl ClientContext for Recorder {
    /// Killed brokers are the point; what must not happen is seen at the records.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl Recorder {
    fn record(&self, result: &DeliveryResult<'_>) -> Result<()> {
        let message = match result {
            Ok(message) => message,
            Err((error, _)) => bail!("a record of {} was refused: {error}", TOPICS[self.topic].name),
        };
        let record = message.payload().and_then(Record::parse).context("another value was acknowledged than sent")?;
        // A duplicate may be acknowledged without its offset.
        if 0 <= message.offset() {
            self.world
                .with(self.topic, message.partition(), |history| history.acknowledge(message.offset(), record))??;
        }
        Ok(())
    }
}

impl ProducerContext for Recorder {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.world.expect(self.record(result));
    }
}

pub(super) fn start_producers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    site: &'env Site,
    world: &'env Arc<World>,
    random: &mut Random,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let start = |(number, load): (u32, &'static Load)| {
        let random = Random(random.next());
        scope.spawn(move || world.expect(produce(&site.bootstrap(), world, load, number, random)))
    };
    (0..).zip(&LOADS).map(start).collect()
}

/// Sends until it is enough, and returns when all is acknowledged.
fn produce(bootstrap: &str, world: &Arc<World>, load: &Load, number: u32, mut random: Random) -> Result<()> {
    let mut config = config(bootstrap);
    config.set("linger.ms", "2").set("message.timeout.ms", PATIENCE.as_millis().to_string());
    config.set("queue.buffering.max.messages", "2000");
    for (name, value) in load.settings {
        config.set(name, value);
    }
    let producer: ThreadedProducer<Recorder> =
        config.create_with_context(Recorder { world: world.clone(), topic: load.topic })?;
    while !world.is_enough() {
        let partition = i32::try_from(random.below(PARTITIONS as u64))?;
        for _ in 0..random.below(BURST_MAX) {
            send(&producer, world, load.topic, partition, number)?;
        }
        thread::sleep(random.between(Duration::ZERO, PAUSE_MAX));
    }
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = producer.flush(POLL) {
        if world.is_over() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "producer {number} did not get every record acknowledged: {error}");
    }
    Ok(())
}

fn send(producer: &ThreadedProducer<Recorder>, world: &World, topic: usize, partition: i32, number: u32) -> Result<()> {
    let value = world.with(topic, partition, |history| history.send(number))?.value();
    let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(TOPICS[topic].name).partition(partition).payload(&value);
    while let Err((error, returned)) = producer.send(record) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err(error).with_context(|| format!("producer {number} cannot go on"));
        }
        if world.is_over() {
            return Ok(());
        }
        thread::sleep(PAUSE_MAX);
        record = returned;
    }
    Ok(())
}

/// For each topic one that follows the end, one that wanders, and one that watches the high watermark.
pub(super) fn start_readers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    site: &'env Site,
    world: &'env Arc<World>,
    random: &mut Random,
) {
    for topic in 0..TOPICS.len() {
        let random = Random(random.next());
        scope.spawn(move || world.expect(follow(&site.bootstrap(), world, topic)));
        scope.spawn(move || world.expect(wander(&site.bootstrap(), world, topic, random)));
        scope.spawn(move || world.expect(watch(&site.bootstrap(), world, topic)));
    }
}

fn follow(bootstrap: &str, world: &World, topic: usize) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    assign(&consumer, topic, |_| Offset::Beginning)?;
    while !world.is_over() {
        read(&consumer, world, topic)?;
    }
    Ok(())
}

fn wander(bootstrap: &str, world: &World, topic: usize, mut random: Random) -> Result<()> {
    while !world.is_over() {
        // librdkafka fails an assertion of its own where an assignment replaces another while the broker is away.
        let consumer = consumer(bootstrap)?;
        let mut ends = [0; PARTITIONS];
        for (partition, end) in (0..).zip(&mut ends) {
            *end = world.with(topic, partition, |history| history.high_watermark())?;
        }
        assign(&consumer, topic, |partition| {
            Offset::Offset(random.below(ends[partition].unsigned_abs()).try_into().unwrap_or_default())
        })?;
        for _ in 0..WANDERING_READS {
            if world.is_over() || !read(&consumer, world, topic)? {
                break;
            }
        }
    }
    Ok(())
}

fn watch(bootstrap: &str, world: &World, topic: usize) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    while !world.is_over() {
        for partition in 0..i32::try_from(PARTITIONS)? {
            let before = world.with(topic, partition, |history| history.high_watermark())?;
            // While the broker is away there is no answer.
            if let Ok((_, now)) = consumer.fetch_watermarks(TOPICS[topic].name, partition, CALL_AT_MOST) {
                world.with(topic, partition, |history| history.see_high_watermark(before, now))??;
            }
        }
        thread::sleep(WATCH_EVERY);
    }
    Ok(())
}

fn assign(consumer: &BaseConsumer, topic: usize, mut from: impl FnMut(usize) -> Offset) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(TOPICS[topic].name, i32::try_from(partition)?, from(partition))?;
    }
    Ok(consumer.assign(&assignment)?)
}

/// Whether there was a record.
fn read(consumer: &BaseConsumer, world: &World, topic: usize) -> Result<bool> {
    let message = match consumer.poll(POLL) {
        None => return Ok(false),
        Some(Ok(message)) => message,
        Some(Err(KafkaError::MessageConsumption(code))) if is_away(code) => return Ok(false),
        Some(Err(error)) => return Err(error).with_context(|| format!("cannot read {}", TOPICS[topic].name)),
    };
    let (partition, offset) = (message.partition(), message.offset());
    let record = message.payload().and_then(Record::parse);
    let record = record.with_context(|| format!("{partition} {offset}: a value that nobody sent"))?;
    world.with(topic, partition, |history| history.read(offset, record))??;
    Ok(true)
}

/// What a client says of a broker that was killed, or has not loaded everything yet.
fn is_away(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::OperationTimedOut
    )
}

/// A last reader, from the beginning to the end.
pub(super) fn read_to_the_end(bootstrap: &str, world: &World) -> Result<()> {
    for (topic, Topic { name, .. }) in TOPICS.iter().enumerate() {
        let consumer = consumer(bootstrap)?;
        let mut left = 0;
        for partition in 0..i32::try_from(PARTITIONS)? {
            let before = world.with(topic, partition, |history| history.high_watermark())?;
            let (low, high) = consumer.fetch_watermarks(name, partition, PATIENCE)?;
            ensure!(low == 0, "{name}-{partition} begins at {low}");
            world.with(topic, partition, |history| history.see_high_watermark(before, high))??;
            left += high;
        }
        assign(&consumer, topic, |_| Offset::Beginning)?;
        let deadline = Instant::now() + PATIENCE;
        while 0 < left {
            left -= i64::from(read(&consumer, world, topic)?);
            ensure!(Instant::now() < deadline, "{left} records of {name} cannot be read");
        }
    }
    Ok(())
}
