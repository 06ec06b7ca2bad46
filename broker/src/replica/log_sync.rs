//! How a partition's log reaches the disk: what is written and not synced, and the producers that wait for it
//! (`flush.messages`).

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
    /// Producers, until what they wrote is synced.
    waiters: Waiters,
    state: Mutex<SyncState>,
    /// Held during a flush: those of one log are finished in the order they were started.
    flushing: Mutex<()>,
    unflushed_bytes: AtomicU64,
    /// In the queue of those that are to be flushed in time.
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

    /// A sync that was asked for is over, well or not.
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

    /// Whether it left the queue of those that are to be flushed in time: with nothing to flush it does.
    pub(super) fn leaves_if_clean(&self) -> bool {
        if 0 < self.unflushed_bytes() {
            return false;
        }
        self.sync.is_dirty.store(false, Ordering::SeqCst);
        // Whoever wrote just before that took it for queued.
        self.unflushed_bytes() == 0 || self.sync.is_dirty.swap(true, Ordering::SeqCst)
    }

    /// Taken from the queue to be flushed: what is written from now on queues it again.
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

    /// Syncs what was appended so far, and lets those go on who wait for it.
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
            state.log.finish_flush(flushed);
            (self.advance_high_watermark(&mut state), waited && matches!(state.role, Role::Follower(_)))
        };
        self.tell_committed(committed);
        if follows {
            // It fetches on from what is on disk.
            self.shared.followed.changed();
        }
        Ok(())
    }
}
