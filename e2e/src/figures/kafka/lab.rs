//! Shared by all comparisons: the programs, the machine's cores, a directory, and sizes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::contender::{Contender, Site};
use crate::broker::Broker;
use crate::figures::librdkafka::{self, Batches, Stream};
use crate::figures::load::LARGE;
use crate::figures::machine::{Cores, on_cores, touch_pages};
use crate::kafka_tools::KafkaTools;
use crate::progress::Progress;

/// Memory touched besides what a sample writes.
const TOUCHED_BYTES: u64 = 2 << 30;
const WARM_UP: &str = "warm-up";

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) millrace: PathBuf,
    pub(super) kafka: KafkaTools,
}

/// Sizes. By protocol at least two million records, before which a JVM has not compiled what it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) warm_up_records: u32,
    pub(super) records: u32,
    pub(super) warm_up_requests: u32,
    pub(super) requests: u32,
    pub(super) latency_seconds: u32,
    /// 6 GB, over all partitions.
    pub(super) loaded_records: u32,
    pub(super) fewer_partitions: u32,
    pub(super) more_partitions: u32,
}

impl Sizes {
    /// Full sizes for 1.
    pub(super) fn scaled(scale: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the number itself")]
        let scaled = |whole: u32| (f64::from(whole) * scale.clamp(0.0, 1.0)).ceil() as u32;
        Self {
            warm_up_records: scaled(2_000_000),
            records: scaled(1_000_000),
            warm_up_requests: scaled(50_000),
            requests: scaled(100_000),
            latency_seconds: scaled(30),
            loaded_records: scaled(5_860_000),
            fewer_partitions: scaled(1_000),
            more_partitions: scaled(10_000),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lab<'a> {
    pub(super) programs: Programs,
    pub(super) directory: PathBuf,
    pub(super) cores: Cores,
    pub(super) sizes: Sizes,
    pub(super) contenders: Vec<Contender>,
    pub(super) pairs: usize,
    /// Whether these are the sizes that the limits are for.
    pub(super) whole: bool,
    pub(super) progress: &'a Progress,
}

impl Lab<'_> {
    pub(super) fn site(&self, contender: Contender) -> Result<Site> {
        Site::new(&self.programs, contender, &self.directory)
    }

    /// A broker with a core of its own, and the work done on another.
    pub(super) fn pinned<T>(
        &self,
        contender: Contender,
        work: impl FnOnce(&Site, &mut Broker) -> Result<T>,
    ) -> Result<T> {
        let site = self.site(contender)?;
        let mut broker = on_cores(&self.cores.broker, || site.spawn())?;
        let outcome = on_cores(&self.cores.client, || work(&site, &mut broker));
        outcome.with_context(|| broker.last_words())
    }

    /// Produces and consumes until a JVM has compiled what both take.
    pub(super) fn warm_up(&self, bootstrap: &str) -> Result<()> {
        let stream = Stream { bootstrap, topic: WARM_UP, partitions: 1, records: self.sizes.warm_up_records };
        librdkafka::produce(&stream, "all", Batches::Default)?;
        librdkafka::consume(&stream, 0)
    }

    /// Touches the memory for what is about to be written, and more.
    pub(super) fn touch_pages(&self, records: u32) -> Result<()> {
        touch_pages(&self.directory, TOUCHED_BYTES + u64::from(records) * u64::from(LARGE.record_bytes))
    }
}

/// 10⁹ bytes of values.
pub(super) fn gigabytes(records: u32) -> f64 {
    f64::from(records) * f64::from(LARGE.record_bytes) / 1e9
}
