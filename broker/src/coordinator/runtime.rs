//! The thread of the coordinators: one loop that owns all shards of this broker.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use protocol::produce::CheckedBatch;
use protocol::types::{Offset, PartitionId, Timestamp, TopicId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::answer::tell;
use super::config::GroupConfig;
use super::counts::GroupCounts;
use super::error::{GroupError, Unavailable};
use super::handle::{Command, CoordinatorHandle};
use super::load::load;
use super::log::{GroupLogs, LogError, Term};
use super::request::{Moment, Positions};
use super::shard::{Shard, ShardLog};
use crate::clock;
use crate::metadata::Image;
use crate::metrics::GroupMetrics;

/// Requests that wait for the coordinators; whoever sends one more waits.
const COMMANDS_QUEUED_MAX: usize = 1024;
/// Requests that are handled before the loop looks around.
const COMMANDS_PER_TURN_MAX: usize = 128;
/// Partitions that are read at the same time.
const LOADING_THREADS: usize = 2;
/// What there is to do without anything due.
const IDLE: Duration = Duration::from_hours(1);
/// After which time a partition that could not be read is read again.
const RELOAD_DELAY: Duration = Duration::from_secs(1);

/// The running thread, for who stops it.
#[derive(Debug)]
pub(crate) struct CoordinatorThread {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl CoordinatorThread {
    pub(crate) fn spawn(
        logs: impl GroupLogs,
        config: GroupConfig,
        metrics: Arc<GroupMetrics>,
        image: Arc<ArcSwap<Image>>,
    ) -> std::io::Result<(CoordinatorHandle, Self)> {
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let handle = CoordinatorHandle { commands, image: image.clone() };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(LOADING_THREADS)
            .thread_name("group-loader")
            .build()?;
        let topics = image.load().topic_ids.clone();
        let runtime = Runtime {
            logs,
            config: Arc::new(config),
            metrics,
            image,
            topics,
            began: Instant::now(),
            places: BTreeMap::new(),
            loads: JoinSet::new(),
            taking_up: TakingUp::default(),
        };
        let thread = std::thread::Builder::new().name("groups".to_owned()).spawn(move || {
            tokio.block_on(runtime.run(receiver, &stopped));
            tokio.shutdown_background();
        })?;
        Ok((handle, Self { stop, thread }))
    }

    /// Who waits is told that the group is coordinated elsewhere. False: the thread has panicked.
    pub(crate) fn stop(self) -> bool {
        self.stop.cancel();
        self.thread.join().is_ok()
    }
}

struct Runtime<L> {
    logs: L,
    config: Arc<GroupConfig>,
    metrics: Arc<GroupMetrics>,
    image: Arc<ArcSwap<Image>>,
    /// As of the last look at the metadata.
    topics: OrdMap<String, TopicId>,
    began: Instant,
    places: BTreeMap<PartitionId, Place>,
    loads: JoinSet<Loaded>,
    taking_up: TakingUp,
}

/// Partitions that are read together: all of them at a start, those of another broker when it has gone.
#[derive(Default)]
struct TakingUp {
    began: Duration,
    partitions: usize,
    found: GroupCounts,
}

/// A partition that this broker leads.
struct Place {
    term: Term,
    /// `None`: it is being read.
    shard: Option<Shard>,
    /// Could not be read: when to try again.
    reload_at: Option<Duration>,
}

struct Loaded {
    term: Term,
    /// When the reading began.
    topics: OrdMap<String, TopicId>,
    shard: Shard,
    end: Result<Offset, LogError>,
    took: Duration,
}

/// One partition of the log, for its shard.
struct TermLog<'a, L> {
    logs: &'a L,
    term: Term,
}

impl<L: GroupLogs> ShardLog for TermLog<'_, L> {
    fn append(&mut self, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError> {
        self.logs.append(self.term, batch, now)
    }

    fn batch_bytes_max(&self) -> usize {
        self.logs.batch_bytes_max(self.term)
    }
}

impl<L: GroupLogs> Runtime<L> {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: &CancellationToken) {
        let mut waiting = Vec::with_capacity(COMMANDS_PER_TURN_MAX);
        self.follow_metadata();
        loop {
            self.follow_commits();
            self.wake();
            let due = tokio::time::Instant::from_std(self.began + self.next_deadline());
            tokio::select! {
                () = stop.cancelled() => return,
                received = commands.recv_many(&mut waiting, COMMANDS_PER_TURN_MAX) => {
                    if received == 0 {
                        return;
                    }
                    waiting.drain(..).for_each(|command| self.command(command));
                }
                () = self.logs.metadata_changed() => self.follow_metadata(),
                () = self.logs.committed() => {}
                Some(loaded) = self.loads.join_next() => match loaded {
                    Ok(loaded) => self.loaded(loaded),
                    Err(error) => error!(%error, "the reading of groups has failed"),
                },
                () = sleep_until(due) => {}
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { elapsed: self.began.elapsed(), wall: clock::wall(), age: self.logs.age_now() }
    }

    /// Takes up what this broker has come to lead, and gives up the rest.
    fn follow_metadata(&mut self) {
        self.logs.watch_metadata();
        let led = self.logs.led();
        self.places.retain(|_, place| led.contains(&place.term));
        for term in led {
            if let Entry::Vacant(place) = self.places.entry(term.partition) {
                place.insert(Place { term, shard: None, reload_at: None });
                self.load(term);
            }
        }
        self.follow_topics();
    }

    fn follow_topics(&mut self) {
        let image = self.image.load_full();
        if self.topics.ptr_eq(&image.topic_ids) {
            return;
        }
        let former = std::mem::replace(&mut self.topics, image.topic_ids.clone());
        let now = self.now();
        for topic in gone(&former, &self.topics) {
            for place in self.places.values_mut() {
                let mut log = TermLog { logs: &self.logs, term: place.term };
                if let Some(shard) = &mut place.shard {
                    shard.topic_deleted(topic, now, &mut log);
                }
            }
        }
    }

    fn load(&mut self, term: Term) {
        if self.loads.is_empty() {
            self.taking_up = TakingUp { began: self.began.elapsed(), ..TakingUp::default() };
        }
        let (logs, metrics, topics) = (self.logs.clone(), self.metrics.clone(), self.topics.clone());
        let mut shard = Shard::new(self.config.clone(), self.metrics.clone());
        self.loads.spawn_blocking(move || {
            let began = Instant::now();
            let end = load(&logs, term, &mut shard, &metrics);
            Loaded { term, topics, shard, end, took: began.elapsed() }
        });
    }

    fn loaded(&mut self, loaded: Loaded) {
        let now = self.now();
        self.take_up(loaded, now);
        if self.loads.is_empty() && 0 < self.taking_up.partitions {
            let TakingUp { began, partitions, found } = std::mem::take(&mut self.taking_up);
            let (groups, took_ms) = (found.group_count(), now.elapsed.saturating_sub(began).as_millis());
            info!(partitions, groups, offsets = found.offsets, took_ms, "coordinates groups");
        }
    }

    /// What was read under a leadership that is over is of no use.
    fn take_up(&mut self, loaded: Loaded, now: Moment) {
        let Loaded { term, topics, mut shard, end, took } = loaded;
        let Some(place) = self.places.get_mut(&term.partition).filter(|place| place.term == term) else { return };
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                error!(partition = %term.partition, %error, "groups cannot be loaded; trying again");
                place.reload_at = Some(now.elapsed + RELOAD_DELAY);
                return;
            }
        };
        let mut log = TermLog { logs: &self.logs, term };
        shard.loaded(end, now, &mut log);
        for topic in gone(&topics, &self.topics) {
            shard.topic_deleted(topic, now, &mut log);
        }
        self.metrics.load_time.observe(took);
        debug!(partition = %term.partition, epoch = %term.epoch, took_ms = took.as_millis(), "groups loaded");
        self.taking_up.partitions += 1;
        self.taking_up.found = self.taking_up.found.plus(shard.counts());
        place.shard = Some(shard);
    }

    /// Answers what waits for the high watermark.
    fn follow_commits(&mut self) {
        for place in self.places.values_mut() {
            let Some(shard) = &mut place.shard else { continue };
            let follow = |shard: &mut Shard| {
                if let Ok(high_watermark) = self.logs.high_watermark(place.term) {
                    shard.committed(high_watermark);
                }
            };
            if shard.waits_for_commit() {
                follow(shard);
            }
            if shard.waits_for_commit() {
                self.logs.watch_commits(place.term);
                // It may have moved before.
                follow(shard);
            }
        }
    }

    /// Does what is due, and tells the metrics what there is.
    fn wake(&mut self) {
        let now = self.now();
        let mut counts = GroupCounts::default();
        let mut reloads = Vec::new();
        for place in self.places.values_mut() {
            if place.reload_at.is_some_and(|at| at <= now.elapsed) {
                place.reload_at = None;
                reloads.push(place.term);
            }
            let Some(shard) = &mut place.shard else { continue };
            if shard.next_deadline() <= now.elapsed {
                shard.wake(now, &mut TermLog { logs: &self.logs, term: place.term });
            }
            counts = counts.plus(shard.counts());
        }
        for term in reloads {
            self.load(term);
        }
        self.metrics.found(counts.groups, counts.members, counts.offsets);
    }

    fn next_deadline(&self) -> Duration {
        let shards = self.places.values().filter_map(|place| Some(place.shard.as_ref()?.next_deadline()));
        let reloads = self.places.values().filter_map(|place| place.reload_at);
        shards.chain(reloads).min().unwrap_or_else(|| self.began.elapsed() + IDLE)
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Group { partition, id, request } => match self.places.get_mut(&partition) {
                Some(Place { term, shard: Some(shard), .. }) => {
                    shard.handle(&id, request, now, &mut TermLog { logs: &self.logs, term: *term });
                }
                Some(_) => request.refuse(Unavailable::Loading),
                None => request.refuse(Unavailable::NotCoordinator),
            },
            Command::List(reply) => {
                let mut answers = Vec::with_capacity(self.places.len());
                for place in self.places.values_mut() {
                    let Some(shard) = &mut place.shard else {
                        return tell(reply, Err(GroupError::Unavailable(Unavailable::Loading)));
                    };
                    let (listed, answer) = tokio::sync::oneshot::channel();
                    shard.list(listed, now);
                    answers.push(answer);
                }
                tell(reply, Ok(answers));
            }
            Command::Positions { at_most, reply } => {
                let mut positions = Positions::default();
                for shard in self.places.values().filter_map(|place| place.shard.as_ref()) {
                    shard.add_positions(&mut positions, at_most);
                }
                let _gone = reply.send(positions);
            }
        }
    }
}

/// Names of topics that are not there any more, or are others by now.
fn gone<'a>(
    former: &'a OrdMap<String, TopicId>,
    current: &'a OrdMap<String, TopicId>,
) -> impl Iterator<Item = &'a str> {
    former.diff(current).filter_map(|change| match change {
        DiffItem::Remove(name, _) => Some(name.as_str()),
        DiffItem::Update { old: (name, former), new: (_, current) } => (former != current).then_some(name.as_str()),
        DiffItem::Add(..) => None,
    })
}

#[cfg(test)]
#[path = "runtime_test.rs"]
mod tests;
