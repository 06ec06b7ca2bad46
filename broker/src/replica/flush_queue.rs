//! Partitions that are to be synced: at once, because producers wait, or in time.
//!
//! Waiting producers share syncs: a partition that is being synced is not queued again but marked, and one more sync
//! then serves all producers that came meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::manager::ReplicaManager;
use super::partition::Partition;

#[derive(Debug, Default)]
pub(crate) struct FlushQueue {
    state: Mutex<State>,
    urgent_came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Each at most once, see [`SyncState`].
    urgent: VecDeque<Arc<Partition>>,
    /// With the time since which it has unsynced records. Each at most once, too.
    dirty: Vec<(Instant, Arc<Partition>)>,
    stopped: bool,
}

/// The state of a partition in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SyncState {
    #[default]
    Idle,
    /// Queued, or being synced.
    Asked,
    /// Asked again since the sync began.
    AskedAgain,
}

impl SyncState {
    /// Returns whether the partition must be queued.
    pub(super) fn ask(&mut self) -> bool {
        let is_idle = *self == Self::Idle;
        *self = if is_idle { Self::Asked } else { Self::AskedAgain };
        is_idle
    }

    /// A sync has ended. Returns whether the partition must be queued once more.
    pub(super) fn synced(&mut self) -> bool {
        let again = *self == Self::AskedAgain;
        *self = if again { Self::Asked } else { Self::Idle };
        again
    }
}

impl ReplicaManager {
    pub(crate) fn flushes_queued(&self) -> usize {
        self.shared.flushes.queued()
    }
}

impl FlushQueue {
    pub(super) fn push_urgent(&self, partition: Arc<Partition>) {
        self.lock().urgent.push_back(partition);
        self.urgent_came.notify_one();
    }

    /// The number of partitions that producers wait for, except those being synced.
    pub(super) fn queued(&self) -> usize {
        self.lock().urgent.len()
    }

    pub(super) fn push_dirty(&self, partition: Arc<Partition>) {
        self.lock().dirty.push((Instant::now(), partition));
    }

    /// Waits for a partition. `None`: stopped, and none is left.
    pub(super) fn next_urgent(&self) -> Option<Arc<Partition>> {
        let mut state = self.lock();
        loop {
            if let Some(partition) = state.urgent.pop_front() {
                return Some(partition);
            }
            if state.stopped {
                return None;
            }
            state = self.urgent_came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The caller puts back those that stay dirty.
    pub(super) fn take_dirty(&self) -> Vec<(Instant, Arc<Partition>)> {
        std::mem::take(&mut self.lock().dirty)
    }

    pub(super) fn put_back(&self, dirty: Vec<(Instant, Arc<Partition>)>) {
        self.lock().dirty.extend(dirty);
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.urgent_came.notify_all();
    }

    /// The queues are consistent after every call, so that a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_queued_once_and_again_for_who_came_during_the_sync() {
        let mut state = SyncState::default();
        assert!(state.ask());
        assert!(!state.ask(), "the sync may have begun without it");
        assert!(state.synced());
        assert!(!state.synced());
        assert!(state.ask());
    }
}
