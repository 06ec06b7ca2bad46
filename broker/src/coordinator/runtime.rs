//! The coordinator thread: one loop that decides which shards there are, and does what is due in them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use protocol::types::{Offset, TopicId};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::OFFSETS_TOPIC;
use super::config::GroupConfig;
use super::coordinators::{Coordinators, Places, now};
use super::counts::GroupCounts;
use super::handle::CoordinatorHandle;
use super::load::load;
use super::log::{GroupLogs, LogError, Term};
use super::place::{Place, TermLog};
use super::shard::Shard;
use crate::clock;
use crate::failure::Failures;
use crate::metadata::Image;
use crate::metrics::GroupMetrics;

/// Partitions that are loaded at the same time.
const LOADING_THREADS: usize = 2;
/// Pause when nothing is due.
const IDLE: Duration = Duration::from_hours(1);
/// Pause before a partition that could not be read is read again.
const RELOAD_DELAY: Duration = Duration::from_secs(1);

/// The running thread, to be stopped.
#[derive(Debug)]
pub(crate) struct CoordinatorThread {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl CoordinatorThread {
    pub(crate) fn spawn(
        logs: Arc<dyn GroupLogs>,
        config: GroupConfig,
        metrics: Arc<GroupMetrics>,
        image: Arc<ArcSwap<Image>>,
        failures: &Failures,
    ) -> std::io::Result<(CoordinatorHandle, Self)> {
        let coordinators = Arc::new(Coordinators::new(logs));
        let handle = CoordinatorHandle { coordinators: coordinators.clone() };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(LOADING_THREADS)
            .thread_name("group-loader")
            .build()?;
        let runtime = Runtime::new(coordinators, config, metrics, image);
        let thread = failures.spawn("groups", move || {
            tokio.block_on(run(runtime, &stopped));
            tokio.shutdown_background();
        })?;
        Ok((handle, Self { stop, thread }))
    }

    /// Waiting callers are told that the group is coordinated elsewhere.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        // A panic has been reported as a failure already.
        let _told = self.thread.join();
    }
}

async fn run(mut runtime: Runtime, stop: &CancellationToken) {
    let mut loads = JoinSet::new();
    runtime.follow_metadata();
    loop {
        let due = runtime.wake();
        for load in runtime.take_loads() {
            loads.spawn_blocking(|| load.run());
        }
        let (logs, alarm) = (&runtime.coordinators.logs, &runtime.coordinators.alarm);
        tokio::select! {
            () = stop.cancelled() => return,
            () = alarm.brought_forward() => {}
            () = logs.committed() => {}
            () = logs.metadata_changed() => runtime.follow_metadata(),
            Some(loaded) = loads.join_next() => match loaded {
                Ok(loaded) => runtime.loaded(loaded),
                Err(error) => error!(%error, "loading of groups failed"),
            },
            () = sleep(due.saturating_sub(clock::monotonic())) => {}
        }
    }
}

/// The state of the thread.
pub(super) struct Runtime {
    coordinators: Arc<Coordinators>,
    config: Arc<GroupConfig>,
    metrics: Arc<GroupMetrics>,
    image: Arc<ArcSwap<Image>>,
    /// The topics at the last look at the metadata.
    topics: OrdMap<String, TopicId>,
    /// Partitions to be loaded, on other threads.
    loads: Vec<Load>,
    /// Partitions that could not be read, and when to retry.
    reloads: Vec<(Duration, Term)>,
    taking_up: TakingUp,
}

/// Partitions that are loaded together: all of them at a start, those of a failed broker after it has gone.
#[derive(Default)]
struct TakingUp {
    began: Duration,
    /// How many are being loaded.
    under_way: usize,
    partitions: usize,
    found: GroupCounts,
}

/// One partition to be loaded, which may take long.
pub(super) struct Load {
    logs: Arc<dyn GroupLogs>,
    metrics: Arc<GroupMetrics>,
    topics: OrdMap<String, TopicId>,
    term: Term,
    shard: Shard,
}

pub(super) struct Loaded {
    term: Term,
    /// The topics when loading began.
    topics: OrdMap<String, TopicId>,
    shard: Shard,
    end: Result<Offset, LogError>,
    took: Duration,
}

impl Load {
    pub(super) fn run(self) -> Loaded {
        let Self { logs, metrics, topics, term, mut shard } = self;
        let began = Instant::now();
        let end = catch_unwind(AssertUnwindSafe(|| load(&*logs, term, &mut shard, &metrics)));
        let end = end.unwrap_or_else(|_| Err(LogError::Storage("reading it panicked".to_owned())));
        Loaded { term, topics, shard, end, took: began.elapsed() }
    }
}

impl Runtime {
    pub(super) fn new(
        coordinators: Arc<Coordinators>,
        config: GroupConfig,
        metrics: Arc<GroupMetrics>,
        image: Arc<ArcSwap<Image>>,
    ) -> Self {
        let topics = image.load().topic_ids.clone();
        Self {
            coordinators,
            config: Arc::new(config),
            metrics,
            image,
            topics,
            loads: Vec::new(),
            reloads: Vec::new(),
            taking_up: TakingUp::default(),
        }
    }

    /// The caller runs each and passes the result to [`Self::loaded`].
    pub(super) fn take_loads(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.loads)
    }

    /// Loads the partitions that this broker now leads, and drops those that it no longer leads.
    pub(super) fn follow_metadata(&mut self) {
        self.coordinators.logs.watch_metadata();
        let former = self.coordinators.places();
        let partitions = self.image.load().topic(OFFSETS_TOPIC).map_or(0, |topic| topic.partitions.len());
        let mut places = Places { partitions, ..Places::default() };
        for term in self.coordinators.logs.led() {
            let known = former.led.get(&term.partition).filter(|place| place.term == term && !place.is_spoilt());
            let place = known.cloned().unwrap_or_else(|| {
                self.load(term);
                Arc::new(Place::loading(term))
            });
            places.led.insert(term.partition, place);
        }
        self.coordinators.replace(places);
        self.follow_topics();
    }

    fn follow_topics(&mut self) {
        let image = self.image.load_full();
        if self.topics.ptr_eq(&image.topic_ids) {
            return;
        }
        let former = std::mem::replace(&mut self.topics, image.topic_ids.clone());
        gone(&former, &self.topics).for_each(|topic| self.coordinators.topic_deleted(topic));
    }

    fn load(&mut self, term: Term) {
        if self.taking_up.under_way == 0 {
            self.taking_up = TakingUp { began: clock::monotonic(), ..TakingUp::default() };
        }
        self.taking_up.under_way += 1;
        let (logs, metrics, topics) = (self.coordinators.logs.clone(), self.metrics.clone(), self.topics.clone());
        let shard = Shard::new(self.config.clone(), self.metrics.clone());
        self.loads.push(Load { logs, metrics, topics, term, shard });
    }

    pub(super) fn loaded(&mut self, loaded: Loaded) {
        self.take_up(loaded);
        self.taking_up.under_way -= 1;
        if self.taking_up.under_way == 0 && 0 < self.taking_up.partitions {
            let TakingUp { began, partitions, found, .. } = std::mem::take(&mut self.taking_up);
            let (groups, took_ms) = (found.group_count(), clock::monotonic().saturating_sub(began).as_millis());
            info!(partitions, groups, offsets = found.offsets, took_ms, "became coordinator of groups");
        }
    }

    /// Takes over a loaded shard, unless its leadership is over.
    fn take_up(&mut self, loaded: Loaded) {
        let Loaded { term, topics, mut shard, end, took } = loaded;
        let places = self.coordinators.places();
        let Some(place) = places.led.get(&term.partition).filter(|place| place.term == term) else { return };
        let now = now();
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                error!(partition = %term.partition, %error, "groups cannot be loaded; trying again");
                return self.reloads.push((now.elapsed + RELOAD_DELAY, term));
            }
        };
        let mut log = TermLog { logs: &*self.coordinators.logs, term };
        shard.loaded(end, now, &mut log);
        for topic in gone(&topics, &self.topics) {
            shard.topic_deleted(topic, now, &mut log);
        }
        self.metrics.load_time.observe(took);
        debug!(partition = %term.partition, epoch = %term.epoch, took_ms = took.as_millis(), "loaded groups");
        self.taking_up.partitions += 1;
        self.taking_up.found = self.taking_up.found.plus(shard.counts());
        place.loaded(shard);
    }

    /// Does what is due. Returns the next deadline.
    pub(super) fn wake(&mut self) -> Duration {
        self.coordinators.alarm.begin_look();
        if self.coordinators.places().led.values().any(|place| place.is_spoilt()) {
            self.follow_metadata();
        }
        let now = clock::monotonic();
        let due: Vec<_> = self.reloads.extract_if(.., |(at, _)| *at <= now).collect();
        let places = self.coordinators.places();
        let is_led = |term: &Term| places.led.get(&term.partition).is_some_and(|place| place.term == *term);
        due.into_iter().map(|(_, term)| term).filter(is_led).for_each(|term| self.load(term));
        let reloads = self.reloads.iter().map(|(at, _)| *at);
        let next = reloads.chain(self.coordinators.wake()).min().unwrap_or(now + IDLE);
        self.coordinators.alarm.set(next);
        next
    }
}

impl Drop for Runtime {
    /// Without the thread nothing due would be done in the shards: they are dropped, whatever the reason.
    fn drop(&mut self) {
        self.coordinators.replace(Places::default());
    }
}

/// Deleted topics, including those whose name another topic has by now.
fn gone<'a>(
    former: &'a OrdMap<String, TopicId>,
    current: &'a OrdMap<String, TopicId>,
) -> impl Iterator<Item = (&'a str, TopicId)> {
    former.diff(current).filter_map(|change| match change {
        DiffItem::Remove(name, id) => Some((name.as_str(), *id)),
        DiffItem::Update { old: (name, former), new: (_, current) } => {
            (former != current).then_some((name.as_str(), *former))
        }
        DiffItem::Add(..) => None,
    })
}

#[cfg(test)]
#[path = "runtime_test.rs"]
mod tests;
