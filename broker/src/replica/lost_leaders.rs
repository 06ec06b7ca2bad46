//! Leaders whose connections broke, until the controller has told what became of them. A client that asks at this
//! moment for the leader should be told that there is none, and soon asks again; if it is sent to the dead broker,
//! librdkafka asks again only after a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use protocol::types::BrokerId;

use super::partition::lock;

/// By then the controller knows. Otherwise only this broker has lost the leader.
const AT_MOST: Duration = Duration::from_secs(1);

/// The time since which each is lost, on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct LostLeaders(Mutex<BTreeMap<BrokerId, Duration>>);

impl LostLeaders {
    pub(super) fn lose(&self, leader: BrokerId, now: Duration) {
        lock(&self.0).entry(leader).or_insert(now);
    }

    pub(super) fn find(&self, leader: BrokerId) {
        lock(&self.0).remove(&leader);
    }

    pub(super) fn at(&self, now: Duration) -> BTreeSet<BrokerId> {
        let lost = lock(&self.0);
        let lately = lost.iter().filter(|(_, since)| now.saturating_sub(**since) < AT_MOST);
        lately.map(|(leader, _)| *leader).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost_at(lost: &LostLeaders, milliseconds: u64) -> Vec<i32> {
        lost.at(Duration::from_millis(milliseconds)).into_iter().map(|leader| leader.0).collect()
    }

    #[test]
    fn who_is_lost_is_not_named_until_found_or_for_too_long() {
        let lost = LostLeaders::default();
        let at = Duration::from_millis;
        lost.lose(BrokerId(1), at(0));
        lost.lose(BrokerId(1), at(900));
        lost.lose(BrokerId(2), at(950));
        assert_eq!(lost_at(&lost, 999), [1, 2]);
        assert_eq!(lost_at(&lost, 1_000), [2], "lost since the first time");
        lost.find(BrokerId(1));
        lost.find(BrokerId(2));
        lost.lose(BrokerId(1), at(1_000));
        assert_eq!(lost_at(&lost, 1_001), [1]);
    }
}
