//! Who waits for a partition to grow: long polls, and producers whose records are to be committed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use protocol::types::Offset;
use tokio::sync::Notify;

/// One request that waits. It is registered with every partition that it is about.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    notify: Notify,
}

impl Waiter {
    /// Returns when any of its partitions has grown or changed leader since the last call.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The waiters of one partition. They are told once and forgotten: who wants to wait on registers again.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Spares the append the lock while nobody waits.
    any: AtomicBool,
    /// With the offset that each waits for.
    list: Mutex<Vec<(Offset, Weak<Waiter>)>>,
}

impl Waiters {
    /// The caller looks at the partition *after* this call, so that no growth falls between the two.
    pub(super) fn register(&self, waiter: &Arc<Waiter>) {
        self.register_for(Offset(i64::MIN), waiter);
    }

    /// For one that [`Self::wake_reached`] is to leave alone until the offset is reached.
    pub(super) fn register_for(&self, end: Offset, waiter: &Arc<Waiter>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        // Polls of idle partitions end by their own deadline: what they leave behind goes when the list doubles.
        if list.len() == list.capacity() {
            list.retain(|(_, waiter)| 0 < waiter.strong_count());
            // And some register again before they are told.
            list.sort_unstable_by_key(|(end, waiter)| (waiter.as_ptr(), *end));
            list.dedup_by(|(_, one), (_, other)| one.ptr_eq(other));
        }
        list.push((end, Arc::downgrade(waiter)));
        self.any.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake_all(&self) {
        self.wake_reached(Offset(i64::MAX));
    }

    pub(super) fn wake_reached(&self, end: Offset) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = list.extract_if(.., |(wanted, _)| *wanted <= end);
        for waiter in reached.filter_map(|(_, waiter)| waiter.upgrade()) {
            waiter.notify.notify_one();
        }
        self.any.store(!list.is_empty(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn growth_after_registration_is_never_missed() {
        let waiters = Waiters::default();
        let waiter = Arc::new(Waiter::default());
        waiters.register(&waiter);
        waiters.wake_all();
        waiter.woken().await;
        assert!(!waiters.any.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn who_waits_for_an_offset_is_woken_when_it_is_reached() {
        let waiters = Waiters::default();
        let (near, far) = (Arc::new(Waiter::default()), Arc::new(Waiter::default()));
        waiters.register_for(Offset(5), &near);
        waiters.register_for(Offset(6), &far);
        waiters.wake_reached(Offset(5));
        near.woken().await;
        assert_eq!(waiters.list.lock().unwrap().len(), 1);
        waiters.wake_all();
        far.woken().await;
    }

    #[test]
    fn polls_that_ended_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..1000 {
            waiters.register(&Arc::new(Waiter::default()));
        }
        assert!(waiters.list.lock().unwrap().len() <= 8);
        let waiter = Arc::new(Waiter::default());
        for _ in 0..1000 {
            waiters.register(&waiter);
        }
        assert!(waiters.list.lock().unwrap().len() <= 8, "one that waits on and on");
    }
}
