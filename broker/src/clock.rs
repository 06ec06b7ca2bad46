//! Time. Pure code takes it as an argument; this is where it comes from.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::types::Timestamp;

pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Since some moment of this process. Never goes back, whatever becomes of the wall clock.
pub(crate) fn monotonic() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed()
}

/// Tells whether a loop still turns: the loop beats, the liveness probe looks.
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
        self.last_beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    pub(crate) fn is_alive(&self) -> bool {
        let silence_ms = self.elapsed_ms().saturating_sub(self.last_beat_ms.load(Ordering::Relaxed));
        Duration::from_millis(silence_ms) <= self.silence_max
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
