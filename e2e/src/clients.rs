//! Kafka clients as users have them: librdkafka for producing, kcat for reading. (librdkafka's consumer does
//! not work without a group coordinator; kcat reads partitions.)

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::command;

/// How long one of these calls may take, a restart of the broker included.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// Reads partition 0 from its beginning to its end. kcat gives up when no broker answers, which happens for a
/// moment after a restart; then it is tried again.
pub fn consume_all(bootstrap: &str, topic: &str) -> Result<Vec<String>> {
    let mut kcat = Command::new("timeout");
    kcat.arg(PATIENCE.as_secs().to_string());
    kcat.args(["kcat", "-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-p", "0", "-o", "beginning"]);
    let read = command::retry(PATIENCE, || command::output(&mut kcat))?;
    Ok(read.lines().map(str::to_owned).collect())
}
