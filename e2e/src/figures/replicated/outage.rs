//! What a client sees of a fault: how long nothing was acknowledged, and which records never were.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// What a steadily producing client has seen so far, shared with observers.
#[derive(Debug, Default)]
pub(in crate::figures) struct Timeline {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In order.
    acknowledged: Vec<Instant>,
    failed: usize,
    enough: bool,
}

/// The effects of one fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::figures) struct Outage {
    /// The longest time without an acknowledgement that ended after the fault.
    pub(in crate::figures) longest_gap: Duration,
    /// From the fault to the end of that time.
    pub(in crate::figures) recovered_after: Duration,
    /// Records that were given up.
    pub(in crate::figures) failed: usize,
}

impl Timeline {
    pub(super) fn acknowledge(&self, at: Instant) {
        self.lock().acknowledged.push(at);
        self.changed.notify_all();
    }

    pub(super) fn fail(&self, records: usize) {
        self.lock().failed += records;
    }

    /// Tells the client to end.
    pub(super) fn end(&self) {
        self.lock().enough = true;
    }

    pub(super) fn is_enough(&self) -> bool {
        self.lock().enough
    }

    /// Returns once a record has been acknowledged at that time or later.
    pub(super) fn wait_until_acknowledged_from(&self, at: Instant, patience: Duration) -> Result<()> {
        let waiting = |state: &mut State| state.acknowledged.last().is_none_or(|last| *last < at);
        let waited = self.changed.wait_timeout_while(self.lock(), patience, waiting);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!timeout.timed_out(), "nothing is acknowledged for {} s", patience.as_secs());
        Ok(())
    }

    /// None if nothing was acknowledged before or after the fault.
    pub(super) fn outage(&self, fault: Instant) -> Option<Outage> {
        let state = self.lock();
        let gaps = state.acknowledged.windows(2).filter_map(|pair| {
            let [from, to] = pair.try_into().ok()?;
            (fault < to).then_some((to.duration_since(from), to))
        });
        let (longest_gap, end) = gaps.max_by_key(|(gap, _)| *gap)?;
        Some(Outage { longest_gap, recovered_after: end.duration_since(fault), failed: state.failed })
    }

    /// The state is consistent even if a client has panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_longest_gap_that_ends_after_the_fault() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for (acknowledged, fault, expected) in [
            (&[0, 10, 25, 35][..], 15, Some((15, 10))),
            (&[0, 10, 400, 410], 12, Some((390, 388))),
            (&[0, 500, 510, 540, 550], 505, Some((30, 35))), // the first gap was before
            (&[0, 10, 20, 320, 330], 12, Some((300, 308))),  // it goes on for a while
            (&[0, 10], 15, None),
            (&[], 15, None),
        ] {
            let timeline = Timeline::default();
            for ms in acknowledged {
                timeline.acknowledge(at(*ms));
            }
            timeline.fail(2);
            let expected = expected.map(|(gap, after)| Outage {
                longest_gap: Duration::from_millis(gap),
                recovered_after: Duration::from_millis(after),
                failed: 2,
            });
            assert_eq!(timeline.outage(at(fault)), expected, "{acknowledged:?}, {fault}");
        }
    }

    #[test]
    fn whoever_waits_is_told_of_what_comes_late_and_what_does_not_come() {
        let timeline = Timeline::default();
        let now = Instant::now();
        timeline.acknowledge(now);
        assert!(timeline.wait_until_acknowledged_from(now + Duration::from_nanos(1), Duration::ZERO).is_err());
        std::thread::scope(|scope| {
            scope.spawn(|| timeline.acknowledge(now + Duration::from_secs(1)));
            timeline.wait_until_acknowledged_from(now + Duration::from_secs(1), Duration::from_mins(1)).unwrap();
        });
    }
}
