//! The thread that compacts logs, one after the other: the one with the largest share of what is new first, or one that
//! has waited for longer than `max.compaction.lag.ms`.
//!
//! A log that cannot be compacted, for a reason that lies in it, is left alone until the next start, told of and
//! counted; the others go on, and so do appends to it. Where something ran out it is tried again later.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::RandomState;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::types::{PartitionId, Timestamp, TopicId};
use storage::{Compaction, CompactionError, CompactionLimits, CompactionOwner, KeyHasher, Log, ReservedDisk};
use tracing::{debug, error, info, warn};

use super::cleaner_metrics::Look;
use super::manager::ReplicaManager;
use super::pacer::Pacer;
use super::partition::Partition;
use crate::clock;

/// What a compressed batch may hold: as much as producers may send.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// Less memory for the map of keys is not taken.
const MAP_BYTES_MIN: u64 = 1 << 20;
/// How long a log is left alone that could not be compacted for want of something.
const RETRY_PAUSE: Duration = Duration::from_mins(1);
/// What is used is counted, and paused for, after so much.
const COUNTED_BYTES: u64 = 256 << 10;
/// After this the pause is thought over: the limit may have been raised.
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Cleaner {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Cleaner {
    pub(crate) fn spawn(replicas: Arc<ReplicaManager>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = std::thread::Builder::new().name("cleaner".to_owned()).spawn(move || run(&replicas, &stop))?;
        Ok(Self { stopping, thread })
    }

    /// Waits until the pass in progress has ended, which it does soon.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            error!("the cleaner panicked");
        }
    }
}

fn run(replicas: &ReplicaManager, stopping: &AtomicBool) {
    let mut cleaning = Cleaning { replicas, stopping, avoided: HashMap::new() };
    while !stopping.load(Ordering::Acquire) {
        if !cleaning.clean_one() {
            std::thread::park_timeout(replicas.interval("log.cleaner.backoff.ms"));
        }
    }
}

type Key = (TopicId, PartitionId);

/// Why a partition is not compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Avoided {
    Uncleanable,
    Until(Instant),
}

#[derive(Debug)]
struct Cleaning<'a> {
    replicas: &'a ReplicaManager,
    stopping: &'a AtomicBool,
    avoided: HashMap<Key, Avoided>,
}

impl Cleaning<'_> {
    /// `false`: there is nothing to do now.
    fn clean_one(&mut self) -> bool {
        if !self.replicas.broker_values().get_bool("log.cleaner.enable") {
            return false;
        }
        let now = self.replicas.age_now();
        let Some(partition) = self.filthiest(now) else { return false };
        let rules = partition.settings().compaction;
        let started =
            rules.and_then(|rules| partition.with_log(|log| log.start_compaction(&rules, now)).ok().flatten());
        let outcome = started.ok_or(CompactionError::Stopped).and_then(|pass| self.clean(&partition, pass));
        if let Err(error) = outcome {
            self.failed(&partition, &error);
        }
        true
    }

    /// Of those that are to be compacted the one with the largest share of new bytes.
    fn filthiest(&mut self, now: Timestamp) -> Option<Arc<Partition>> {
        let (mut look, mut found) = (Look::default(), None::<(f64, Arc<Partition>)>);
        let partitions = self.replicas.all();
        self.forget_what_is_gone(&partitions);
        for partition in partitions {
            let Some(rules) = partition.settings().compaction else { continue };
            let Ok(dirt) = partition.with_log(|log| log.dirt(&rules, now)) else { continue };
            let avoided = self.avoided.get(&key(&partition));
            if avoided == Some(&Avoided::Uncleanable) {
                look.uncleanable_partitions += 1;
                look.uncleanable_bytes += dirt.dirty_bytes();
                continue;
            }
            if dirt.dirty_bytes() == 0 {
                continue;
            }
            let overdue_ms = if rules.lag_ms_max == i64::MAX { 0 } else { dirt.overdue_ms(&rules, now) };
            look.max_dirty_ratio = look.max_dirty_ratio.max(dirt.ratio());
            look.max_delay_ms = look.max_delay_ms.max(overdue_ms);
            let is_due = rules.dirty_ratio_min < dirt.ratio() || 0 < overdue_ms;
            if is_due && avoided.is_none() && found.as_ref().is_none_or(|(ratio, _)| *ratio < dirt.ratio()) {
                found = Some((dirt.ratio(), partition));
            }
        }
        self.replicas.cleaning.looked(&look, monotonic_ms());
        found.map(|(_, partition)| partition)
    }

    fn forget_what_is_gone(&mut self, partitions: &[Arc<Partition>]) {
        let now = Instant::now();
        self.avoided.retain(|avoided, why| {
            let is_over = matches!(why, Avoided::Until(end) if *end <= now);
            !is_over && partitions.iter().any(|partition| key(partition) == *avoided)
        });
    }

    fn clean(&self, partition: &Arc<Partition>, compaction: Compaction) -> Result<(), CompactionError> {
        let began = Instant::now();
        let owner = Owner { cleaning: self, partition, pacer: RefCell::default(), uncounted: Cell::default() };
        let outcome = compaction.run(&self.limits(), &owner);
        owner.count();
        let compacted = outcome?;
        self.replicas.cleaning.cleaned(compacted.bytes_before, compacted.bytes_after);
        self.replicas.checkpoint_is_due();
        info!(
            partition = %partition.name,
            end = %compacted.end,
            bytes_before = compacted.bytes_before,
            bytes_after = compacted.bytes_after,
            took_ms = began.elapsed().as_millis(),
            "compacted"
        );
        Ok(())
    }

    fn limits(&self) -> CompactionLimits {
        let (values, pool) = (self.replicas.broker_values(), &self.replicas.pool);
        let map_bytes = u64::try_from(values.get_long("log.cleaner.dedupe.buffer.size")).unwrap_or(0);
        CompactionLimits {
            disk: Arc::new(ReservedDisk::new(pool.disk().clone(), self.replicas.space().reserve().clone())),
            hasher: KeyHasher::new([RandomState::new(), RandomState::new()]),
            map_bytes_max: map_bytes.max(MAP_BYTES_MIN),
            load_factor: values.get_double("log.cleaner.io.buffer.load.factor"),
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        }
    }

    fn failed(&mut self, partition: &Arc<Partition>, failure: &CompactionError) {
        let later = Avoided::Until(Instant::now() + RETRY_PAUSE);
        let avoided = if matches!(failure, CompactionError::Stopped) {
            debug!(partition = %partition.name, "a pass of compaction was ended");
            later
        } else if failure.is_shortage() {
            warn!(partition = %partition.name, error = %failure, "not compacted now: something ran out");
            later
        } else if failure.is_fatal() && self.replicas.is_hosted(partition) {
            self.replicas.directory_failed(&failure.to_string());
            Avoided::Uncleanable
        } else {
            error!(partition = %partition.name, error = %failure, "not compacted before the next start, but served");
            Avoided::Uncleanable
        };
        self.avoided.insert(key(partition), avoided);
    }
}

fn key(partition: &Partition) -> Key {
    (partition.topic_id, partition.name.partition)
}

fn monotonic_ms() -> u64 {
    u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX)
}

struct Owner<'a> {
    cleaning: &'a Cleaning<'a>,
    partition: &'a Partition,
    pacer: RefCell<Pacer>,
    /// Bytes read and written that are not in the metrics yet.
    uncounted: Cell<(u64, u64)>,
}

impl Owner<'_> {
    /// Returns how many bytes are counted now.
    fn count(&self) -> u64 {
        let (read, written) = self.uncounted.take();
        self.cleaning.replicas.cleaning.used(read, written);
        read + written
    }

    fn pause(&self, pause: Duration) -> ControlFlow<()> {
        let until = Instant::now() + pause.min(PAUSE_MAX);
        while !self.cleaning.stopping.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::park_timeout(left);
        }
        ControlFlow::Break(())
    }
}

impl CompactionOwner for Owner<'_> {
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.partition.with_log_mut(change).ok()
    }

    fn used(&self, read: u64, written: u64) -> ControlFlow<()> {
        let (read_before, written_before) = self.uncounted.get();
        self.uncounted.set((read_before + read, written_before + written));
        if read_before + read + written_before + written < COUNTED_BYTES {
            return ControlFlow::Continue(());
        }
        let rate = self.cleaning.replicas.broker_values().get_double("log.cleaner.io.max.bytes.per.second");
        self.pause(self.pacer.borrow_mut().pause(self.count(), rate, clock::monotonic()))
    }

    fn replaced(&self, files: Vec<PathBuf>) {
        let delay = self.partition.settings().file_delete_delay;
        self.cleaning.replicas.removals.add_files(files, delay);
    }
}

#[cfg(test)]
#[path = "cleaner_test.rs"]
mod tests;
