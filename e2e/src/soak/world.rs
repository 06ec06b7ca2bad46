//! State shared by all threads of a run: what is written where, what was seen of it, and whether it is over.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::history::{Delivery, History};

pub(super) const PARTITIONS: usize = 3;

/// A topic, and the guarantees of its producers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) delivery: Delivery,
}

/// A topic by its index, and its producer's settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) topic: usize,
    pub(super) settings: [(&'static str, &'static str); 3],
}

impl Load {
    pub(super) const fn idempotent(topic: usize, codec: &'static str) -> Self {
        Self { topic, settings: [("compression.type", codec), ("acks", "all"), ("enable.idempotence", "true")] }
    }

    pub(super) const fn plain(topic: usize, codec: &'static str, acks: &'static str) -> Self {
        Self { topic, settings: [("compression.type", codec), ("acks", acks), ("enable.idempotence", "false")] }
    }
}

/// Topics of [`PARTITIONS`] partitions each, and their producers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    pub(super) topics: &'static [Topic],
    pub(super) loads: &'static [Load],
    /// The longest pause of a producer between two bursts.
    pub(super) pause_max: Duration,
    /// The pause of readers that do not follow the end.
    pub(super) rest: Duration,
}

pub(super) const TOPICS: [Topic; 2] = [
    Topic { name: "idempotent", delivery: Delivery::ExactlyOnce },
    Topic { name: "plain", delivery: Delivery::AtLeastOnce },
];
/// The last one uses acks=1.
const LOADS: &[Load] = &[
    Load::idempotent(0, "none"),
    Load::idempotent(0, "lz4"),
    Load::idempotent(0, "zstd"),
    Load::plain(1, "gzip", "all"),
    Load::plain(1, "snappy", "1"),
];

impl Workload {
    /// For one broker, which loses nothing that it has acknowledged.
    pub(super) const ONE_BROKER: Self =
        Self { topics: &TOPICS, loads: LOADS, pause_max: Duration::from_millis(8), rest: Duration::from_millis(10) };
    /// For several brokers, which lose nothing that all of them have.
    pub(super) const REPLICATED: Self =
        Self { loads: LOADS.split_at(4).0, pause_max: Duration::from_millis(40), ..Self::ONE_BROKER };

    /// All partitions: a topic by its index, a partition of it, and their directory below a data directory.
    pub(super) fn partitions(self) -> impl Iterator<Item = (usize, i32, String)> {
        let topics = self.topics.iter().enumerate();
        topics.flat_map(|(index, topic)| {
            (0..).take(PARTITIONS).map(move |partition| (index, partition, format!("{}-{partition}", topic.name)))
        })
    }
}

/// State shared by all threads.
#[derive(Debug)]
pub(super) struct World {
    pub(super) workload: Workload,
    histories: Vec<[Mutex<History>; PARTITIONS]>,
    /// No more records are sent.
    enough: AtomicBool,
    /// Readers end.
    over: AtomicBool,
    violations: Mutex<Vec<String>>,
    /// The longest wait of a record for its acknowledgement, in microseconds.
    longest_wait: AtomicU64,
}

impl World {
    pub(super) fn new(workload: Workload) -> Self {
        let histories = workload.topics.iter().map(|_| <[Mutex<History>; PARTITIONS]>::default()).collect();
        let (enough, over, violations) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        Self { workload, histories, enough, over, violations, longest_wait: AtomicU64::new(0) }
    }

    pub(super) fn topic(&self, topic: usize) -> &'static str {
        self.workload.topics[topic].name
    }

    pub(super) fn with<T>(&self, topic: usize, partition: i32, work: impl FnOnce(&mut History) -> T) -> Result<T> {
        let history = usize::try_from(partition).ok().and_then(|partition| self.histories.get(topic)?.get(partition));
        match history.map(Mutex::lock) {
            Some(Ok(mut history)) => Ok(work(&mut history)),
            Some(Err(_)) => bail!("a thread of the soak has panicked"),
            None => bail!("{} has no partition {partition}", self.topic(topic)),
        }
    }

    /// Keeps an error for the main thread.
    pub(super) fn expect(&self, outcome: Result<()>) {
        if let (Err(error), Ok(mut violations)) = (outcome, self.violations.lock()) {
            violations.push(format!("{error:#}"));
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let Ok(violations) = self.violations.lock() else { bail!("a thread of the soak has panicked") };
        ensure!(violations.is_empty(), "{} violations, the first ones: {:#?}", violations.len(), {
            violations.iter().take(5).collect::<Vec<_>>()
        });
        Ok(())
    }

    /// Records, in all partitions.
    pub(super) fn acknowledged(&self) -> Result<usize> {
        let mut sum = 0;
        for history in self.histories.iter().flatten() {
            let Ok(history) = history.lock() else { bail!("a thread of the soak has panicked") };
            sum += history.count();
        }
        Ok(sum)
    }

    pub(super) fn acknowledged_after(&self, wait: Duration) {
        self.longest_wait.fetch_max(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Since the last call.
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_wait.swap(0, Ordering::Relaxed))
    }

    pub(super) fn send_no_more(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    /// Checks every partition once everything has been acknowledged and read.
    pub(super) fn conclude(&self) -> Result<()> {
        ensure!(0 < self.acknowledged()?, "nothing was ever acknowledged");
        for (topic, partition, name) in self.workload.partitions() {
            let delivery = self.workload.topics[topic].delivery;
            self.with(topic, partition, |history| history.conclude(delivery))?.with_context(|| name)?;
        }
        Ok(())
    }

    pub(super) fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Tells the threads to end when the main thread ends, for whatever reason.
pub(super) struct EndAll<'a>(pub(super) &'a World);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
        self.0.over.store(true, Ordering::Relaxed);
    }
}
