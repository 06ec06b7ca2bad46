//! The client threads, all of which use librdkafka.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::history::{Position, Record};
use super::random::Random;
use super::world::{Load, PARTITIONS, World};
use crate::command::{retry, wait_for};

/// Time for everything to be acknowledged, or read, after the last kill.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
const CALL_AT_MOST: Duration = Duration::from_millis(500);
const BURST_MAX: u64 = 12;
const QUEUE_PAUSE: Duration = Duration::from_millis(8);
/// How many records a wandering reader reads before it moves on.
const WANDERING_READS: usize = 300;

pub(super) fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "50")
        // A dead machine does not answer: without these a client waits a minute for it. The first is for requests,
        // the second drops a broker that is no longer in the metadata.
        .set("socket.timeout.ms", "5000")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

pub(super) fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(consumer_config(bootstrap).create()?)
}

fn consumer_config(bootstrap: &str) -> ClientConfig {
    let mut config = config(bootstrap);
    config.set("group.id", "librdkafka wants one").set("enable.auto.commit", "false").set("check.crcs", "true");
    config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "50");
    config
}

/// Topics are created automatically.
pub(super) fn create_topics(bootstrap: &str, world: &World) -> Result<()> {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config(bootstrap).create()?;
    for topic in world.workload.topics {
        wait_for(topic.name, PATIENCE, || {
            let metadata = producer.client().fetch_metadata(Some(topic.name), CALL_AT_MOST).ok();
            let partitions = metadata.and_then(|metadata| Some(metadata.topics().first()?.partitions().len()));
            Ok((partitions == Some(PARTITIONS)).then_some(()))
        })?;
    }
    Ok(())
}

/// Records what the broker acknowledges.
struct Recorder {
    world: Arc<World>,
    topic: usize,
}

impl ClientContext for Recorder {
    /// Errors of killed brokers are expected; real faults show in the records.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl Recorder {
    fn record(&self, result: &DeliveryResult<'_>) -> Result<()> {
        let message = match result {
            Ok(message) => message,
            Err((error, _)) => bail!("a record of {} was refused: {error}", self.world.topic(self.topic)),
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
    /// When the record was sent.
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Instant>) {
        self.world.acknowledged_after(sent.elapsed());
        self.world.expect(self.record(result));
    }
}

pub(super) fn start_producers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    bootstrap: &'env str,
    world: &'env Arc<World>,
    random: &mut Random,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let start = |(number, load): (u32, &'static Load)| {
        let random = Random(random.next());
        scope.spawn(move || world.expect(produce(bootstrap, world, load, number, random)))
    };
    (0..).zip(world.workload.loads).map(start).collect()
}

/// Sends until told to stop. Returns when all is acknowledged.
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
        thread::sleep(random.between(Duration::ZERO, world.workload.pause_max));
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
    let now = Box::new(Instant::now());
    let mut record: BaseRecord<'_, (), [u8], _> =
        BaseRecord::with_opaque_to(world.topic(topic), now).partition(partition).payload(&value);
    while let Err((error, returned)) = producer.send(record) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err(error).with_context(|| format!("producer {number} cannot go on"));
        }
        if world.is_over() {
            return Ok(());
        }
        thread::sleep(QUEUE_PAUSE);
        record = returned;
    }
    Ok(())
}

/// For each topic a reader that follows the end, one that wanders, and one that watches the high watermark.
pub(super) fn start_readers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    bootstrap: &'env str,
    world: &'env Arc<World>,
    random: &mut Random,
) {
    for topic in 0..world.workload.topics.len() {
        let random = Random(random.next());
        scope.spawn(move || world.expect(follow(bootstrap, world, topic)));
        scope.spawn(move || world.expect(wander(bootstrap, world, topic, random)));
        scope.spawn(move || world.expect(watch(bootstrap, world, topic)));
    }
}

fn follow(bootstrap: &str, world: &World, topic: usize) -> Result<()> {
    let mut reader = Reader::open(bootstrap, world, topic, [0; PARTITIONS])?;
    while !world.is_over() {
        reader.read(world)?;
    }
    Ok(())
}

fn wander(bootstrap: &str, world: &World, topic: usize, mut random: Random) -> Result<()> {
    while !world.is_over() {
        // librdkafka fails an assertion of its own if an assignment replaces another while the broker is down.
        let mut offsets = [0; PARTITIONS];
        for (partition, offset) in (0..).zip(&mut offsets) {
            let end = world.with(topic, partition, |history| history.high_watermark())?;
            *offset = i64::try_from(random.below(end.unsigned_abs()))?;
        }
        let mut reader = Reader::open(bootstrap, world, topic, offsets)?;
        for _ in 0..WANDERING_READS {
            if world.is_over() || !reader.read(world)? {
                break;
            }
        }
        thread::sleep(world.workload.rest);
    }
    Ok(())
}

/// First offset and end of a partition. None if it is empty, or only the first was returned: librdkafka asks for both
/// separately and keeps the error of the later answer only.
pub(super) fn watermarks(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    at_most: Duration,
) -> Result<Option<(i64, i64)>> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, at_most)?;
    Ok((low < high).then_some((low, high)))
}

fn watch(bootstrap: &str, world: &World, topic: usize) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    while !world.is_over() {
        for partition in 0..i32::try_from(PARTITIONS)? {
            let before = world.with(topic, partition, |history| history.high_watermark())?;
            // While the broker is down there is no answer.
            if let Ok(Some((_, now))) = watermarks(&consumer, world.topic(topic), partition, CALL_AT_MOST) {
                let seen = world.with(topic, partition, |history| history.see_high_watermark(before, now))?;
                seen.with_context(|| format!("{}-{partition}", world.topic(topic)))?;
            }
        }
        thread::sleep(world.workload.rest);
    }
    Ok(())
}

/// Why librdkafka has given up a position: a broker's answer, which the error itself does not tell.
#[derive(Debug, Default)]
struct Resets(Mutex<Vec<String>>);

impl ClientContext for Resets {
    /// Errors of killed brokers are expected.
    fn error(&self, _error: KafkaError, _reason: &str) {}

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "OFFSET" {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        }
    }
}

impl ConsumerContext for Resets {}

/// Gets every record of a topic, from some offsets on.
struct Reader {
    consumer: BaseConsumer<Resets>,
    topic: usize,
    positions: [Position; PARTITIONS],
}

impl Reader {
    fn open(bootstrap: &str, world: &World, topic: usize, offsets: [i64; PARTITIONS]) -> Result<Self> {
        let mut config = consumer_config(bootstrap);
        config.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
        let consumer: BaseConsumer<Resets> = config.create_with_context(Resets::default())?;
        let mut assignment = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            assignment.add_partition_offset(world.topic(topic), partition, Offset::Offset(offset))?;
        }
        consumer.assign(&assignment)?;
        Ok(Self { consumer, topic, positions: offsets.map(Position::at) })
    }

    /// Whether there was a record.
    fn read(&mut self, world: &World) -> Result<bool> {
        let message = match self.consumer.poll(POLL) {
            None => return Ok(false),
            Some(Ok(message)) => message,
            Some(Err(error)) if is_transient(&error) => return Ok(false),
            Some(Err(error)) => {
                let reader = || format!("cannot read {}: {:?}", world.topic(self.topic), self.consumer.context());
                return Err(error).with_context(reader);
            }
        };
        let (partition, offset) = (message.partition(), message.offset());
        let place = || format!("{}-{partition}, offset {offset}", world.topic(self.topic));
        let record = message.payload().and_then(Record::parse);
        let record = record.with_context(|| format!("{}: a value that nobody sent", place()))?;
        let position = usize::try_from(partition).ok().and_then(|partition| self.positions.get_mut(partition));
        position.with_context(place)?.advance(offset).with_context(place)?;
        world.with(self.topic, partition, |history| history.read(offset, record))?.with_context(place)?;
        Ok(true)
    }
}

/// Errors that a client reports for a broker that was killed, or is still loading.
pub(super) fn is_transient(error: &KafkaError) -> bool {
    let KafkaError::MessageConsumption(code) = error else { return false };
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
    for (topic, name) in world.workload.topics.iter().map(|topic| topic.name).enumerate() {
        let consumer = consumer(bootstrap)?;
        let mut left = 0;
        for partition in 0..i32::try_from(PARTITIONS)? {
            let before = world.with(topic, partition, |history| history.high_watermark())?;
            // librdkafka gives up after a few attempts while a new leader cannot tell the high watermark yet.
            let asked = || watermarks(&consumer, name, partition, PATIENCE)?.context("it is empty");
            let (low, high) = retry(PATIENCE, asked).with_context(|| format!("the end of {name}-{partition}"))?;
            ensure!(low == 0, "{name}-{partition} begins at {low}");
            world.with(topic, partition, |history| history.see_high_watermark(before, high))??;
            left += high;
        }
        let mut reader = Reader::open(bootstrap, world, topic, [0; PARTITIONS])?;
        let deadline = Instant::now() + PATIENCE;
        while 0 < left {
            left -= i64::from(reader.read(world)?);
            ensure!(Instant::now() < deadline, "{left} records of {name} cannot be read");
        }
    }
    Ok(())
}
