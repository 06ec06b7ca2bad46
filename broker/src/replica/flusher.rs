//! The threads that sync the logs. One does it in time: a log is synced after so many bytes or so much time,
//! whichever comes first, and then its recovery point advances, which bounds what a start after a crash has to scan.
//! A few others sync at once what producers wait for (`flush.messages`). All of them handle only logs that were
//! written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::types::Offset;
use storage::FlushError;
use tracing::warn;

use super::access::{AccessError, FlushFailure};
use super::manager::ReplicaManager;
use super::partition::Partition;

/// An append may wait for a sync of the same file (ext4 changes an inode only when the journal has written its former
/// state), so syncs should be short: a few milliseconds each for this much.
const UNFLUSHED_BYTES_MAX: u64 = 4 * 1024 * 1024;
const UNFLUSHED_BYTES_MAX_ALL: u64 = 256 * 1024 * 1024;
const UNFLUSHED_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// Recovery points help only once they are in their file, so it is written soon after the flushes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
/// Logs that are synced at the same time for waiting producers.
const SYNC_THREADS: usize = 4;

#[derive(Debug)]
pub(crate) struct Flusher {
    replicas: Arc<ReplicaManager>,
    stopping: Arc<AtomicBool>,
    in_time: JoinHandle<()>,
    at_once: Vec<JoinHandle<()>>,
}

impl Flusher {
    pub(crate) fn spawn(replicas: Arc<ReplicaManager>) -> std::io::Result<Self> {
        let failures = replicas.failures();
        let stopping = Arc::new(AtomicBool::new(false));
        let (all, stop) = (replicas.clone(), stopping.clone());
        let in_time = failures.spawn("flusher", move || flush_in_time(&all, &stop))?;
        let at_once = (0..SYNC_THREADS).map(|_| {
            let replicas = replicas.clone();
            failures.spawn("syncer", move || sync_at_once(&replicas))
        });
        let at_once = at_once.collect::<Result<_, _>>()?;
        Ok(Self { replicas, stopping, in_time, at_once })
    }

    /// Waits until the flushes in progress are done.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.in_time.thread().unpark();
        self.replicas.shared.flushes.stop();
        for thread in self.at_once.into_iter().chain([self.in_time]) {
            // A panic has been reported as a failure already.
            let _told = thread.join();
        }
    }
}

fn sync_at_once(replicas: &ReplicaManager) {
    while let Some(partition) = replicas.shared.flushes.next_urgent() {
        flush(replicas, &partition);
        partition.sync_is_over();
    }
}

fn flush_in_time(replicas: &ReplicaManager, stopping: &AtomicBool) {
    let mut last_checkpoint = Instant::now();
    let mut last_space = Instant::now();
    let mut metadata_at = Offset(0);
    while !stopping.load(Ordering::Acquire) {
        std::thread::park_timeout(LOOK_INTERVAL);
        flush_what_is_due(replicas);
        if SPACE_INTERVAL <= last_space.elapsed() {
            last_space = Instant::now();
            replicas.look_at_space();
        }
        if metadata_at != replicas.metadata_recovery_point() || replicas.checkpoints_are_stale() {
            metadata_at = replicas.metadata_recovery_point();
            replicas.checkpoint_is_due();
        }
        if CHECKPOINT_INTERVAL <= last_checkpoint.elapsed() && replicas.take_checkpoint_due() {
            last_checkpoint = Instant::now();
            if let Err(error) = replicas.write_checkpoints() {
                replicas.checkpoints_not_written(&error);
            }
        }
    }
}

fn flush_what_is_due(replicas: &ReplicaManager) {
    let mut dirty = replicas.shared.flushes.take_dirty();
    let total: u64 = dirty.iter().map(|(_, partition)| partition.unflushed_bytes()).sum();
    let is_due = |since: &Instant, partition: &Partition| {
        let time_max = partition.flush_time_max().map_or(UNFLUSHED_TIME_MAX, |time| time.min(UNFLUSHED_TIME_MAX));
        UNFLUSHED_BYTES_MAX_ALL <= total
            || UNFLUSHED_BYTES_MAX <= partition.unflushed_bytes()
            || time_max <= since.elapsed()
    };
    let due: Vec<_> = dirty.extract_if(.., |(since, partition)| is_due(since, partition)).collect();
    // Synced for a producer since, and not written to again.
    dirty.retain(|(_, partition)| !partition.leaves_if_clean());
    replicas.shared.flushes.put_back(dirty);
    for (_, partition) in due {
        partition.leave_dirty();
        if 0 < partition.unflushed_bytes() {
            flush(replicas, &partition);
        }
    }
}

/// After a failed sync it is unknown what reached the disk, so it is never retried.
fn flush(replicas: &ReplicaManager, partition: &Arc<Partition>) {
    let began = Instant::now();
    match partition.flush() {
        Ok(()) => {
            replicas.flush_time.observe(began.elapsed());
            replicas.checkpoint_is_due();
        }
        Err(FlushFailure::Access(AccessError::Deleted(_))) => {}
        Err(FlushFailure::Flush(error @ FlushError::Failed { .. })) if replicas.is_hosted(partition) => {
            replicas.directory_failed(&error.to_string());
        }
        Err(error) => warn!(partition = %partition.name, %error, "flush failed"),
    }
}

#[cfg(test)]
#[path = "flusher_test.rs"]
mod tests;
