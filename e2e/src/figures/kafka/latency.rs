//! End-to-end latency at a steady rate, far below what either broker can do.

use anyhow::Result;

use super::contender::Contender;
use super::lab::Lab;
use super::pairs::Reading;
use super::probe::topic;
use super::table::Measure;
use crate::figures::latency::{BATCHES_PER_SECOND, Latency};
use crate::figures::machine::{Noise, Snapshot};

const TOPIC: &str = "latency";
const RECORDS_PER_BATCH: u32 = 10;

pub(super) fn measures() -> Vec<Measure> {
    let measure = |percentile| Measure::less(format!("send to read at 20 MB/s, acks=all: {percentile}"), "ms", 2);
    vec![measure("p50"), measure("p99").at_most(5.0), measure("p99.9").at_most(12.0)]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        site.connect(broker)?.create_topic(&topic(TOPIC))?;
        lab.warm_up(&site.bootstrap())?;
        let batches = lab.sizes.latency_seconds * BATCHES_PER_SECOND;
        lab.touch_pages(batches * RECORDS_PER_BATCH)?;
        let before = Snapshot::take(&[broker.id()])?;
        let latency = Latency::measure(|| site.connect(broker), &topic(TOPIC), batches)?;
        let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
        Ok(([latency.p50, latency.p99, latency.p999].map(Reading::from).to_vec(), noise))
    })
}
