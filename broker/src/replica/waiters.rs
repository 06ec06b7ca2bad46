//! Requests that wait for a partition to change: long polls, and producers that wait for their records to be
//! committed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use protocol::types::Offset;
use tokio::sync::Notify;

use super::partition::lock;

/// A waiter's own number for one of its partitions.
pub(crate) type Tag = u32;

/// A request, or session of requests, that waits. It is registered with all of its partitions.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    notify: Notify,
    told: Mutex<Vec<Tag>>,
}

impl Waiter {
    /// Returns when any of its partitions has grown or changed leader since the last call.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// The tags of those partitions; may contain duplicates.
    pub(crate) fn take_told(&self) -> Vec<Tag> {
        std::mem::take(&mut *lock(&self.told))
    }

    fn tell(&self, tag: Option<Tag>) {
        if let Some(tag) = tag {
            lock(&self.told).push(tag);
        }
        self.notify.notify_one();
    }
}

#[derive(Debug)]
struct Registered {
    /// The offset that it waits for.
    end: Offset,
    waiter: Weak<Waiter>,
    tag: Option<Tag>,
}

/// The waiters of one partition. They are woken once and removed: to wait on, register again.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Spares the append the lock if there are no waiters.
    any: AtomicBool,
    list: Mutex<Vec<Registered>>,
}

impl Waiters {
    /// The caller must check the partition *after* this call, so that no growth is missed in between.
    pub(super) fn register(&self, waiter: &Arc<Waiter>) {
        self.add(Registered { end: Offset(i64::MIN), waiter: Arc::downgrade(waiter), tag: None });
    }

    /// As [`Self::register`]; the waiter learns by the tag which partition it was.
    pub(super) fn register_as(&self, tag: Tag, waiter: &Arc<Waiter>) {
        self.add(Registered { end: Offset(i64::MIN), waiter: Arc::downgrade(waiter), tag: Some(tag) });
    }

    /// As [`Self::register`], but [`Self::wake_reached`] wakes it only once the offset is reached.
    pub(super) fn register_for(&self, end: Offset, waiter: &Arc<Waiter>) {
        self.add(Registered { end, waiter: Arc::downgrade(waiter), tag: None });
    }

    fn add(&self, registered: Registered) {
        let mut list = lock(&self.list);
        // Long polls of idle partitions end at their own deadline: their entries are removed before the list grows.
        if list.len() == list.capacity() {
            list.retain(|registered| 0 < registered.waiter.strong_count());
            // And some register again before they are woken.
            list.sort_unstable_by_key(|registered| (registered.waiter.as_ptr(), registered.tag, registered.end));
            list.dedup_by(|one, other| one.waiter.ptr_eq(&other.waiter) && one.tag == other.tag);
        }
        list.push(registered);
        self.any.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake_all(&self) {
        self.wake_reached(Offset(i64::MAX));
    }

    pub(super) fn wake_reached(&self, end: Offset) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let mut list = lock(&self.list);
        for Registered { waiter, tag, .. } in list.extract_if(.., |registered| registered.end <= end) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.tell(tag);
            }
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
    fn a_session_learns_which_of_its_partitions_it_was() {
        let waiters = [Waiters::default(), Waiters::default(), Waiters::default()];
        let session = Arc::new(Waiter::default());
        waiters.iter().zip(0..).for_each(|(waiters, tag)| waiters.register_as(tag, &session));
        waiters[2].wake_all();
        waiters[0].wake_all();
        waiters[0].wake_all();
        assert_eq!(session.take_told(), [2, 0], "each once, until it registers again");
        waiters[0].register_as(0, &session);
        waiters[0].wake_all();
        assert_eq!(session.take_told(), [0]);
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
        (0..4).chain(0..4).for_each(|tag| waiters.register_as(tag, &waiter));
        waiters.wake_all();
        let told: std::collections::BTreeSet<_> = waiter.take_told().into_iter().collect();
        assert_eq!(told.len(), 4, "of each of its partitions");
    }
}
