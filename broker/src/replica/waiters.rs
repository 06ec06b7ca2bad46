//! Long polls that wait for a partition to grow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// One fetch request that waits. It is registered with every partition that it reads.
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
    list: Mutex<Vec<Weak<Waiter>>>,
}

impl Waiters {
    /// The caller looks at the partition *after* this call, so that no growth falls between the two.
    pub(super) fn register(&self, waiter: &Arc<Waiter>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        // Polls of idle partitions end by their own deadline: what they leave behind goes when the list doubles.
        if list.len() == list.capacity() {
            list.retain(|waiter| 0 < waiter.strong_count());
        }
        list.push(Arc::downgrade(waiter));
        self.any.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake_all(&self) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::SeqCst);
        for waiter in list.drain(..).filter_map(|waiter| waiter.upgrade()) {
            waiter.notify.notify_one();
        }
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

    #[test]
    fn polls_that_ended_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..1000 {
            waiters.register(&Arc::new(Waiter::default()));
        }
        assert!(waiters.list.lock().unwrap().len() <= 8);
    }
}
