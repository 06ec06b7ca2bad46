//! When each broker was last heard. A heartbeat counts when it arrives, not when its turn comes: otherwise a controller
//! with a long queue would call everybody silent, and fence the whole cluster.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::types::{BrokerEpoch, BrokerId};

/// Whoever can reach the controller can say any id: more are not kept between two looks.
const BROKERS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<BrokerId, (BrokerEpoch, Duration)>>);

impl Heard {
    pub(super) fn note(&self, broker: BrokerId, epoch: BrokerEpoch, now: Duration) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < BROKERS_MAX {
            heard.insert(broker, (epoch, now));
        }
    }

    /// Everybody since the last look.
    pub(super) fn take(&self) -> BTreeMap<BrokerId, (BrokerEpoch, Duration)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
