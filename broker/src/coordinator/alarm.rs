//! When the coordinator thread looks at the shards next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The thread sets it to the next deadline it has found, and sleeps; a shard that gets an earlier deadline wakes it.
///
/// Shards have locks of their own, so the thread does not see all of them at one moment. So it first sets the alarm
/// to "never": a deadline that comes up in a shard it has already looked at makes it look again.
#[derive(Debug)]
pub(super) struct Alarm {
    at_nanos: AtomicU64,
    brought_forward: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { at_nanos: AtomicU64::new(u64::MAX), brought_forward: Notify::new() }
    }
}

impl Alarm {
    pub(super) fn begin_look(&self) {
        self.at_nanos.store(u64::MAX, Ordering::SeqCst);
    }

    pub(super) fn set(&self, at: Duration) {
        self.at_nanos.store(nanos(at), Ordering::SeqCst);
    }

    /// Call it after the change that causes the earlier deadline.
    pub(super) fn bring_forward(&self, at: Duration) {
        let at = nanos(at);
        if at < self.at_nanos.load(Ordering::SeqCst) && at < self.at_nanos.fetch_min(at, Ordering::SeqCst) {
            self.brought_forward.notify_one();
        }
    }

    /// Returns once for everything that was brought forward since the last call.
    pub(super) async fn brought_forward(&self) {
        self.brought_forward.notified().await;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rings(alarm: &Alarm) -> bool {
        tokio::select! {
            biased;
            () = alarm.brought_forward() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn what_comes_up_during_a_look_or_before_the_next_one_is_told() {
        let [early, between, late] = [1, 2, 3].map(Duration::from_secs);
        let alarm = Alarm::default();
        alarm.set(early);
        alarm.begin_look();
        alarm.bring_forward(between);
        alarm.set(late);
        assert!(rings(&alarm).await, "the thread may have passed that shard");
        assert!(!rings(&alarm).await, "once is enough");
        alarm.bring_forward(late);
        assert!(!rings(&alarm).await, "it looks then anyway");
        alarm.bring_forward(early);
        alarm.bring_forward(early);
        assert!(rings(&alarm).await && !rings(&alarm).await);
    }
}
