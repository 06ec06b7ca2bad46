//! Latency histograms, all with the same buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets; beyond the last there is one more.
const BOUNDS: [Duration; 13] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(5),
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// May be observed from several threads at once.
#[derive(Debug, Default)]
pub(crate) struct LatencyHistogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// The content of histograms when they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Latencies {
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl LatencyHistogram {
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, latencies: &mut Latencies) {
        for (sum, count) in latencies.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        latencies.sum += Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
    }

    pub(crate) fn read(&self) -> Latencies {
        let mut latencies = Latencies::default();
        self.add_to(&mut latencies);
        latencies
    }
}

impl Latencies {
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// Upper bound in seconds and observations of each bucket; the last one has no bound.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::MAX]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_includes_its_bound() {
        for (micros, bucket) in [(0, 0), (50, 0), (51, 1), (5_000_000, 12), (5_000_001, 13)] {
            let histogram = LatencyHistogram::default();
            histogram.observe(Duration::from_micros(micros));
            let found = histogram.read().buckets().iter().position(|(_, count)| *count == 1);
            assert_eq!(found, Some(bucket), "{micros} µs");
        }
    }
}
