//! Which brokers are heard, and when each was last heard: soft state of the active controller. Time is monotonic and
//! comes from the caller.
//!
//! 1. A session lasts as long as heartbeats arrive. A new controller starts all of them anew: it does not know what
//!    its predecessor heard.
//! 2. A controller that itself stood still takes nobody for silent: all sessions start anew.
//! 3. Of several ended sessions the one that has been silent longest is fenced first, one at a time, so that the
//!    effect of each is there before the next.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::types::{BrokerEpoch, BrokerId, Offset};

use super::heard::Heard;
use super::heartbeats::Heartbeat;
use crate::metadata::Image;

/// The timeout of a broker that was reported as gone and does not answer a probe.
const HINTED_TIMEOUT: Duration = Duration::from_millis(300);

const BETWEEN_FENCES: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Sessions {
    by_broker: BTreeMap<BrokerId, Session>,
    timeout: Duration,
    looked: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: BrokerEpoch,
    heard: Duration,
    timeout: Duration,
    /// The end of the metadata when it began: what this broker led may have been given to others before.
    began_at: Offset,
    /// When the broker was reported as gone, if it has not been heard since.
    hinted: Option<Duration>,
    /// As reported to this controller; `None`: not yet.
    metadata_offset: Option<Offset>,
    /// The end of the records by which it handed over its leaderships.
    shutdown_offset: Option<Offset>,
}

impl Session {
    fn ends(&self) -> Duration {
        self.heard + self.timeout
    }

    fn hear(&mut self, at: Duration, timeout: Duration) {
        if self.heard <= at {
            (self.heard, self.timeout, self.hinted) = (at, timeout, None);
        }
    }
}

impl Sessions {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { by_broker: BTreeMap::new(), timeout, looked: Duration::ZERO }
    }

    /// Every unfenced broker gets a full session, as if it had just been heard.
    pub(super) fn restart(&mut self, image: &Image, now: Duration) {
        self.looked = now;
        self.by_broker.clear();
        for (id, broker) in &image.brokers {
            if !broker.fenced {
                self.open(*id, broker.epoch, image.end_offset, now);
            }
            if broker.in_controlled_shutdown {
                self.begin_shutdown(*id, image.end_offset);
            }
        }
    }

    /// `began_at`: the end of the metadata.
    pub(super) fn open(&mut self, id: BrokerId, epoch: BrokerEpoch, began_at: Offset, now: Duration) {
        let timeout = self.timeout;
        let (metadata_offset, shutdown_offset) = (None, None);
        let session = Session { epoch, heard: now, timeout, began_at, hinted: None, metadata_offset, shutdown_offset };
        self.by_broker.insert(id, session);
    }

    /// The broker has been fenced by the records before `end`. If it is heard its session begins anew.
    pub(super) fn fenced(&mut self, id: BrokerId, end: Offset) {
        if let Some(session) = self.by_broker.get_mut(&id) {
            session.began_at = end;
        }
    }

    /// Whether the broker has replayed all metadata from before its session began.
    pub(super) fn is_caught_up(&self, id: BrokerId) -> bool {
        self.by_broker
            .get(&id)
            .is_some_and(|session| session.metadata_offset.is_some_and(|last| session.began_at <= last.advance(1)))
    }

    pub(super) fn end(&mut self, id: BrokerId) {
        self.by_broker.remove(&id);
    }

    /// Takes a heartbeat of the registered process; the caller has checked the epoch. `end`: of the metadata.
    pub(super) fn heard(&mut self, heartbeat: &Heartbeat, end: Offset, now: Duration) {
        if self.by_broker.get(&heartbeat.id).is_none_or(|session| session.epoch != heartbeat.epoch) {
            self.open(heartbeat.id, heartbeat.epoch, end, now);
        }
        if let Some(session) = self.by_broker.get_mut(&heartbeat.id) {
            session.hear(now, self.timeout);
            session.metadata_offset = session.metadata_offset.max(Some(heartbeat.metadata_offset));
        }
    }

    /// Takes heartbeats that have arrived but are not processed yet.
    pub(super) fn look(&mut self, heard: &Heard, now: Duration) {
        for (id, (epoch, at)) in heard.take() {
            if let Some(session) = self.by_broker.get_mut(&id).filter(|session| session.epoch == epoch) {
                session.hear(at, self.timeout);
            }
        }
        if self.looked + self.timeout / 2 < now {
            self.by_broker.values_mut().for_each(|session| session.hear(now, self.timeout));
        }
        self.looked = now;
    }

    /// The broker was reported as gone; a probe will follow.
    pub(super) fn hint(&mut self, id: BrokerId, now: Duration) {
        if let Some(session) = self.by_broker.get_mut(&id) {
            session.hinted = session.hinted.or(Some(now));
        }
    }

    /// The broker did not answer a probe. After a hint it then has little time left to be heard.
    pub(super) fn silent(&mut self, id: BrokerId) {
        if let Some(session) = self.by_broker.get_mut(&id)
            && let Some(hinted) = session.hinted
            && hinted + HINTED_TIMEOUT < session.ends()
        {
            (session.heard, session.timeout) = (hinted, HINTED_TIMEOUT);
        }
    }

    /// The broker has answered a probe.
    pub(super) fn answered(&mut self, id: BrokerId, now: Duration) {
        if let Some(session) = self.by_broker.get_mut(&id) {
            session.hear(now, self.timeout);
        }
    }

    /// Ends the session unless the broker is heard again: earlier heartbeats do not count.
    pub(super) fn expire(&mut self, id: BrokerId, now: Duration) {
        if let Some(session) = self.by_broker.get_mut(&id) {
            (session.heard, session.timeout) = (now, Duration::ZERO);
        }
    }

    pub(super) fn is_live(&self, id: BrokerId, now: Duration) -> bool {
        self.by_broker.get(&id).is_some_and(|session| now < session.ends())
    }

    /// Of the brokers whose session has ended, the one that has been silent longest.
    pub(super) fn longest_silent(&self, now: Duration) -> Option<BrokerId> {
        let ended = self.by_broker.iter().filter(|(_, session)| session.ends() <= now);
        ended.min_by_key(|(_, session)| session.ends()).map(|(id, _)| *id)
    }

    /// When to look again: often enough to notice that the controller itself stood still.
    pub(super) fn deadline(&self, now: Duration) -> Duration {
        let next = self.by_broker.values().map(Session::ends).min();
        let soonest = now + BETWEEN_FENCES;
        let latest = soonest.max(now + self.timeout / 4);
        next.map_or(latest, |next| next.clamp(soonest, latest))
    }

    /// Unfenced brokers that this controller has not heard.
    pub(super) fn unheard(&self, image: &Image) -> Vec<BrokerId> {
        let is_heard = |id: &BrokerId| self.by_broker.get(id).is_some_and(|session| session.metadata_offset.is_some());
        image.active_brokers().map(|(id, _)| id).filter(|id| !is_heard(id)).collect()
    }

    /// The records before `end` handed over what the broker led.
    pub(super) fn begin_shutdown(&mut self, id: BrokerId, end: Offset) {
        if let Some(session) = self.by_broker.get_mut(&id) {
            session.shutdown_offset = session.shutdown_offset.max(Some(Offset(end.0.saturating_sub(1))));
        }
    }

    /// Whether every active broker has replayed the records by which this one handed over.
    pub(super) fn is_handover_known(&self, image: &Image, id: BrokerId) -> bool {
        let Some(handover) = self.by_broker.get(&id).and_then(|session| session.shutdown_offset) else { return false };
        let mut others = image.brokers.keys().filter(|other| image.is_active(**other));
        others.all(|other| self.by_broker.get(other).is_some_and(|session| Some(handover) <= session.metadata_offset))
    }
}

#[cfg(test)]
#[path = "sessions_test.rs"]
mod tests;
