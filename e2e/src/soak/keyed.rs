//! A compacted topic that is written to while brokers fail. Of each key the last acknowledged record must stay, or a
//! later one, even though each replica compacts its own log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::load;
use super::random::Random;
use super::world::World;
use crate::command::wait_for;

pub(super) const TOPIC: &str = "keyed";
/// Segments are closed soon, and compacted at once.
pub(super) const OPTIONS: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.ms", "2000"), ("min.cleanable.dirty.ratio", "0.01")];
const KEYS: u64 = 40;
/// One in so many records deletes its key.
const DELETIONS: u64 = 10;
const VALUE_BYTES: usize = 300;
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Time for everything to be acknowledged, read, or compacted, after the last fault.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// The number in a record; none for a tombstone.
type Number = Option<u64>;
/// The last record of each key, with its offset.
type LastRecords = BTreeMap<u64, (i64, Number)>;

/// The last acknowledged record of each key.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    acknowledged: Mutex<LastRecords>,
}

impl Keyed {
    fn lock(&self) -> MutexGuard<'_, LastRecords> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers of several brokers may arrive out of order.
    fn acknowledge(&self, key: u64, offset: i64, number: Number) {
        let mut acknowledged = self.lock();
        let last = acknowledged.entry(key).or_insert((offset, number));
        if last.0 < offset {
            *last = (offset, number);
        }
    }

    /// Checks everything that can be read after the last fault.
    pub(super) fn check(&self, bootstrap: &str) -> Result<()> {
        let Readable { found, .. } = read_all(bootstrap)?;
        for (key, (offset, number)) in self.lock().iter() {
            let there = found.get(key);
            let is_kept = there.is_some_and(|there| offset < &there.0 || *there == (*offset, *number));
            ensure!(is_kept, "key {key}: {number:?} was acknowledged at {offset}, the last there is is {there:?}");
        }
        Ok(())
    }
}

/// Records what is acknowledged.
struct Recorder {
    world: Arc<World>,
    keyed: Arc<Keyed>,
}

impl ClientContext for Recorder {
    /// Errors of killed brokers are expected.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Recorder {
    type DeliveryOpaque = Box<(u64, Number)>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        match result {
            // A duplicate may be acknowledged without its offset.
            Ok(message) if message.offset() < 0 => {}
            Ok(message) => self.keyed.acknowledge(sent.0, message.offset(), sent.1),
            Err((error, _)) => self.world.expect(Err(anyhow::anyhow!("a record of {TOPIC} was refused: {error}"))),
        }
    }
}

pub(super) fn start_producer<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    bootstrap: &'env str,
    world: &'env Arc<World>,
    keyed: &'env Arc<Keyed>,
    random: &mut Random,
) -> ScopedJoinHandle<'scope, ()> {
    let random = Random(random.next());
    scope.spawn(move || world.expect(produce(bootstrap, world, keyed, random)))
}

/// Sends until told to stop and part of the log is compacted, which needs a later record. Returns when all is
/// acknowledged.
fn produce(bootstrap: &str, world: &Arc<World>, keyed: &Arc<Keyed>, mut random: Random) -> Result<()> {
    let mut config = load::config(bootstrap);
    config.set("linger.ms", "2").set("message.timeout.ms", PATIENCE.as_millis().to_string());
    config.set("acks", "all").set("enable.idempotence", "true");
    let producer: ThreadedProducer<Recorder> =
        config.create_with_context(Recorder { world: world.clone(), keyed: keyed.clone() })?;
    let mut last = None;
    for number in 1.. {
        if world.is_enough() {
            let deadline = *last.get_or_insert_with(|| Instant::now() + PATIENCE);
            ensure!(Instant::now() < deadline, "{TOPIC} is not compacted");
            if world.is_over() || read_all(bootstrap)?.is_compacted {
                break;
            }
        }
        let (key, is_deletion) = (random.below(KEYS), random.below(DELETIONS) == 0);
        let (name, value) = (key.to_string(), value(number));
        let sent = Box::new((key, (!is_deletion).then_some(number)));
        let record: BaseRecord<'_, str, [u8], _> =
            BaseRecord::with_opaque_to(TOPIC, sent).partition(0).key(name.as_str());
        let record = if is_deletion { record } else { record.payload(&value) };
        if let Err((error, _)) = producer.send(record) {
            return Err(error).context("the producer of keyed records cannot go on");
        }
        thread::sleep(random.between(Duration::ZERO, PAUSE_MAX));
    }
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = producer.flush(POLL) {
        if world.is_over() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not every keyed record is acknowledged: {error}");
    }
    Ok(())
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(VALUE_BYTES, 0);
    value
}

struct Readable {
    found: LastRecords,
    /// There are gaps between offsets.
    is_compacted: bool,
}

fn read_all(bootstrap: &str) -> Result<Readable> {
    let consumer = load::consumer(bootstrap)?;
    let (start, end) = wait_for("its end is told", PATIENCE, || load::watermarks(&consumer, TOPIC, 0, PATIENCE))?;
    ensure!(start == 0, "{TOPIC} begins at {start}");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, 0, Offset::Offset(0))?;
    consumer.assign(&assignment)?;
    let (mut found, mut records, mut next) = (BTreeMap::new(), 0, 0);
    let deadline = Instant::now() + PATIENCE;
    while next < end {
        ensure!(Instant::now() < deadline, "{TOPIC} can be read up to {next}, not to {end}");
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = match message {
            Ok(message) => message,
            Err(error) if load::is_transient(&error) => continue,
            Err(error) => bail!("cannot read {TOPIC}: {error}"),
        };
        let key = message.key().and_then(|key| str::from_utf8(key).ok()?.parse().ok()).context("a key of nobody's")?;
        let number = message.payload().and_then(|value| value.first_chunk()).map(|number| u64::from_be_bytes(*number));
        ensure!(next <= message.offset(), "offset {} comes after {next}", message.offset());
        (next, records) = (message.offset() + 1, records + 1);
        found.insert(key, (message.offset(), number));
    }
    Ok(Readable { found, is_compacted: records < end })
}
