//! The only place where a partition's replicas, ISR, ELR and leader change (KIP-966). Pure.
//!
//! 1. While the ISR is smaller than `min.insync.replicas` nothing is committed, so a replica that leaves it then has
//!    all that was: it stays eligible to lead (ELR), unless its copy may have lost something.
//! 2. The leader stays if it can. Otherwise it is the first replica of the ISR that can lead; if the ISR is empty, of
//!    the ELR; if that is empty too, the last known leader, as `RECOVERING`, because what it lost is unknown. A
//!    requested election may prefer the first replica to all others or, if no such leader is left, take any replica,
//!    again `RECOVERING`.
//! 3. A replica leads only from the volume that it is recorded on (KIP-858), which the caller's `can_lead` checks.
//! 4. A reassignment is finished by whatever change brings the last of its targets into sync, and not before
//!    (KAFKA-15665).

use std::collections::BTreeSet;

use protocol::metadata_records::{LeaderRecoveryState, LeaderUpdate, MetadataRecord, PartitionChangeRecord};
use protocol::types::{BrokerId, DirectoryId, PartitionId, TopicId};

use crate::bugs::{self, Bug};
use crate::metadata::{PartitionImage, Replica};

/// How a broker left, and so what its copies are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// Its copies are complete.
    Clean,
    /// Its copies may lack their last records.
    Unclean,
    /// It comes back with another volume: its copies are gone.
    VolumeReplaced(DirectoryId),
}

/// Which leader is chosen if there are several candidates, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// The leader stays if it can.
    Online,
    /// The first replica is preferred to the present leader.
    Preferred,
    /// As online; if every candidate would lose records, one of them.
    Unclean,
}

/// The former and the future state of a partition.
#[derive(Debug, Clone)]
pub(super) struct PartitionChange<'a> {
    topic: TopicId,
    id: PartitionId,
    was: &'a PartitionImage,
    becomes: PartitionImage,
    min_insync_replicas: usize,
    election: Election,
    spared: BTreeSet<BrokerId>,
}

impl<'a> PartitionChange<'a> {
    /// Starts without a change: [`Self::elect`] looks for a leader if there is none.
    pub(super) fn new(topic: TopicId, id: PartitionId, was: &'a PartitionImage, min_insync_replicas: usize) -> Self {
        let (becomes, spared) = (was.clone(), BTreeSet::new());
        Self { topic, id, was, becomes, min_insync_replicas, election: Election::Online, spared }
    }

    pub(super) fn by(self, election: Election) -> Self {
        Self { election, ..self }
    }

    /// Brokers that become leader only if no other can.
    pub(super) fn sparing(self, spared: BTreeSet<BrokerId>) -> Self {
        Self { spared, ..self }
    }

    /// Takes over the ISR that the leader proposes.
    pub(super) fn in_sync(mut self, members: Vec<BrokerId>, recovery_state: LeaderRecoveryState) -> Self {
        (self.becomes.isr, self.becomes.recovery_state) = (members, recovery_state);
        self.becomes.eligible_leader_replicas = self.eligible();
        self
    }

    /// Sets the replicas, some of which may be being added or removed (KIP-455).
    pub(super) fn on(mut self, replicas: Vec<Replica>, adding: Vec<BrokerId>, removing: Vec<BrokerId>) -> Self {
        let becomes = &mut self.becomes;
        for list in [&mut becomes.isr, &mut becomes.eligible_leader_replicas, &mut becomes.last_known_elr] {
            list.retain(|id| replicas.iter().any(|replica| replica.broker == *id));
        }
        (becomes.replicas, becomes.adding, becomes.removing) = (replicas, adding, removing);
        self
    }

    pub(super) fn without(mut self, broker: BrokerId, departure: Departure) -> Self {
        self.becomes.isr.retain(|member| *member != broker);
        self.becomes.eligible_leader_replicas = self.eligible();
        let becomes = &mut self.becomes;
        if departure != Departure::Clean && !bugs::is_planted(Bug::UncleanBrokerStaysInElr) {
            becomes.eligible_leader_replicas.retain(|id| *id != broker);
        }
        if let Departure::VolumeReplaced(directory) = departure {
            becomes.last_known_elr.retain(|id| *id != broker);
            becomes.replicas.iter_mut().filter(|replica| replica.broker == broker).for_each(|replica| {
                replica.directory = directory;
            });
        }
        self
    }

    /// The former ELR, and the replicas that leave the ISR.
    fn eligible(&self) -> Vec<BrokerId> {
        let leavers = self.was.isr.iter().filter(|member| !self.becomes.isr.contains(member));
        let mut eligible: Vec<_> = self.was.eligible_leader_replicas.iter().chain(leavers).copied().collect();
        eligible.sort_unstable();
        eligible.dedup();
        eligible
    }

    /// The record of the change, with a leader if there can be one. `None`: nothing changes.
    pub(super) fn elect(mut self, can_lead: impl Fn(Replica) -> bool) -> Option<MetadataRecord> {
        self = self.finish_reassignment(&can_lead);
        self.becomes.leader = self.leader(can_lead);
        if let Some(leader) = self.becomes.leader
            && !self.becomes.isr.contains(&leader)
        {
            if !self.becomes.eligible_leader_replicas.contains(&leader) {
                self.becomes.recovery_state = LeaderRecoveryState::Recovering;
            }
            self.becomes.isr = vec![leader];
        }
        // There cannot be more in sync than there are replicas.
        let is_enough = self.min_insync_replicas.min(self.becomes.replicas.len()) <= self.becomes.isr.len();
        if is_enough && !bugs::is_planted(Bug::ElrNotCleared) {
            self.becomes.eligible_leader_replicas.clear();
            self.becomes.last_known_elr.clear();
        } else {
            let isr = &self.becomes.isr;
            self.becomes.eligible_leader_replicas.retain(|id| !isr.contains(id));
            self.becomes.last_known_elr = self.last_known();
        }
        self.record()
    }

    /// Drops the removing replicas once all the others are in sync and one of them can lead.
    fn finish_reassignment(self, can_lead: impl Fn(Replica) -> bool) -> Self {
        let PartitionImage { replicas, isr, removing, .. } = &self.becomes;
        let stays = |replica: &&Replica| !removing.contains(&replica.broker);
        let targets: Vec<_> = replicas.iter().filter(stays).copied().collect();
        let finished = self.becomes.is_reassigning()
            && targets.iter().all(|replica| isr.contains(&replica.broker))
            && targets.iter().any(|replica| can_lead(*replica));
        if finished { self.on(targets, Vec::new(), Vec::new()) } else { self }
    }

    /// With an empty ISR, the last leader. Otherwise, for information, replicas that have left both ISR and ELR.
    fn last_known(&self) -> Vec<BrokerId> {
        let PartitionImage { isr, eligible_leader_replicas, .. } = &self.becomes;
        let on_its_volume = |id: &BrokerId| self.becomes.replica_on(*id) == self.was.replica_on(*id);
        let mut known = match self.was.leader {
            Some(leader) if isr.is_empty() => vec![leader],
            None if isr.is_empty() => self.was.last_known_elr.clone(),
            _ => [&self.was.last_known_elr, &self.was.eligible_leader_replicas, &self.was.isr]
                .into_iter()
                .flatten()
                .filter(|id| !isr.contains(id) && !eligible_leader_replicas.contains(id))
                .copied()
                .collect(),
        };
        known.retain(on_its_volume);
        known.sort_unstable();
        known.dedup();
        known
    }

    fn leader(&self, can_lead: impl Fn(Replica) -> bool) -> Option<BrokerId> {
        let PartitionImage { replicas, isr, eligible_leader_replicas, last_known_elr, .. } = &self.becomes;
        let candidates = match (isr.as_slice(), eligible_leader_replicas.as_slice(), last_known_elr.as_slice()) {
            ([], [], [last_known_leader]) => std::slice::from_ref(last_known_leader),
            ([], [], _) => &[],
            ([], eligible, _) => eligible,
            (isr, ..) => isr,
        };
        let able = replicas.iter().filter(|replica| can_lead(**replica)).map(|replica| replica.broker);
        let clean = able.clone().filter(|id| candidates.contains(id));
        let (spared, lasting): (Vec<_>, Vec<_>) = clean.partition(|id| self.spared.contains(id));
        let unclean = || able.clone().next().filter(|_| self.election == Election::Unclean);
        self.choose(&lasting).or_else(|| self.choose(&spared)).or_else(unclean)
    }

    /// A leader that loses nothing.
    fn choose(&self, clean: &[BrokerId]) -> Option<BrokerId> {
        let (first, preferred) = (clean.first().copied(), self.becomes.brokers().next());
        let prefers_first = self.election == Election::Preferred && first == preferred;
        let current = self.was.leader.filter(|current| !prefers_first && clean.contains(current));
        current.or(first)
    }

    fn record(self) -> Option<MetadataRecord> {
        let Self { was, becomes, .. } = self;
        // If a replica is removed the leader gets a new epoch even if it stays.
        let all_stay = was.brokers().all(|id| becomes.replica_on(id).is_some());
        let leader = match becomes.leader {
            same if same == was.leader && all_stay => LeaderUpdate::Unchanged,
            None => LeaderUpdate::Nobody,
            Some(leader) => LeaderUpdate::Broker(leader),
        };
        let directories = || becomes.replicas.iter().map(|replica| replica.directory).collect();
        let same_brokers = was.brokers().eq(becomes.brokers());
        let record = PartitionChangeRecord {
            leader,
            replicas: (!same_brokers).then(|| becomes.brokers().collect()),
            adding_replicas: changed(&was.adding, becomes.adding.clone()),
            removing_replicas: changed(&was.removing, becomes.removing.clone()),
            directories: (becomes.replicas != was.replicas).then(directories),
            isr: changed(&was.isr, becomes.isr),
            leader_recovery_state: (becomes.recovery_state != was.recovery_state).then_some(becomes.recovery_state),
            eligible_leader_replicas: changed(&was.eligible_leader_replicas, becomes.eligible_leader_replicas),
            last_known_elr: changed(&was.last_known_elr, becomes.last_known_elr),
            ..PartitionChangeRecord::new(self.topic, self.id)
        };
        let unchanged = record == PartitionChangeRecord::new(self.topic, self.id);
        (!unchanged).then_some(MetadataRecord::PartitionChange(record))
    }
}

fn changed(was: &[BrokerId], becomes: Vec<BrokerId>) -> Option<Vec<BrokerId>> {
    (was != becomes.as_slice()).then_some(becomes)
}

#[cfg(test)]
#[path = "partition_change_test.rs"]
mod tests;
