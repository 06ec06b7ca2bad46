//! Latency of a record from one client to another: a producer that sends 20 MB a second, whatever the answers, and a
//! consumer that waits for each batch. Time runs from the moment at which a batch is due: delays of the producer
//! count, too.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use kafka_protocol::messages::TopicName;

use super::load::{self, ProduceFrame, Sent, Shape};
use crate::connection::Connection;

const SHAPE: Shape = Shape { record_bytes: 1024, records_per_batch: 10, acks: -1, in_flight_max: 5 };
const INTERVAL: Duration = Duration::from_micros(512);
/// At the start, not counted.
const BATCHES_BEFORE: usize = 2_000;
pub(super) const BATCHES_PER_SECOND: u32 = 1_953;

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
    /// Measures so many batches after the first ones, in an existing empty topic. Everything is read once more.
    pub(super) fn measure(
        mut connect: impl FnMut() -> Result<Connection>,
        topic: &TopicName,
        batches: u32,
    ) -> Result<Self> {
        let batches = batches + u32::try_from(BATCHES_BEFORE)?;
        let [mut producer, mut consumer] = [connect()?, connect()?];
        let begin = Instant::now() + Duration::from_millis(100);
        let due = |batch: u32| begin + INTERVAL * batch;
        let (sent, taken) = thread::scope(|scope| {
            let producing = scope.spawn(|| produce(&mut producer, topic, batches, due));
            let taken = consume(&mut consumer, topic, batches, due);
            let sent = producing.join().map_err(|_| anyhow!("the producer panicked"))??;
            anyhow::Ok((sent, taken?))
        })?;
        load::consume(&mut consumer, topic, &sent)?;
        Ok(Self::of(taken.into_iter().skip(BATCHES_BEFORE).collect()))
    }

    fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        let at =
            |share: usize| taken.get(taken.len() * share / 1000).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3);
        Self { p50: at(500), p99: at(990), p999: at(999) }
    }
}

/// Waits for an answer only if as many are outstanding as a Kafka producer allows by default.
fn produce(connection: &mut Connection, topic: &TopicName, batches: u32, due: impl Fn(u32) -> Instant) -> Result<Sent> {
    let mut frame = ProduceFrame::new(topic, SHAPE)?;
    let (mut checksums, mut answered) = (Vec::new(), 0);
    for batch in 0..batches {
        if answered + SHAPE.in_flight_max <= checksums.len() {
            connection.receive_base_offset()?;
            answered += 1;
        }
        thread::sleep(due(batch).saturating_duration_since(Instant::now()));
        checksums.push(frame.mark(batch));
        connection.send(&mut frame.bytes)?;
    }
    for _ in answered..checksums.len() {
        connection.receive_base_offset()?;
    }
    Ok(Sent::new(SHAPE, checksums))
}

/// How long each batch took, in order.
fn consume(
    connection: &mut Connection,
    topic: &TopicName,
    batches: u32,
    due: impl Fn(u32) -> Instant,
) -> Result<Vec<Duration>> {
    let mut taken = Vec::new();
    while let Some(next) = u32::try_from(taken.len()).ok().filter(|next| *next < batches) {
        let records = load::wait_for(connection, topic, i64::from(next) * i64::from(SHAPE.records_per_batch))?;
        let now = Instant::now();
        ensure!(!records.is_empty(), "batch {next} does not come");
        let mut rest: &[u8] = &records;
        while let Some((_, behind)) = load::split_batch(rest) {
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
