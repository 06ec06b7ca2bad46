//! From the moment at which a record was due to be sent to its arrival at a consumer, at a steady rate. A producer that
//! is held up makes its records late: what waits is not left out.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;

use super::contender::Contender;
use super::lab::Lab;
use super::pairs::Reading;
use super::probe::topic;
use super::table::Measure;
use crate::figures::librdkafka::{Payload, Stream, consumer, producer, send};
use crate::figures::machine::{Noise, Snapshot};

const TOPIC: &str = "latency";
/// 20 MB of 1 KiB records in a second.
const RECORDS_PER_SECOND: u32 = 19_531;
/// At the beginning, not counted: producer, consumer and broker find each other.
const SECONDS_LEFT_OUT: u32 = 5;
const LINGER: Duration = Duration::from_millis(1);
/// Records become due every 51 µs.
const PACE: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn measures() -> Vec<Measure> {
    let measure = |percentile| Measure::less(format!("end to end at 20 MB/s, acks=all: {percentile}"), "ms", 2);
    vec![measure("p50"), measure("p99").at_most(5.0), measure("p99.9").at_most(12.0)]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        let bootstrap = site.bootstrap();
        site.connect(broker)?.create_topic(&topic(TOPIC))?;
        lab.warm_up(&bootstrap)?;
        let records = (lab.sizes.latency_seconds + SECONDS_LEFT_OUT) * RECORDS_PER_SECOND;
        lab.touch_pages(records)?;
        let stream = Stream { bootstrap: &bootstrap, topic: TOPIC, partitions: 1, records };
        let before = Snapshot::take(Some(broker.id()))?;
        let mut latencies = measure(&stream)?;
        let noise = before.noise_until(&Snapshot::take(Some(broker.id()))?);
        let mut counted = latencies.split_off((SECONDS_LEFT_OUT * RECORDS_PER_SECOND) as usize);
        counted.sort_unstable();
        let readings = [500, 990, 999].map(|per_mille| milliseconds(percentile(&counted, per_mille)).into());
        Ok((readings.to_vec(), noise))
    })
}

/// Of every record, in their order.
fn measure(stream: &Stream<'_>) -> Result<Vec<Duration>> {
    let consumer = consumer(stream)?;
    let begin = Instant::now() + Duration::from_secs(1);
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_at_pace(stream, begin));
        let received = receive(&consumer, stream, begin);
        sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        received
    })
}

/// Of a record since the first.
fn due(number: u32) -> Duration {
    Duration::from_secs(number.into()) / RECORDS_PER_SECOND
}

fn send_at_pace(stream: &Stream<'_>, begin: Instant) -> Result<()> {
    let producer = producer(stream.bootstrap, "all", LINGER)?;
    let mut payload = Payload::new();
    for number in 0..stream.records {
        while Instant::now() < begin + due(number) {
            thread::sleep(PACE);
        }
        send(&producer, stream.topic, 0, payload.of(number))?;
    }
    producer.flush(PATIENCE).context("librdkafka did not get every record acknowledged")
}

fn receive(consumer: &BaseConsumer, stream: &Stream<'_>, begin: Instant) -> Result<Vec<Duration>> {
    let mut payload = Payload::new();
    let mut latencies = Vec::with_capacity(stream.records as usize);
    for number in 0..stream.records {
        let message = consumer.poll(PATIENCE).with_context(|| format!("record {number} does not come"))??;
        latencies.push(Instant::now().saturating_duration_since(begin + due(number)));
        ensure!(message.offset() == i64::from(number), "offset {} came in place of {number}", message.offset());
        ensure!(message.payload() == Some(payload.of(number)), "record {number} is not what was sent");
    }
    Ok(latencies)
}

/// The smallest value that so many are not above.
fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        for (per_mille, expected) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            assert_eq!(percentile(&sorted, per_mille), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&sorted[..3], 500), Duration::from_millis(2));
        assert_eq!(percentile(&sorted[..1], 999), Duration::from_millis(1));
    }
}
