//! Whether a broker is gone, asked before its session ends: its connection dropped, or it was reported as gone. A
//! probe tells more than silence: another process at its address, or a refused connection, means that it is dead. No
//! answer means no more than silence. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::metadata_records::Endpoint;
use protocol::types::{BrokerEpoch, BrokerId, IncarnationId};

use crate::metadata::Image;

/// How long probes of a broker are ignored after one was wrong; doubles each time.
const BACKOFF: Duration = Duration::from_secs(10);
const DOUBLINGS_MAX: u32 = 6;

/// A broker to be probed at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) broker: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    /// The process that should answer.
    pub(crate) incarnation: IncarnationId,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Probe {
    /// `None`: that process is no longer registered.
    pub(super) fn of(image: &Image, broker: BrokerId, epoch: BrokerEpoch) -> Option<Self> {
        let registered = image.brokers.get(&broker).filter(|registered| registered.epoch == epoch)?;
        let (incarnation, endpoints) = (registered.incarnation, registered.endpoints.clone());
        Some(Self { broker, epoch, incarnation, endpoints })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// The process itself has answered.
    Alive,
    OtherIncarnation,
    /// Refused twice within 50 ms.
    Refused,
    /// No answer: the host or the network is down, or the broker is busy.
    Silent,
}

/// How far probes may be believed, by broker.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    by_broker: BTreeMap<BrokerId, Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// The epoch that a probe fenced last.
    fenced: Option<BrokerEpoch>,
    mistakes: u32,
    disbelieved_until: Duration,
}

impl Suspicion {
    pub(super) fn is_believed(&self, id: BrokerId, now: Duration) -> bool {
        self.by_broker.get(&id).is_none_or(|record| record.disbelieved_until <= now)
    }

    pub(super) fn fenced(&mut self, id: BrokerId, epoch: BrokerEpoch) {
        self.by_broker.entry(id).or_default().fenced = Some(epoch);
    }

    /// A broker that was fenced by a probe and is heard again was not dead.
    pub(super) fn heard(&mut self, id: BrokerId, epoch: BrokerEpoch, now: Duration) {
        let Some(record) = self.by_broker.get_mut(&id).filter(|record| record.fenced == Some(epoch)) else { return };
        record.fenced = None;
        record.disbelieved_until = now + BACKOFF * 2_u32.pow(record.mistakes.min(DOUBLINGS_MAX));
        record.mistakes = record.mistakes.saturating_add(1);
    }

    pub(super) fn forget(&mut self) {
        self.by_broker.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: BrokerId = BrokerId(1);

    #[test]
    fn a_rule_that_was_wrong_is_not_applied_for_a_while_and_longer_each_time() {
        let mut suspicion = Suspicion::default();
        let mut now = Duration::from_secs(1);
        for seconds in [10, 20, 40, 80, 160, 320, 640, 640] {
            assert!(suspicion.is_believed(BROKER, now));
            suspicion.fenced(BROKER, BrokerEpoch(5));
            suspicion.heard(BROKER, BrokerEpoch(5), now);
            now += Duration::from_secs(seconds);
            assert!(!suspicion.is_believed(BROKER, now.saturating_sub(Duration::from_millis(1))), "{seconds}");
            assert!(suspicion.is_believed(BrokerId(2), now), "the others are not concerned");
        }
    }

    #[test]
    fn who_comes_back_as_another_process_was_dead() {
        let mut suspicion = Suspicion::default();
        suspicion.fenced(BROKER, BrokerEpoch(5));
        suspicion.heard(BROKER, BrokerEpoch(9), Duration::ZERO);
        assert!(suspicion.is_believed(BROKER, Duration::ZERO));
    }
}
