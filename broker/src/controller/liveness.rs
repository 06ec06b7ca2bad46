//! Liveness of brokers: registration, heartbeats, probes and shutdown, and sessions that expire.

use std::time::Duration;

use protocol::types::{BrokerEpoch, BrokerId, IncarnationId};
use tracing::{debug, info, warn};

use super::brokers::{self, BrokerEpochError, check_epoch};
use super::command::Reply;
use super::decide::Decider;
use super::discards::is_discarded;
use super::group::Group;
use super::heartbeats::{Heartbeat, HeartbeatAnswer, Transition, transition};
use super::registration::{self, Registration, RegistrationError};
use super::suspicion::{Probe, ProbeOutcome};
use crate::metadata::Image;

impl Decider {
    pub(super) fn register_broker(
        &mut self,
        group: &mut Group,
        registration: Registration,
        reply: Reply<Result<BrokerEpoch, RegistrationError>>,
        now: Duration,
    ) {
        let (id, incarnation) = (registration.id, registration.incarnation);
        self.sessions.look(&self.outside.heard, now);
        let former = group.image.brokers.get(&id).map(|former| (former.epoch, former.incarnation));
        let is_live = self.sessions.is_live(id, now);
        if let Err(error) = registration::check(&group.image, &self.context.cluster_id, &registration, is_live) {
            info!(broker = %id, %error, "broker registration refused");
            if let (RegistrationError::Duplicate { .. }, Some((epoch, _))) = (&error, former) {
                self.ask_for_probe(&group.image, id, epoch, now);
            }
            return group.answer(reply, Ok(Err(error)));
        }
        let (records, epoch) = registration::register(&self.policy(&group.image), registration);
        info!(broker = %id, %epoch, partitions_changed = records.len() - 1, "broker registered");
        if former.is_none_or(|(_, former): (_, IncarnationId)| former != incarnation) {
            self.grants.end(id);
            self.sessions.open(id, epoch, group.image.end_offset, now);
        }
        group.answer_after(reply, (records, Ok(epoch)));
    }

    pub(super) fn heartbeat(
        &mut self,
        group: &mut Group,
        mut heartbeat: Heartbeat,
        reply: Reply<Result<HeartbeatAnswer, BrokerEpochError>>,
        now: Duration,
    ) {
        let Heartbeat { id, epoch, .. } = heartbeat;
        let broker = match check_epoch(&group.image, id, epoch) {
            Ok(broker) => broker.clone(),
            Err(error) => return group.answer(reply, Ok(Err(error))),
        };
        self.sessions.heard(&heartbeat, group.image.end_offset, now);
        self.suspicion.heard(id, epoch, now);
        heartbeat.wants_fence |= broker.directories.iter().any(|directory| is_discarded(&group.image, *directory));
        let has_handed_over = || {
            let leads = group.image.partitions().any(|(_, _, partition)| partition.leader == Some(id));
            !leads && self.sessions.is_handover_known(&group.image, id)
        };
        let transition = transition(&broker, &heartbeat, has_handed_over);
        let records = match transition {
            Transition::None => Vec::new(),
            Transition::Unfence => brokers::unfence(&self.policy(&group.image), id),
            Transition::BeginShutdown => brokers::begin_shutdown(&self.policy(&group.image), id),
            Transition::Stop if broker.fenced => Vec::new(),
            Transition::Stop | Transition::Fence => brokers::fence(&self.policy(&group.image), id),
        };
        report(id, epoch, transition, records.len().saturating_sub(1));
        let added = group.add(&records);
        if added.is_ok() && transition == Transition::BeginShutdown {
            self.sessions.begin_shutdown(id, group.image.end_offset);
        }
        if added.is_ok() && transition == Transition::Fence {
            self.sessions.fenced(id, group.image.end_offset);
        }
        if transition == Transition::Stop {
            // The next process need not wait for this one.
            self.sessions.expire(id, now);
        }
        let is_fenced = group.image.brokers.get(&id).is_none_or(|broker| broker.fenced);
        let is_caught_up = heartbeat.has_replayed_registration() && self.sessions.is_caught_up(id);
        let should_shut_down = transition == Transition::Stop;
        group.answer(reply, added.map(|()| Ok(HeartbeatAnswer { is_caught_up, is_fenced, should_shut_down })));
    }

    pub(super) fn fence_hint(
        &mut self,
        image: &Image,
        id: BrokerId,
        epoch: BrokerEpoch,
        now: Duration,
    ) -> Result<(), BrokerEpochError> {
        check_epoch(image, id, epoch)?;
        info!(broker = %id, %epoch, "fence hint: the broker may be gone");
        // The hint alone does not shorten the session: a live broker may send no heartbeat within the hinted timeout.
        self.sessions.hint(id, now);
        self.ask_for_probe(image, id, epoch, now);
        Ok(())
    }

    /// Asks for a probe of the broker; its outcome comes as [`Command::Probed`](super::command::Command::Probed).
    pub(super) fn ask_for_probe(&self, image: &Image, id: BrokerId, epoch: BrokerEpoch, now: Duration) {
        if !self.sessions.is_live(id, now) || !self.suspicion.is_believed(id, now) {
            return;
        }
        if let Some(probe) = Probe::of(image, id, epoch)
            && let Err(error) = self.outside.probes.try_send(probe)
        {
            debug!(broker = %id, %error, "broker not probed: its session decides");
        }
    }

    pub(super) fn probed(
        &mut self,
        group: &mut Group,
        (id, epoch): (BrokerId, BrokerEpoch),
        outcome: ProbeOutcome,
        now: Duration,
    ) {
        let Ok(broker) = check_epoch(&group.image, id, epoch) else { return };
        match outcome {
            ProbeOutcome::Alive => return self.sessions.answered(id, now),
            ProbeOutcome::Silent => return self.sessions.silent(id),
            ProbeOutcome::OtherIncarnation | ProbeOutcome::Refused if !self.suspicion.is_believed(id, now) => return,
            ProbeOutcome::OtherIncarnation | ProbeOutcome::Refused => {}
        }
        warn!(broker = %id, %epoch, ?outcome, "probe found the broker dead");
        self.sessions.expire(id, now);
        if !broker.fenced {
            self.suspicion.fenced(id, epoch);
            self.fence(group, id);
        }
    }

    /// Fences the next broker whose session has ended. The session is kept until it is fenced, so that none is
    /// forgotten.
    pub(super) fn fence_silent(&mut self, group: &mut Group, now: Duration) {
        self.sessions.look(&self.outside.heard, now);
        while let Some(id) = self.sessions.longest_silent(now) {
            if group.image.brokers.get(&id).is_some_and(|broker| !broker.fenced) {
                warn!(broker = %id, "broker fenced: its session has timed out");
                return self.fence(group, id);
            }
            self.sessions.end(id);
        }
    }

    fn fence(&mut self, group: &mut Group, id: BrokerId) {
        let records = brokers::fence(&self.policy(&group.image), id);
        match group.add(&records) {
            Ok(()) => self.sessions.fenced(id, group.image.end_offset),
            Err(error) => warn!(broker = %id, %error, "broker not fenced"),
        }
    }

    /// Unfenced brokers that this controller has not heard may have gone together with the last controller.
    pub(super) fn dial_unheard(&self, image: &Image, now: Duration) {
        for id in self.sessions.unheard(image) {
            if let Some(broker) = image.brokers.get(&id) {
                self.ask_for_probe(image, id, broker.epoch, now);
            }
        }
    }
}

fn report(broker: BrokerId, epoch: BrokerEpoch, transition: Transition, partitions_changed: usize) {
    match transition {
        Transition::None => {}
        Transition::Unfence => info!(%broker, %epoch, partitions_changed, "broker unfenced"),
        Transition::Fence => warn!(%broker, %epoch, partitions_changed, "broker fenced"),
        Transition::BeginShutdown => info!(%broker, %epoch, partitions_changed, "broker begins controlled shutdown"),
        Transition::Stop => info!(%broker, %epoch, partitions_changed, "broker may stop"),
    }
}

#[cfg(test)]
#[path = "liveness_test.rs"]
mod tests;
