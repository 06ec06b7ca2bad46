//! How long a record takes from one client to another: a producer that sends at a steady rate, whatever the answers,
//! and a consumer that waits for each batch.

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

use super::process::Broker;
use crate::figures::connection::{Connection, PRODUCE_VERSION, encode};
use crate::figures::load::{self, value};

const RECORDS_PER_BATCH: u32 = 10;
const RECORD_BYTES: u32 = 1024;
/// 10 records of 1 KiB every 512 µs are 20 MB a second.
const INTERVAL: Duration = Duration::from_micros(512);
const BATCHES: u32 = 20_000;
/// At the start, not counted.
const BATCHES_BEFORE: usize = 2_000;
const ACKS_ALL: i16 = -1;

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", self.p50, self.p99, self.p999)
    }
}

impl Latency {
    pub(super) fn measure(broker: &mut Broker, topic: &TopicName) -> Result<Self> {
        let [mut producer, mut consumer] = [broker.connect()?, broker.connect()?];
        producer.create_topic(topic)?;
        let frame = frame(topic)?;
        // When a batch was due, not when it was sent: a producer that is held up is latency too.
        let begin = Instant::now() + Duration::from_millis(100);
        let due = |batch: u32| begin + INTERVAL * batch;
        let (answered, answers) = mpsc::sync_channel(usize::try_from(BATCHES)?);
        let taken = thread::scope(|scope| {
            let consuming = scope.spawn(|| consume(&mut consumer, topic, due));
            let producing = scope.spawn(move || produce(&mut producer, frame, due, &answered));
            let taken = consuming.join().map_err(|_| anyhow!("the consumer panicked"))?;
            producing.join().map_err(|_| anyhow!("the producer panicked"))??;
            taken
        })?;
        ensure!(answers.iter().count() == usize::try_from(BATCHES)?, "not every batch was acknowledged");
        Ok(Self::of(taken.into_iter().skip(BATCHES_BEFORE).collect()))
    }

    fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        let at =
            |share: usize| taken.get(taken.len() * share / 1000).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3);
        Self { p50: at(500), p99: at(990), p999: at(999) }
    }
}

fn frame(topic: &TopicName) -> Result<BytesMut> {
    let mut builder = BatchBuilder::new(Timestamp(1_700_000_000_000));
    for number in 0..RECORDS_PER_BATCH {
        builder.push(None, Some(&value(number, RECORD_BYTES)));
    }
    encode(PRODUCE_VERSION, &load::produce_request(topic, ACKS_ALL, builder.build()?.bytes))
}

/// Answers are read when the next batch is due.
fn produce(
    connection: &mut Connection,
    mut frame: BytesMut,
    due: impl Fn(u32) -> Instant,
    answered: &mpsc::SyncSender<i64>,
) -> Result<()> {
    for batch in 0..BATCHES {
        thread::sleep(due(batch).saturating_duration_since(Instant::now()));
        connection.send(&mut frame)?;
        answered.send(connection.receive_base_offset()?)?;
    }
    Ok(())
}

/// How long each batch took, in their order.
fn consume(connection: &mut Connection, topic: &TopicName, due: impl Fn(u32) -> Instant) -> Result<Vec<Duration>> {
    let mut taken = Vec::new();
    while let Some(next) = u32::try_from(taken.len()).ok().filter(|next| *next < BATCHES) {
        let records = load::wait_for(connection, topic, i64::from(next) * i64::from(RECORDS_PER_BATCH))?;
        let now = Instant::now();
        let mut rest: &[u8] = &records;
        while let Some(head) = rest.first_chunk::<HEADER_LENGTH>() {
            let Some(behind) = BatchHeader::decode(head).length().and_then(|length| rest.get(length..)) else { break };
            let batch = u32::try_from(taken.len()).context("more batches than were sent")?;
            taken.push(now.saturating_duration_since(due(batch)));
            rest = behind;
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let latency = Latency::of((0..1000).rev().map(Duration::from_millis).collect());
        assert_eq!(latency, Latency { p50: 500.0, p99: 990.0, p999: 999.0 });
    }
}
