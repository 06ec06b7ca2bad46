//! The state of each connection of a reactor, so that a periodic check replaces a timer per read: a check costs some
//! nanoseconds per connection, while setting and clearing a timer costs every request more than its metrics.

use std::cell::Cell;
use std::time::Duration;

/// While the in-flight budget is short: a sender that has been silent for this long is disconnected.
const STALL_MAX: Duration = Duration::from_secs(5);
/// While the in-flight budget is short: the largest age of an unfinished frame. By then its client has given up, by
/// the default of its `request.timeout.ms`.
const FRAME_AGE_MAX: Duration = Duration::from_secs(30);
/// Interval of the checks.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No part of a request is here, and nothing is left to send.
    Idle,
    /// A part of a frame is here.
    Receiving,
    /// No more of the frame may be read while the in-flight budget is short.
    Waiting,
    Handling,
    /// The client does not read.
    Sending,
}

/// The number of checks since the reactor began: the clock of this module.
pub(super) type Look = u32;

#[derive(Debug)]
pub(super) struct Activity {
    phase: Cell<Phase>,
    moved_at: Cell<Look>,
    frame_began: Cell<Look>,
}

/// Limits in numbers of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) interval: Duration,
    idle: Look,
    stall: Look,
    frame_age: Look,
}

impl Patience {
    /// `idle_max` is met to within a quarter.
    pub(super) fn new(idle_max: Duration) -> Self {
        let interval = (idle_max / 4).clamp(INTERVAL_MIN, INTERVAL);
        let looks = |time: Duration| Look::try_from(time.as_millis() / interval.as_millis()).unwrap_or(Look::MAX);
        Self { interval, idle: looks(idle_max), stall: looks(STALL_MAX), frame_age: looks(FRAME_AGE_MAX) }
    }
}

impl Activity {
    pub(super) fn new(now: Look) -> Self {
        Self { phase: Cell::new(Phase::Idle), moved_at: Cell::new(now), frame_began: Cell::new(now) }
    }

    /// Something was received or sent; sets the next phase.
    pub(super) fn moved(&self, phase: Phase, now: Look) {
        self.phase.set(phase);
        self.moved_at.set(now);
    }

    /// From here on received bytes belong to another frame.
    pub(super) fn begin_frame(&self, now: Look) {
        self.frame_began.set(now);
    }

    /// Changes the phase although nothing was received or sent.
    pub(super) fn turn_to(&self, phase: Phase) {
        self.phase.set(phase);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Why the connection is to be closed, if it is.
    pub(super) fn overdue(&self, now: Look, patience: Patience, budget_is_short: bool) -> Option<&'static str> {
        let (phase, silent) = (self.phase.get(), now.wrapping_sub(self.moved_at.get()));
        let age = now.wrapping_sub(self.frame_began.get());
        match phase {
            Phase::Idle | Phase::Receiving | Phase::Sending if patience.idle < silent => Some("idle for too long"),
            Phase::Receiving | Phase::Sending if budget_is_short && patience.stall < silent => {
                Some("stalled while the in-flight budget is short")
            }
            Phase::Receiving | Phase::Waiting if budget_is_short && patience.frame_age < age => {
                Some("its frame was not complete in time while the in-flight budget is short")
            }
            Phase::Idle | Phase::Receiving | Phase::Waiting | Phase::Handling | Phase::Sending => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_closed_and_when() {
        const NOW: Look = 100_000;
        let patience = Patience::new(Duration::from_mins(10));
        assert_eq!((patience.interval, patience.idle, patience.stall, patience.frame_age), (INTERVAL, 600, 5, 30));
        for (phase, silent, age, short, closed) in [
            (Phase::Idle, 600, 0, true, false),
            (Phase::Idle, 601, 0, false, true),
            (Phase::Handling, 9999, 9999, true, false),
            (Phase::Sending, 601, 0, false, true),
            (Phase::Sending, 6, 0, false, false),
            (Phase::Sending, 6, 0, true, true),
            (Phase::Receiving, 6, 6, false, false),
            (Phase::Receiving, 6, 6, true, true),
            (Phase::Receiving, 1, 31, false, false),
            (Phase::Receiving, 1, 31, true, true),
            (Phase::Waiting, 29, 29, true, false),
            (Phase::Waiting, 31, 31, true, true),
        ] {
            let activity = Activity::new(NOW - age);
            activity.moved(phase, NOW - silent);
            let reason = activity.overdue(NOW, patience, short);
            assert_eq!(reason.is_some(), closed, "{phase:?} {silent} {age} {short}: {reason:?}");
        }
    }

    #[test]
    fn a_short_idle_time_is_looked_after_more_often() {
        let patience = Patience::new(Duration::from_millis(400));
        assert_eq!((patience.interval, patience.idle), (Duration::from_millis(100), 4));
    }
}
