//! Clocks. Pure code takes the time as an argument; this is where it comes from.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::types::Timestamp;

use crate::bugs::{self, Bug};

pub(crate) fn wall() -> Timestamp {
    #[cfg(test)]
    if let Some((_, wall)) = simulated::now() {
        return wall;
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Time since some moment of this process. Never goes back, whatever happens to the wall clock.
pub(crate) fn monotonic() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    #[cfg(test)]
    if let Some((monotonic, _)) = simulated::now() {
        return monotonic;
    }
    ORIGIN.elapsed()
}

/// The clock by which records age: the wall clock, but never faster than time has passed since the process started,
/// so that setting the clock forward deletes nothing. If the clock was behind at the start and is then corrected,
/// this one stays behind until the next start: deletion is late rather than early. If the previous process was last
/// alive longer ago than [`DOWN_MAX`], this clock goes on from then, until a restart.
#[derive(Debug)]
pub(crate) struct AgeClock {
    started: (Timestamp, Duration),
    /// By how much the wall clock was ahead when that was last reported.
    told_s: AtomicU64,
}

/// Smaller jumps are ignored: virtual machines pause, and leap seconds are inserted.
const JUMP_MIN_S: u64 = 60;
/// A longer downtime is taken for a wrong clock. As long as topics keep their records by default.
const DOWN_MAX: Duration = Duration::from_hours(7 * 24);

/// A reading of an [`AgeClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) now: Timestamp,
    /// By how much the wall clock has been set forward.
    pub(crate) ahead: Duration,
}

impl Age {
    pub(crate) fn is_plausible(self) -> bool {
        self.ahead.as_secs() < JUMP_MIN_S
    }
}

impl AgeClock {
    /// `last_alive`: when the previous process last recorded that it was alive, if it did.
    pub(crate) fn start(wall: Timestamp, monotonic: Duration, last_alive: Option<Timestamp>) -> Self {
        let was_down = |last: &Timestamp| u128::try_from(wall.0.saturating_sub(last.0)).unwrap_or(0);
        let begins = last_alive.filter(|last| DOWN_MAX.as_millis() < was_down(last)).unwrap_or(wall);
        Self { started: (begins, monotonic), told_s: AtomicU64::new(0) }
    }

    /// Whether to report that the wall clock is ahead by this much, or that it no longer is.
    pub(crate) fn is_news(&self, ahead: Duration) -> bool {
        let ahead_s = if ahead.as_secs() < JUMP_MIN_S { 0 } else { ahead.as_secs() };
        let is_news = JUMP_MIN_S <= ahead_s.abs_diff(self.told_s.load(Ordering::Relaxed));
        if is_news {
            self.told_s.store(ahead_s, Ordering::Relaxed);
        }
        is_news
    }

    pub(crate) fn read(&self, wall: Timestamp, monotonic: Duration) -> Age {
        if bugs::is_planted(Bug::AgesByWallClock) {
            return Age { now: wall, ahead: Duration::ZERO };
        }
        let (then, at) = self.started;
        let elapsed = i64::try_from(monotonic.saturating_sub(at).as_millis()).unwrap_or(i64::MAX);
        let latest = Timestamp(then.0.saturating_add(elapsed));
        let ahead = u64::try_from(wall.0.saturating_sub(latest.0)).unwrap_or(0);
        Age { now: wall.min(latest), ahead: Duration::from_millis(ahead) }
    }
}

/// The time that a simulation gives to its own thread: that of the simulated machine that is running.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Duration;

    use protocol::types::Timestamp;

    thread_local! {
        static NOW: Cell<Option<(Duration, Timestamp)>> = const { Cell::new(None) };
    }

    pub(crate) fn set(monotonic: Duration, wall: Timestamp) {
        NOW.set(Some((monotonic, wall)));
    }

    pub(super) fn now() -> Option<(Duration, Timestamp)> {
        NOW.get()
    }
}

/// Tells whether a loop still turns: the loop beats, the liveness probe reads.
#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    silence_max: Duration,
    last_beat_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(silence_max: Duration) -> Self {
        Self { started: Instant::now(), silence_max, last_beat_ms: AtomicU64::new(0) }
    }

    pub(crate) fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// Records that the loop turned at that time.
    pub(crate) fn beat_at(&self, at: Instant) {
        self.last_beat_ms.fetch_max(self.ms_at(at), Ordering::Relaxed);
    }

    pub(crate) fn is_alive(&self) -> bool {
        let silence_ms = self.ms_at(Instant::now()).saturating_sub(self.last_beat_ms.load(Ordering::Relaxed));
        Duration::from_millis(silence_ms) <= self.silence_max
    }

    fn ms_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_do_not_grow_old_because_the_clock_is_set() {
        let clock = AgeClock::start(Timestamp(10_000), Duration::from_secs(5), Some(Timestamp(9_000)));
        let ten_years = 10_i64 * 365 * 86_400_000;
        // Wall clock, seconds since the start; the age clock's time, and by how much the wall clock is ahead.
        let table = [
            (10_000, 0, 10_000, 0),
            (13_000, 3, 13_000, 0),
            (12_000, 3, 12_000, 0),
            (1_013_000, 3, 13_000, 1_000_000),
            (1_014_000, 4, 14_000, 1_000_000),
            (15_000, 5, 15_000, 0),
            (15_000 + ten_years, 5, 15_000, ten_years.unsigned_abs()),
            (15_000 - ten_years, 5, 15_000 - ten_years, 0),
        ];
        let differing = || {
            let differs = |(wall, seconds, now, ahead): &(i64, u64, i64, u64)| {
                let expected = Age { now: Timestamp(*now), ahead: Duration::from_millis(*ahead) };
                clock.read(Timestamp(*wall), Duration::from_secs(5 + seconds)) != expected
            };
            table.into_iter().find(differs)
        };
        assert_eq!(differing(), None);
        bugs::plant(Some(Bug::AgesByWallClock));
        let found = differing();
        bugs::plant(None);
        assert!(found.is_some());
        let news = [(59, false), (60, true), (61, false), (119, false), (120, true), (59, true), (0, false)];
        for (ahead, is_news) in news {
            assert_eq!(clock.is_news(Duration::from_secs(ahead)), is_news, "{ahead} s ahead");
        }
    }

    #[test]
    fn what_is_heard_late_counts_from_when_it_was_so() {
        let now = Instant::now();
        let at = |ago: u64| now.checked_sub(Duration::from_secs(ago)).unwrap();
        let pulse = Pulse { started: at(60), silence_max: Duration::from_secs(30), last_beat_ms: AtomicU64::new(0) };
        pulse.beat_at(at(40));
        assert!(!pulse.is_alive());
        pulse.beat_at(at(5));
        pulse.beat_at(at(40));
        assert!(pulse.is_alive());
    }

    #[test]
    fn a_clock_that_starts_long_after_the_last_sign_of_life_is_not_believed() {
        let (week, start) = (7 * 24 * 3_600_000, Timestamp(100_000_000_000));
        for (down, begins) in [(0, start.0), (-5, start.0), (week, start.0), (week + 1, start.0 - week - 1)] {
            let clock = AgeClock::start(start, Duration::ZERO, Some(Timestamp(start.0 - down)));
            let age = clock.read(start, Duration::ZERO);
            assert_eq!((age.now, age.is_plausible()), (Timestamp(begins), begins == start.0), "{down}");
        }
        assert_eq!(AgeClock::start(start, Duration::ZERO, None).read(start, Duration::ZERO).now, start);
    }
}
