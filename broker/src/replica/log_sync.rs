//! Syncing of a partition's log: unsynced bytes, and the producers that wait for a sync (`flush.messages`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::types::Offset;
use storage::{FlushError, Log};
use tokio::time::{Instant, timeout_at};

use super::access::{AccessError, FlushFailure, ProduceError};
use super::flush_queue::SyncState;
use super::partition::{Partition, Role, lock};
use super::waiters::{Waiter, Waiters};
use crate::clock;

#[derive(Debug, Default)]
pub(super) struct LogSync {
    /// Producers that wait for their records to be synced.
    waiters: Waiters,
    state: Mutex<SyncState>,
    /// Locked during a flush: flushes of one log finish in the order in which they were started.
    flushing: Mutex<()>,
    unflushed_bytes: AtomicU64,
    /// Whether it is in the queue of partitions to be flushed in time.
    is_dirty: AtomicBool,
}

impl LogSync {
    pub(super) fn wake_producers(&self) {
        self.waiters.wake_all();
    }
}

impl Partition {
    /// Waits until everything before `end` is on disk.
    pub(crate) async fn synced(&self, end: Offset, deadline: Instant) -> Result<(), ProduceError> {
        loop {
            let waiter = Arc::new(Waiter::default());
            self.sync.waiters.register(&waiter);
            if end <= self.synced_end()? {
                return Ok(());
            }
            timeout_at(deadline, waiter.woken()).await.map_err(|_| ProduceError::NotSyncedInTime)?;
        }
    }

    fn synced_end(&self) -> Result<Offset, AccessError> {
        let state = self.state()?;
        if state.log.is_offline() {
            return Err(AccessError::Offline(self.name.clone()));
        }
        Ok(state.log.recovery_point())
    }

    pub(super) fn ask_for_sync(self: &Arc<Self>) {
        if lock(&self.sync.state).ask() {
            self.shared.flushes.push_urgent(self.clone());
        }
    }

    /// A requested sync has ended, successfully or not.
    pub(super) fn sync_is_over(self: &Arc<Self>) {
        if lock(&self.sync.state).synced() {
            self.shared.flushes.push_urgent(self.clone());
        }
    }

    pub(super) fn count_unflushed(self: &Arc<Self>, bytes: u64) {
        self.sync.unflushed_bytes.fetch_add(bytes, Ordering::SeqCst);
        if 0 < bytes && !self.sync.is_dirty.swap(true, Ordering::SeqCst) {
            self.shared.flushes.push_dirty(self.clone());
        }
    }

    /// Leaves the queue of partitions to be flushed in time if there is nothing to flush. Returns whether it did.
    pub(super) fn leaves_if_clean(&self) -> bool {
        if 0 < self.unflushed_bytes() {
            return false;
        }
        self.sync.is_dirty.store(false, Ordering::SeqCst);
        // A writer just before that took it for queued.
        self.unflushed_bytes() == 0 || self.sync.is_dirty.swap(true, Ordering::SeqCst)
    }

    /// Leaves the queue in order to be flushed: later writes queue it again.
    pub(super) fn leave_dirty(&self) {
        self.sync.is_dirty.store(false, Ordering::SeqCst);
    }

    /// Bytes appended since the last flush began.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.sync.unflushed_bytes.load(Ordering::SeqCst)
    }

    /// `flush.ms`
    pub(super) fn flush_time_max(&self) -> Option<Duration> {
        let flush_ms = self.with_log(|log| log.config().flush_ms).ok()?;
        u64::try_from(flush_ms).ok().map(Duration::from_millis)
    }

    /// Syncs everything appended so far, and wakes those who wait for it.
    pub(super) fn flush(self: &Arc<Self>) -> Result<(), FlushFailure> {
        let _in_order = lock(&self.sync.flushing);
        let outcome = self.run_flush();
        if let Err(FlushFailure::Flush(FlushError::Postponed { .. })) = &outcome {
            let unflushed_bytes = self.with_log(Log::unflushed_bytes)?;
            self.count_unflushed(unflushed_bytes);
        }
        self.sync.wake_producers();
        outcome
    }

    fn run_flush(self: &Arc<Self>) -> Result<(), FlushFailure> {
        let job = {
            let mut state = self.state()?;
            self.sync.unflushed_bytes.store(0, Ordering::SeqCst);
            state.log.start_flush(clock::wall())
        };
        let flushed = job.run()?;
        let (committed, follows) = {
            let mut state = self.state()?;
            let waited = state.log.replicated_end() != Some(state.log.log_end());
            if !state.log.finish_flush(flushed) {
                let (unflushed_bytes, sync_due) = (state.log.unflushed_bytes(), state.log.is_sync_due());
                drop(state);
                self.count_unflushed(unflushed_bytes);
                if sync_due {
                    self.ask_for_sync();
                }
                return Ok(());
            }
            (self.advance_high_watermark(&mut state), waited && matches!(state.role, Role::Follower(_)))
        };
        self.tell_committed(committed);
        if follows {
            // The follower continues to fetch from what is on disk.
            self.shared.followed.changed();
        }
        Ok(())
    }
}
