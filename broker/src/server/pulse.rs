//! Tells whether a loop still turns: the loop beats, the liveness probe looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    last_beat_ms: AtomicU64,
}

impl Pulse {
    /// How often a loop beats.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
    /// A loop that has not turned for this long is dead.
    const SILENCE_MAX: Duration = Duration::from_secs(10);

    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last_beat_ms: AtomicU64::new(0) }
    }

    pub(crate) fn beat(&self) {
        self.last_beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    pub(crate) fn is_alive(&self) -> bool {
        let silence_ms = self.elapsed_ms().saturating_sub(self.last_beat_ms.load(Ordering::Relaxed));
        Duration::from_millis(silence_ms) <= Self::SILENCE_MAX
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
