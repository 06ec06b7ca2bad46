//! Brokers that were fenced or unregistered a short while ago. Clients are still given their addresses, as they would
//! be during a session of Kafka's nine seconds: librdkafka (2.10 to 2.12 at least) loses a partition whose leader
//! vanishes from the list of brokers in the same answer that names the next one, and asks again only after a second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use protocol::types::BrokerId;

use super::partition::lock;
use crate::metadata::{BrokerImage, Image};

/// Kafka's default of `broker.session.timeout.ms`: with it clients see a failed broker for this long.
const KEPT: Duration = Duration::from_secs(9);

/// Each with the time, on the monotonic clock, at which it was no longer active.
#[derive(Debug, Default)]
pub(super) struct Departed(Mutex<BTreeMap<BrokerId, (BrokerImage, Duration)>>);

impl Departed {
    pub(super) fn note(&self, before: &Image, after: &Image, now: Duration) {
        let is_active = |id: &BrokerId| after.brokers.get(id).is_some_and(|broker| !broker.fenced);
        let mut departed = lock(&self.0);
        departed.retain(|id, (_, since)| !is_active(id) && now.saturating_sub(*since) < KEPT);
        let gone = before.active_brokers().filter(|(id, _)| !is_active(id));
        departed.extend(gone.map(|(id, broker)| (id, (broker.clone(), now))));
    }

    pub(super) fn at(&self, now: Duration) -> Vec<(BrokerId, BrokerImage)> {
        let departed = lock(&self.0);
        let lately = departed.iter().filter(|(_, (_, since))| now.saturating_sub(*since) < KEPT);
        lately.map(|(id, (broker, _))| (*id, broker.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{cluster, fence};

    fn known_at(departed: &Departed, now_s: u64) -> Vec<i32> {
        departed.at(Duration::from_secs(now_s)).into_iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn who_is_fenced_is_known_until_it_is_back_or_for_some_seconds() {
        let at = Duration::from_secs;
        let departed = Departed::default();
        let all = cluster(3);
        let mut one_less = all.clone();
        fence(&mut one_less, 2);
        departed.note(&all, &one_less, at(1));
        departed.note(&one_less, &one_less, at(5));
        assert_eq!(known_at(&departed, 9), [2], "since it left");
        assert_eq!(known_at(&departed, 10), [0; 0]);
        departed.note(&one_less, &all, at(6));
        assert_eq!(known_at(&departed, 6), [0; 0], "it is in the image again");
    }
}
