//! The work of the cleaner threads: each compacts a log that has waited for longer than `max.compaction.lag.ms`, or
//! else the one with the largest dirty ratio, unless another thread is at it. The limits of memory and I/O rate are
//! shared.
//!
//! A log that cannot be compacted because of its content is left alone until the next start, logged and counted;
//! others go on, and so do appends to it. After a shortage it is retried later. A pass does not use the space that
//! is reserved for others.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::RandomState;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::types::{PartitionId, Timestamp, TopicId};
use storage::{Compaction, CompactionError, CompactionLimits, CompactionOwner, KeyHasher, Log, ReservedDisk};
use tracing::{debug, error, info, warn};

use super::cleaner::Stop;
use super::cleaner_metrics::Look;
use super::manager::ReplicaManager;
use super::pacer::Pacer;
use super::partition::{Partition, lock};
use crate::clock;

/// Most bytes of a decompressed batch: as much as producers may send.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// Upper bound, whatever `log.cleaner.threads` says.
const THREADS_MAX: usize = 64;
/// Least memory for the map of keys.
const MAP_BYTES_MIN: u64 = 1 << 20;
/// Pause for a log after a shortage.
const RETRY_PAUSE: Duration = Duration::from_mins(1);
/// I/O is counted, and throttled, in steps of this size.
const COUNTED_BYTES: u64 = 256 << 10;
/// The pause is reconsidered after this time: the limit may have been raised.
const PAUSE_MAX: Duration = Duration::from_secs(10);

type Key = (TopicId, PartitionId);

/// Why no pass over a partition is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Avoided {
    Uncleanable,
    Until(Instant),
    /// A pass is in progress.
    Taken,
}

#[derive(Debug)]
pub(super) struct Cleaning<'a> {
    pub(super) replicas: &'a ReplicaManager,
    pub(super) stop: &'a Stop,
    avoided: Mutex<HashMap<Key, Avoided>>,
}

impl<'a> Cleaning<'a> {
    pub(super) fn new(replicas: &'a ReplicaManager, stop: &'a Stop) -> Self {
        Self { replicas, stop, avoided: Mutex::default() }
    }

    /// The number of threads that should work now.
    pub(super) fn threads(&self) -> usize {
        let values = self.replicas.broker_values();
        let threads = values.get_count("log.cleaner.threads").min(THREADS_MAX);
        if values.get_bool("log.cleaner.enable") { threads } else { 0 }
    }

    /// `false`: there is nothing to do now.
    pub(super) fn clean_one(&self, now: Instant) -> bool {
        let age_now = self.replicas.age_now();
        let Some(partition) = self.take_filthiest(age_now, now) else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.compact(&partition, age_now)));
        let why = if let Ok(outcome) = outcome {
            outcome.err().map(|failure| self.failed(&partition, &failure))
        } else {
            error!(partition = %partition.name, "compaction panicked: not compacted before the next start");
            Some(Avoided::Uncleanable)
        };
        let mut avoided = lock(&self.avoided);
        match why {
            None => avoided.remove(&key(&partition)),
            Some(why) => avoided.insert(key(&partition), why),
        };
        true
    }

    pub(super) fn compact(&self, partition: &Arc<Partition>, now: Timestamp) -> Result<(), CompactionError> {
        let rules = partition.settings().compaction;
        let started =
            rules.and_then(|rules| partition.with_log(|log| log.start_compaction(&rules, now)).ok().flatten());
        self.run(partition, started.ok_or(CompactionError::Stopped)?)
    }

    /// Takes, of the logs due for compaction, an overdue one if there is any, and the one with the largest dirty ratio.
    /// No other thread gets it.
    fn take_filthiest(&self, age_now: Timestamp, now: Instant) -> Option<Arc<Partition>> {
        let (mut look, mut found) = (Look::default(), None::<((bool, f64), Arc<Partition>)>);
        let (partitions, mut all_avoided) = (self.replicas.all(), lock(&self.avoided));
        forget_what_is_over(&mut all_avoided, &partitions, now);
        for partition in partitions {
            let Some(rules) = partition.settings().compaction else { continue };
            let Ok(dirt) = partition.with_log(|log| log.dirt(&rules, age_now)) else { continue };
            let avoided = all_avoided.get(&key(&partition));
            if avoided == Some(&Avoided::Uncleanable) {
                look.uncleanable_partitions += 1;
                look.uncleanable_bytes += dirt.dirty_bytes();
                continue;
            }
            if dirt.dirty_bytes() == 0 {
                continue;
            }
            let overdue_ms = if rules.lag_ms_max == i64::MAX { 0 } else { dirt.overdue_ms(&rules, age_now) };
            look.max_dirty_ratio = look.max_dirty_ratio.max(dirt.ratio());
            look.max_delay_ms = look.max_delay_ms.max(overdue_ms);
            let is_due = rules.dirty_ratio_min < dirt.ratio() || 0 < overdue_ms;
            let rank = (0 < overdue_ms, dirt.ratio());
            if is_due && avoided.is_none() && found.as_ref().is_none_or(|(best, _)| *best < rank) {
                found = Some((rank, partition));
            }
        }
        self.replicas.cleaning.looked(&look, monotonic_ms());
        let (_, partition) = found?;
        all_avoided.insert(key(&partition), Avoided::Taken);
        Some(partition)
    }

    fn run(&self, partition: &Arc<Partition>, compaction: Compaction) -> Result<(), CompactionError> {
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
            "compacted log"
        );
        Ok(())
    }

    fn limits(&self) -> CompactionLimits {
        let (values, pool) = (self.replicas.broker_values(), &self.replicas.pool);
        let map_bytes = u64::try_from(values.get_long("log.cleaner.dedupe.buffer.size")).unwrap_or(0);
        let map_bytes = map_bytes / u64::from(self.sharers());
        CompactionLimits {
            disk: Arc::new(ReservedDisk::new(pool.disk().clone(), self.replicas.space().reserve().clone())),
            hasher: KeyHasher::new([RandomState::new(), RandomState::new()]),
            map_bytes_max: map_bytes.max(MAP_BYTES_MIN),
            load_factor: values.get_double("log.cleaner.io.buffer.load.factor"),
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        }
    }

    /// Threads that share memory and rate.
    fn sharers(&self) -> u32 {
        u32::try_from(self.threads()).unwrap_or(u32::MAX).max(1)
    }

    fn failed(&self, partition: &Arc<Partition>, failure: &CompactionError) -> Avoided {
        let later = Avoided::Until(Instant::now() + RETRY_PAUSE);
        if matches!(failure, CompactionError::Stopped) && self.replicas.space().is_exhausted() {
            warn!(partition = %partition.name, "compaction stopped: the free space is reserved for others, will retry");
            later
        } else if matches!(failure, CompactionError::Stopped) {
            debug!(partition = %partition.name, "compaction stopped");
            later
        } else if failure.is_shortage() {
            warn!(partition = %partition.name, error = %failure, "compaction postponed for lack of resources");
            later
        } else if failure.is_fatal() && self.replicas.is_hosted(partition) {
            self.replicas.directory_failed(&failure.to_string());
            Avoided::Uncleanable
        } else {
            error!(partition = %partition.name, error = %failure, "log not compacted before the next start, but served");
            Avoided::Uncleanable
        }
    }
}

fn forget_what_is_over(avoided: &mut HashMap<Key, Avoided>, partitions: &[Arc<Partition>], now: Instant) {
    avoided.retain(|avoided, why| {
        let is_over = matches!(why, Avoided::Until(end) if *end <= now);
        !is_over && partitions.iter().any(|partition| key(partition) == *avoided)
    });
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
    /// Counts them, and returns how many there were.
    fn count(&self) -> u64 {
        let (read, written) = self.uncounted.take();
        self.cleaning.replicas.cleaning.used(read, written);
        read + written
    }

    fn pause(&self, pause: Duration) -> ControlFlow<()> {
        let is_told = self.cleaning.stop.is_told_within(pause.min(PAUSE_MAX));
        if is_told { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl CompactionOwner for Owner<'_> {
    fn with_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.partition.with_log_mut(change).ok()
    }

    /// Only by the files does a follower know after a crash what must not be cut into.
    fn begins(&self) -> ControlFlow<()> {
        match self.cleaning.replicas.write_checkpoints() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.cleaning.replicas.checkpoints_not_written(&error);
                ControlFlow::Break(())
            }
        }
    }

    fn used(&self, read: u64, written: u64) -> ControlFlow<()> {
        let (read_before, written_before) = self.uncounted.get();
        self.uncounted.set((read_before + read, written_before + written));
        if read_before + read + written_before + written < COUNTED_BYTES {
            return ControlFlow::Continue(());
        }
        let rate = self.cleaning.replicas.broker_values().get_double("log.cleaner.io.max.bytes.per.second");
        let rate = rate / f64::from(self.cleaning.sharers());
        self.cleaning.replicas.space().appended(written_before + written);
        if self.cleaning.replicas.space().is_exhausted() {
            return ControlFlow::Break(());
        }
        self.pause(self.pacer.borrow_mut().pause(self.count(), rate, clock::monotonic()))
    }

    fn replaced(&self, files: Vec<PathBuf>) {
        let delay = self.partition.settings().file_delete_delay;
        self.cleaning.replicas.removals.add_files(files, delay);
    }
}

#[cfg(test)]
#[path = "cleaning_test.rs"]
mod tests;
