//! A pass of compaction over a log that was written before, and is compacted at once.

use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{CreateTopicsRequest, IncrementalAlterConfigsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

use super::images::mebibytes;
use super::load::{TIMESTAMP, value};
use super::machine::Noise;
use super::phase::{phase, resident_mebibytes};
use super::process::Broker;
use crate::connection::{Connection, PATIENCE, PRODUCE_VERSION, encode, produce_request};

pub(super) const SETTINGS: [&str; 1] = ["log.cleaner.backoff.ms=100"];

const BYTES: usize = 1 << 30;
const KEYS: u64 = 1_000_000;
const VALUE_BYTES: u32 = 100;
const RECORDS_PER_BATCH: usize = 1_000;
const IN_FLIGHT_MAX: usize = 4;
/// Afterwards the log is smaller than this, and before the last segment is swapped in it is larger.
const LEFT_BYTES_MAX: u64 = 140 << 20;
const CREATE_TOPICS_VERSION: i16 = 4;
const ALTER_CONFIGS_VERSION: i16 = 0;
const OF_TOPIC: i8 = 2;
/// The interval at which memory and the end of the pass are checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Until everything is on disk.
const FLUSH_TIME: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub(super) struct Compaction {
    pub(super) cpu: Duration,
    elapsed: Duration,
    /// The peak, above the value before.
    pub(super) more_mebibytes: f64,
    left_mebibytes: f64,
}

impl fmt::Display for Compaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, elapsed, more_mebibytes, left_mebibytes } = self;
        let (cpu, elapsed) = (cpu.as_secs_f64(), elapsed.as_secs_f64());
        write!(
            f,
            "1 GiB compacted to {left_mebibytes:.0} MiB with {cpu:.2} s of CPU in {elapsed:.1} s, {more_mebibytes:.1} MiB more"
        )
    }
}

pub(super) fn measure(broker: &mut Broker, topic: &TopicName) -> Result<(Compaction, Noise)> {
    let mut connection = broker.connect()?;
    // No log is dirtier than completely.
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1"),
        ("segment.bytes", "134217728"),
        ("flush.ms", "100"),
    ];
    create(&mut connection, topic, &settings)?;
    fill(&mut connection, topic)?;
    // The next batch begins another segment, so that all before it may be compacted.
    alter(&mut connection, topic, "segment.ms", "1")?;
    let last = batch(&mut 1, 1, Timestamp(TIMESTAMP.0 + 1_000))?;
    send(&mut connection, topic, last)?;
    connection.receive_base_offset()?;
    thread::sleep(FLUSH_TIME);
    let before = resident_mebibytes(broker.id())?;
    let (mut most, mut left) = (before, 0);
    let ((), phase) = phase(&[broker.id()], || {
        alter(&mut connection, topic, "min.cleanable.dirty.ratio", "0")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            most = most.max(resident_mebibytes(broker.id())?);
            left = log_bytes(broker, topic)?;
            if left < LEFT_BYTES_MAX {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{left} bytes are left after {} s", PATIENCE.as_secs());
            thread::sleep(LOOK_INTERVAL);
        }
    })?;
    let left_mebibytes = mebibytes(left);
    let more_mebibytes = most - before;
    Ok((Compaction { cpu: phase.cpu, elapsed: phase.elapsed, more_mebibytes, left_mebibytes }, phase.noise))
}

fn fill(connection: &mut Connection, topic: &TopicName) -> Result<()> {
    let (mut random, mut sent, mut unanswered) = (1, 0, 0);
    while sent < BYTES {
        let batch = batch(&mut random, RECORDS_PER_BATCH, *TIMESTAMP)?;
        sent += batch.len();
        send(connection, topic, batch)?;
        unanswered += 1;
        if unanswered == IN_FLIGHT_MAX {
            connection.receive_base_offset()?;
            unanswered -= 1;
        }
    }
    (0..unanswered).try_for_each(|_| connection.receive_base_offset().map(drop))
}

/// Records of random keys.
fn batch(random: &mut u64, records: usize, timestamp: Timestamp) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(timestamp);
    let value = value(1, VALUE_BYTES);
    for _ in 0..records {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (*random >> 32) % KEYS;
        builder.push(Some(&key.to_be_bytes()), Some(&value));
    }
    Ok(builder.build()?.bytes)
}

fn send(connection: &mut Connection, topic: &TopicName, batch: Bytes) -> Result<()> {
    connection.send(&mut encode(PRODUCE_VERSION, &produce_request(topic, 1, batch))?)
}

/// Bytes of all segments, except those that wait to be removed.
fn log_bytes(broker: &Broker, topic: &TopicName) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(broker.data(&format!("{}-0", &*topic.0)))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            // It may have been renamed since.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

fn create(connection: &mut Connection, topic: &TopicName, settings: &[(&'static str, &'static str)]) -> Result<()> {
    let config = |(name, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let creatable = CreatableTopic::default()
        .with_name(topic.clone())
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(settings.iter().map(config).collect());
    let timeout_ms = i32::try_from(PATIENCE.as_millis())?;
    let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(timeout_ms);
    let answer = connection.call(CREATE_TOPICS_VERSION, &request)?;
    ensure!(answer.topics.iter().all(|topic| topic.error_code == 0), "CreateTopics failed: {answer:?}");
    connection.create_topic(topic)
}

fn alter(connection: &mut Connection, topic: &TopicName, name: &'static str, value: &'static str) -> Result<()> {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_config_operation(0)
        .with_value(Some(StrBytes::from_static_str(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(OF_TOPIC)
        .with_resource_name(topic.0.clone())
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.call(ALTER_CONFIGS_VERSION, &request)?;
    ensure!(answer.responses.iter().all(|resource| resource.error_code == 0), "not altered: {answer:?}");
    Ok(())
}
