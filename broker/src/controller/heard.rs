//! When each broker was last heard. A heartbeat counts when it arrives, not when it is processed: otherwise a
//! controller with a long queue would take every broker for silent and fence the whole cluster.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::types::{BrokerEpoch, BrokerId};

/// Bound against made-up ids: anyone who can reach the controller can send one.
const BROKERS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<BrokerId, (BrokerEpoch, Duration)>>);

impl Heard {
    pub(super) fn note(&self, broker: BrokerId, epoch: BrokerEpoch, now: Duration) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < BROKERS_MAX || heard.contains_key(&broker) {
            heard.insert(broker, (epoch, now));
        }
    }

    /// Every broker heard since the last call.
    pub(super) fn take(&self) -> BTreeMap<BrokerId, (BrokerEpoch, Duration)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_ids_silence_nobody_who_was_heard_before_them() {
        let (heard, ids) = (Heard::default(), (0..).map(BrokerId));
        let [first, last] = [1, 2].map(Duration::from_secs);
        ids.take(BROKERS_MAX + 1).for_each(|id| heard.note(id, BrokerEpoch(5), first));
        heard.note(BrokerId(0), BrokerEpoch(6), last);
        let taken = heard.take();
        assert_eq!((taken.len(), taken.get(&BrokerId(0))), (BROKERS_MAX, Some(&(BrokerEpoch(6), last))));
    }
}
