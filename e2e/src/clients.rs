//! Real Kafka clients: librdkafka for producing and for group members, kcat for reading a partition.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::command;

/// How long one of these calls may take, including a restart of the broker.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

/// Produces all messages in order to partition 0 and returns when every one is acknowledged.
pub fn produce(bootstrap: &str, topic: &str, messages: &[String]) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", PATIENCE.as_millis().to_string())
        .create()?;
    let deliveries: Vec<_> = messages
        .iter()
        .map(|message| {
            let record = FutureRecord::<(), str>::to(topic).partition(0).payload(message);
            producer.send_result(record).map_err(|(error, _)| error)
        })
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot produce to {topic} at {bootstrap}"))?;
    futures::executor::block_on(async {
        for delivery in deliveries {
            delivery.await?.map_err(|(error, _)| error)?;
        }
        anyhow::Ok(())
    })
    .with_context(|| format!("{bootstrap} did not acknowledge all that was produced to {topic}"))
}

/// Reads partition 0 from its beginning to its end. kcat gives up if no broker answers, which happens for a moment
/// after a restart; then it is run again.
pub fn consume_all(bootstrap: &str, topic: &str) -> Result<Vec<String>> {
    let mut kcat = Command::new("timeout");
    kcat.arg(PATIENCE.as_secs().to_string());
    kcat.args(["kcat", "-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-p", "0", "-o", "beginning"]);
    let read = command::retry(PATIENCE, || command::output(&mut kcat))?;
    Ok(read.lines().map(str::to_owned).collect())
}

/// A member of a group, which commits when it is told to and leaves when it is dropped.
pub struct Member {
    consumer: BaseConsumer,
    name: String,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Member {
    pub fn join(bootstrap: &str, group: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()?;
        consumer.subscribe(&[topic])?;
        Ok(Self { consumer, name: format!("a member of {group} that reads {topic}") })
    }

    /// The next messages, which must exist. Brokers may come and go meanwhile.
    pub fn read(&self, count: usize) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut messages = Vec::new();
        while messages.len() < count {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let payload = message.payload().with_context(|| format!("{}: an empty message", self.name))?;
                    messages.push(String::from_utf8_lossy(payload).into_owned());
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(KafkaError::MessageConsumptionFatal(code)).context(self.name.clone());
                }
                Some(Err(_)) | None => {}
            }
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "{}: {} of {count} messages within {PATIENCE:?}", self.name, messages.len());
        }
        Ok(messages)
    }

    /// Commits what was read.
    pub fn commit(&self) -> Result<()> {
        command::retry(PATIENCE, || Ok(self.consumer.commit_consumer_state(CommitMode::Sync)?))
            .with_context(|| format!("{} cannot commit", self.name))
    }
}
