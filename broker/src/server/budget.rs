//! Memory that requests and unsent answers of all connections may take.
//!
//! Counted are bytes received, not what a frame announces, and what the decoder makes of them. Before a connection
//! reads or decodes it asks whether it may take more:
//!
//! 1. Frames of more than 64 KiB may use three quarters of the budget; the last quarter is for small requests, which
//!    continue while large ones wait.
//! 2. If that is used up, the smallest waiting frame continues first when memory is returned.
//! 3. One waiting frame at a time has the turn: it continues uncounted until it is handled. So there is always
//!    progress, and the total never exceeds the budget and one frame.
//! 4. While any frame waits, the reactors disconnect stalled senders, see [`super::activity`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

const SMALL_FRAME_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct InFlightBudget {
    bytes_max: usize,
    used: AtomicUsize,
    turn_is_taken: AtomicBool,
    /// The number of waiters: without any, memory is returned without taking the lock.
    waiting: AtomicUsize,
    waiters: Mutex<BTreeMap<Place, Waiter>>,
    arrivals: AtomicU64,
}

/// By size of the frame, then by arrival.
type Place = (usize, u64);

#[derive(Debug)]
struct Waiter {
    wanted: usize,
    grant: oneshot::Sender<Share>,
}

impl InFlightBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            used: AtomicUsize::new(0),
            turn_is_taken: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
            arrivals: AtomicU64::new(0),
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn bytes_used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether any frame waits.
    pub(super) fn is_short(&self) -> bool {
        0 < self.waiting.load(Ordering::Relaxed)
    }

    fn admits(&self, wanted: usize, frame_bytes: usize) -> bool {
        let reserved = if frame_bytes <= SMALL_FRAME_BYTES_MAX { 0 } else { self.bytes_max / 4 };
        self.used.load(Ordering::SeqCst).saturating_add(wanted) <= self.bytes_max - reserved
    }

    fn give_back(self: &Arc<Self>, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if 0 < self.waiting.load(Ordering::SeqCst) {
            self.serve_waiters();
        }
    }

    fn serve_waiters(self: &Arc<Self>) {
        while let Some((waiter, share)) = self.next_grant() {
            // If the waiter is gone, dropping the share returns the memory.
            drop(waiter.grant.send(share));
        }
    }

    fn next_grant(self: &Arc<Self>) -> Option<(Waiter, Share)> {
        let mut waiters = self.waiters();
        let first = waiters.first_entry()?;
        let (wanted, (frame_bytes, _)) = (first.get().wanted, *first.key());
        let mut share = Share::none_of(self.clone());
        if self.admits(wanted, frame_bytes) {
            share.holds(wanted);
        } else if !self.turn_is_taken.swap(true, Ordering::SeqCst) {
            share.has_turn = true;
        } else {
            return None;
        }
        Some((first.remove(), share))
    }

    /// The map is consistent after every call, so that a poisoned lock can be used.
    fn waiters(&self) -> MutexGuard<'_, BTreeMap<Place, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's share of the budget. Returned when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<InFlightBudget>,
    counted: usize,
    has_turn: bool,
}

impl Share {
    pub(super) fn none_of(budget: Arc<InFlightBudget>) -> Self {
        Self { budget, counted: 0, has_turn: false }
    }

    /// Whether `wanted` more bytes of a frame of that length may be received at once.
    pub(super) fn admits(&self, wanted: usize, frame_bytes: usize) -> bool {
        self.has_turn || self.budget.admits(wanted, frame_bytes)
    }

    /// Waits until they may be.
    pub(super) async fn admitted(&mut self, wanted: usize, frame_bytes: usize) {
        let (grant, granted) = oneshot::channel();
        let _waiting = Waiting::begin(&self.budget, frame_bytes, Waiter { wanted, grant });
        // Memory may have been returned since the check.
        self.budget.serve_waiters();
        if let Ok(mut share) = granted.await {
            self.counted += std::mem::take(&mut share.counted);
            self.has_turn |= std::mem::take(&mut share.has_turn);
        }
    }

    /// Sets the bytes that the connection holds.
    pub(super) fn holds(&mut self, bytes: usize) {
        let bytes = if self.has_turn { bytes.min(self.counted) } else { bytes };
        let before = std::mem::replace(&mut self.counted, bytes);
        if before < bytes {
            self.budget.used.fetch_add(bytes - before, Ordering::SeqCst);
        } else if bytes < before {
            self.budget.give_back(before - bytes);
        }
    }

    /// The frame is handled, and gives up the turn if it had it.
    pub(super) fn end_turn(&mut self) {
        if std::mem::take(&mut self.has_turn) {
            self.budget.turn_is_taken.store(false, Ordering::SeqCst);
            self.budget.serve_waiters();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holds(0);
        self.end_turn();
    }
}

/// A place among the waiters, until it is dropped.
struct Waiting<'a> {
    budget: &'a InFlightBudget,
    place: Place,
}

impl<'a> Waiting<'a> {
    fn begin(budget: &'a InFlightBudget, frame_bytes: usize, waiter: Waiter) -> Self {
        let place = (frame_bytes, budget.arrivals.fetch_add(1, Ordering::Relaxed));
        budget.waiters().insert(place, waiter);
        budget.waiting.fetch_add(1, Ordering::SeqCst);
        Self { budget, place }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.waiters().remove(&self.place);
        self.budget.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LARGE: usize = SMALL_FRAME_BYTES_MAX + 1;

    fn poll(waiting: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        waiting.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn full() -> (Arc<InFlightBudget>, Share) {
        let budget = Arc::new(InFlightBudget::new(400));
        let mut share = Share::none_of(budget.clone());
        share.holds(400);
        (budget, share)
    }

    #[test]
    fn the_last_quarter_is_for_small_requests() {
        let (budget, mut one) = full();
        let two = Share::none_of(budget.clone());
        one.holds(300);
        assert!(!two.admits(1, LARGE) && two.admits(100, SMALL_FRAME_BYTES_MAX));
        assert!(!two.admits(101, SMALL_FRAME_BYTES_MAX));
        drop(one);
        assert!(two.admits(300, LARGE));
        assert_eq!(budget.bytes_used(), 0);
    }

    #[test]
    fn one_at_a_time_goes_beyond_a_budget_that_is_used_up() {
        let (budget, _stuck) = full();
        let (mut first, mut second) = (Share::none_of(budget.clone()), Share::none_of(budget.clone()));
        assert_eq!(poll(pin!(first.admitted(1000, LARGE))), Poll::Ready(()));
        first.holds(1000);
        assert_eq!(budget.bytes_used(), 400, "who has the turn is not counted");
        let mut waiting = Box::pin(second.admitted(1, LARGE));
        assert_eq!(poll(waiting.as_mut()), Poll::Pending);
        assert!(budget.is_short());
        first.end_turn();
        assert_eq!(poll(waiting.as_mut()), Poll::Ready(()));
        drop(waiting);
        assert!(!budget.is_short());
        first.holds(7);
        assert_eq!(budget.bytes_used(), 407, "what is held after the turn counts again");
        drop(second);
        assert!(!budget.turn_is_taken.load(Ordering::SeqCst), "a connection that ends gives up its turn");
    }

    #[test]
    fn what_is_given_back_goes_to_the_smallest_frames_as_far_as_it_goes() {
        let (budget, mut stuck) = full();
        let shares: [Share; 4] = std::array::from_fn(|_| Share::none_of(budget.clone()));
        let [mut turn, mut large, mut small, mut smaller] = shares;
        assert_eq!(poll(pin!(turn.admitted(1, LARGE))), Poll::Ready(()));
        let mut large = Box::pin(large.admitted(100, LARGE + 2));
        let mut small = Box::pin(small.admitted(100, LARGE + 1));
        let mut smaller = Box::pin(smaller.admitted(100, LARGE));
        for waiting in [&mut large, &mut small, &mut smaller] {
            assert_eq!(poll(Pin::new(waiting)), Poll::Pending);
        }
        stuck.holds(50);
        let granted = [poll(smaller.as_mut()), poll(small.as_mut()), poll(large.as_mut())];
        assert_eq!(granted, [Poll::Ready(()), Poll::Ready(()), Poll::Pending]);
        assert_eq!(budget.bytes_used(), 250, "what is granted counts at once");
    }

    #[test]
    fn a_grant_that_nobody_waits_for_any_more_is_given_back() {
        let (budget, mut stuck) = full();
        let (mut turn, mut gone) = (Share::none_of(budget.clone()), Share::none_of(budget.clone()));
        assert_eq!(poll(pin!(turn.admitted(1, LARGE))), Poll::Ready(()));
        let mut waiting = Box::pin(gone.admitted(100, LARGE));
        assert_eq!(poll(waiting.as_mut()), Poll::Pending);
        stuck.holds(0);
        drop(waiting);
        assert_eq!((budget.bytes_used(), budget.is_short()), (0, false));
    }
}
