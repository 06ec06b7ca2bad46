//! Limits a usage to so many bytes per second.

use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// When everything used so far is paid for.
    free_at: Duration,
}

impl Pacer {
    /// How long to wait after using `bytes` more.
    pub(super) fn pause(&mut self, bytes: u64, bytes_per_second: f64, now: Duration) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
        let seconds = bytes as f64 / bytes_per_second.max(1.0);
        let price = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.free_at = self.free_at.max(now).saturating_add(price);
        self.free_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_paid_for_in_time() {
        let mut pacer = Pacer::default();
        // Milliseconds, bytes at 1,000 per second, the pause in milliseconds.
        for (now, bytes, pause) in [(5000, 100, 100), (5000, 100, 200), (5150, 100, 150), (9000, 10, 10)] {
            let pause = Duration::from_millis(pause);
            assert_eq!(pacer.pause(bytes, 1000.0, Duration::from_millis(now)), pause, "at {now}");
        }
        assert_eq!(Pacer::default().pause(u64::MAX, f64::MAX, Duration::ZERO), Duration::ZERO);
        assert!(Duration::from_hours(1) < Pacer::default().pause(u64::MAX, 0.0, Duration::ZERO));
    }
}
