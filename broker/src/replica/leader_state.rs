//! What a leader knows of its followers, and derives from it: the high watermark and the ISR. Pure: time, the log end
//! and the active brokers are arguments.
//!
//! A record is committed when every member of the *maximal* ISR has it: the members that the controller has in the
//! ISR, and those that it may have by now, because a proposal is pending. So every replica that the controller may
//! elect has it, too. Nothing is committed unless the controller's own ISR has `min.insync.replicas` members
//! (KIP-966).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch};

use crate::bugs::{self, Bug};
use crate::metadata::{PartitionImage, Replica};

/// The brokers as registered in the metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RegisteredBrokers(pub(crate) BTreeMap<BrokerId, RegisteredBroker>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegisteredBroker {
    pub(crate) epoch: BrokerEpoch,
    /// It may be in an ISR: it is neither fenced nor about to stop.
    pub(crate) is_active: bool,
}

impl RegisteredBrokers {
    fn epoch(&self, broker: BrokerId) -> Option<BrokerEpoch> {
        self.0.get(&broker).map(|registered| registered.epoch)
    }

    fn active_epoch(&self, broker: BrokerId) -> Option<BrokerEpoch> {
        self.0.get(&broker).filter(|registered| registered.is_active).map(|registered| registered.epoch)
    }
}

/// What followers are judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement<'a> {
    pub(crate) brokers: &'a RegisteredBrokers,
    /// `replica.lag.time.max.ms`
    pub(crate) lag_max: Duration,
    pub(crate) now: Duration,
}

/// A follower reports its position with a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerFetch {
    pub(crate) broker: BrokerId,
    /// The epoch of the follower's registration (KIP-903).
    pub(crate) broker_epoch: BrokerEpoch,
    /// Its directory id, if it is sent.
    pub(crate) directory: Option<DirectoryId>,
    /// The fetch offset: the follower has everything before it.
    pub(crate) offset: Offset,
    pub(crate) log_start: Offset,
}

/// Why a fetch is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownFollower {
    #[error("broker {0} has no replica of the partition")]
    NotAReplica(BrokerId),
    #[error("broker {broker} has its replica in directory {assigned}, not in {found}")]
    OtherDirectory { broker: BrokerId, assigned: DirectoryId, found: DirectoryId },
    #[error("broker {broker} fetches with epoch {}, it is registered with {:?}", epoch.0, registered.map(|epoch| epoch.0))]
    OtherEpoch { broker: BrokerId, epoch: BrokerEpoch, registered: Option<BrokerEpoch> },
}

/// An ISR that the leader proposes to the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrProposal {
    pub(crate) leader_epoch: LeaderEpoch,
    /// The partition epoch that it shall replace.
    pub(crate) partition_epoch: PartitionEpoch,
    /// With the epochs of their registrations, if known.
    pub(crate) isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    pub(crate) recovery_state: LeaderRecoveryState,
}

/// The outcome of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProposalOutcome {
    /// The controller's current state.
    Committed { leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch, isr: Vec<BrokerId> },
    /// It was not and will not be carried out.
    Refused,
    /// The controller has a newer state, which the metadata will bring.
    Superseded,
}

/// Changes of ISRs by proposals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IsrChange {
    pub(crate) joined: usize,
    pub(crate) left: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaderState {
    local: BrokerId,
    pub(crate) epoch: LeaderEpoch,
    /// The first epoch since which this broker has followed no other: what it wrote since is still in its log.
    since: LeaderEpoch,
    /// The log end when this leadership began.
    epoch_start: Offset,
    partition_epoch: PartitionEpoch,
    /// The controller's ISR.
    isr: Vec<BrokerId>,
    recovery_state: LeaderRecoveryState,
    proposal: Option<IsrProposal>,
    followers: Vec<Follower>,
}

/// All but the first two fields are of this leadership: what a follower had before does not tell what it has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Follower {
    broker: BrokerId,
    directory: DirectoryId,
    broker_epoch: Option<BrokerEpoch>,
    log_end: Option<Offset>,
    log_start: Offset,
    /// The time of its last fetch, and the leader's log end then.
    last_fetch: Option<(Duration, Offset)>,
    /// The last time at which it had everything.
    last_caught_up: Option<Duration>,
}

impl LeaderState {
    pub(crate) fn new(partition: &PartitionImage, local: BrokerId, log_end: Offset, now: Duration) -> Self {
        let mut state = Self {
            local,
            epoch: partition.leader_epoch,
            since: partition.leader_epoch,
            epoch_start: log_end,
            partition_epoch: partition.partition_epoch,
            isr: partition.isr.clone(),
            recovery_state: partition.recovery_state,
            proposal: None,
            followers: Vec::new(),
        };
        state.set_replicas(&partition.replicas);
        // Members of the ISR have all that is committed: they get the full time to fetch.
        for follower in &mut state.followers {
            let is_in_sync = state.isr.contains(&follower.broker);
            follower.last_caught_up = is_in_sync.then_some(now);
            if bugs::is_planted(Bug::FormerLeadershipCounts) {
                follower.log_end = is_in_sync.then_some(log_end);
            }
        }
        state
    }

    /// Continues an earlier leadership of this broker, which has followed no other since.
    pub(crate) fn leading_on(self, before: &Self) -> Self {
        Self { since: before.since, ..self }
    }

    /// Whether what this broker wrote in that epoch is still in its log.
    pub(crate) fn has_kept(&self, epoch: LeaderEpoch) -> bool {
        self.since <= epoch && epoch <= self.epoch
    }

    /// Follows the metadata within the same leadership. Stale metadata (an older partition epoch) is ignored.
    pub(crate) fn follow(&mut self, partition: &PartitionImage) {
        assert_eq!(self.epoch, partition.leader_epoch, "another epoch is another leadership");
        if partition.partition_epoch <= self.partition_epoch {
            return;
        }
        self.partition_epoch = partition.partition_epoch;
        self.isr.clone_from(&partition.isr);
        self.recovery_state = partition.recovery_state;
        self.proposal = None;
        self.set_replicas(&partition.replicas);
    }

    pub(crate) fn isr(&self) -> &[BrokerId] {
        &self.isr
    }

    pub(crate) fn replica_count(&self) -> usize {
        self.followers.len().saturating_add(1)
    }

    /// How many replicas must be in sync: `min.insync.replicas`, but not more than there are.
    pub(crate) fn isr_count_min(&self, min_insync_replicas: usize) -> usize {
        min_insync_replicas.min(self.replica_count())
    }

    /// Records a follower's position. `log_end`: of this log. The offset is not beyond it.
    pub(crate) fn fetched(
        &mut self,
        fetch: &FollowerFetch,
        log_end: Offset,
        brokers: &RegisteredBrokers,
        now: Duration,
    ) -> Result<(), UnknownFollower> {
        let follower = self.followers.iter_mut().find(|follower| follower.broker == fetch.broker);
        let follower = follower.ok_or(UnknownFollower::NotAReplica(fetch.broker))?;
        let (broker, assigned) = (fetch.broker, follower.directory);
        if let Some(found) = fetch.directory.filter(|found| *found != assigned) {
            return Err(UnknownFollower::OtherDirectory { broker, assigned, found });
        }
        // From an earlier process, made up, or of a registration not replayed here yet, which will not take long.
        let registered = brokers.epoch(broker);
        if registered != Some(fetch.broker_epoch) {
            return Err(UnknownFollower::OtherEpoch { broker, epoch: fetch.broker_epoch, registered });
        }
        if log_end <= fetch.offset {
            follower.last_caught_up = Some(now);
        } else if let Some((at, end)) = follower.last_fetch.filter(|(_, end)| *end <= fetch.offset) {
            debug_assert!(end <= log_end, "the log only grows within a leadership");
            follower.last_caught_up = follower.last_caught_up.max(Some(at));
        }
        follower.broker_epoch = Some(fetch.broker_epoch);
        follower.last_fetch = Some((now, log_end));
        follower.log_end = Some(fetch.offset);
        follower.log_start = fetch.log_start;
        Ok(())
    }

    /// The end of what is committed, if that can be told. `local_end`: up to here this replica counts as having the
    /// records, `log_end`: the end of its log.
    ///
    /// Replicas about to join the ISR are waited for, too: under load they would otherwise never reach the high
    /// watermark.
    pub(crate) fn committed_end(
        &self,
        (local_end, log_end): (Offset, Offset),
        min_insync_replicas: usize,
        judgement: &Judgement<'_>,
    ) -> Option<Offset> {
        let is_enough = self.isr_count_min(min_insync_replicas) <= self.isr.len();
        if !is_enough && !bugs::is_planted(Bug::CommitBelowMinIsr) {
            return None;
        }
        let mut committed = local_end;
        for broker in self.maximal_isr().filter(|broker| *broker != self.local) {
            committed = committed.min(self.follower(broker)?.log_end?);
        }
        let is_joining =
            |follower: &&Follower| follower.is_eligible(judgement.brokers) && follower.is_in_time(log_end, judgement);
        let joining = self.followers.iter().filter(is_joining).filter_map(|follower| follower.log_end);
        Some(joining.fold(committed, Offset::min))
    }

    /// The lowest log start of the active replicas, this one included. `log_start`: of this log.
    pub(crate) fn low_watermark(&self, log_start: Offset, brokers: &RegisteredBrokers) -> Offset {
        let up = self.followers.iter().filter(|follower| brokers.active_epoch(follower.broker).is_some());
        up.map(|follower| follower.log_start).fold(log_start, Offset::min)
    }

    /// The ISR to propose to the controller now, if any. It counts for the maximal ISR until [`Self::resolve`] or the
    /// metadata tells its outcome.
    pub(crate) fn propose(
        &mut self,
        high_watermark: Offset,
        log_end: Offset,
        judgement: &Judgement<'_>,
    ) -> Option<IsrProposal> {
        if self.proposal.is_some() {
            return None;
        }
        let stays = |broker: &BrokerId| {
            *broker == self.local
                || self.follower(*broker).is_some_and(|follower| follower.is_in_time(log_end, judgement))
        };
        let is_far_enough =
            |end: Offset| high_watermark.max(self.epoch_start) <= end || bugs::is_planted(Bug::JoinBelowHighWatermark);
        let has_caught_up = |follower: &&Follower| {
            !self.isr.contains(&follower.broker)
                && follower.log_end.is_some_and(is_far_enough)
                && follower.is_eligible(judgement.brokers)
        };
        let staying = self.isr.iter().copied().filter(stays);
        let joining: Vec<_> = self.followers.iter().filter(has_caught_up).map(|follower| follower.broker).collect();
        let isr: Vec<_> = staying.chain(joining.iter().copied()).collect();
        // As for initial members: under load a joining replica is not at the log end, and would be the next to leave.
        for follower in self.followers.iter_mut().filter(|follower| joining.contains(&follower.broker)) {
            follower.last_caught_up = Some(judgement.now);
        }
        let recovery_state = LeaderRecoveryState::Recovered;
        if isr == self.isr && recovery_state == self.recovery_state {
            return None;
        }
        let isr = isr.into_iter().map(|broker| (broker, self.epoch_of(broker, judgement.brokers))).collect();
        let proposal =
            IsrProposal { leader_epoch: self.epoch, partition_epoch: self.partition_epoch, isr, recovery_state };
        self.proposal = Some(proposal.clone());
        Some(proposal)
    }

    /// `None`: the outcome is out of date. A committed change takes effect only when the metadata brings it, together
    /// with everything the controller decided on: if `min.insync.replicas` was raised just before, other replicas are
    /// eligible to lead, and must have what is committed here.
    pub(crate) fn resolve(&mut self, proposal: &IsrProposal, outcome: ProposalOutcome) -> Option<IsrChange> {
        if self.proposal.as_ref() != Some(proposal) {
            return None;
        }
        match outcome {
            ProposalOutcome::Committed { leader_epoch, partition_epoch, isr } => {
                if leader_epoch != self.epoch || partition_epoch < self.partition_epoch {
                    return None;
                }
                let joined = isr.iter().filter(|broker| !self.isr.contains(broker)).count();
                let left = self.isr.iter().filter(|broker| !isr.contains(broker)).count();
                if partition_epoch == self.partition_epoch {
                    // Nothing has changed: the metadata will bring no news.
                    self.proposal = None;
                }
                Some(IsrChange { joined, left })
            }
            ProposalOutcome::Refused => {
                self.proposal = None;
                Some(IsrChange::default())
            }
            ProposalOutcome::Superseded => None,
        }
    }

    pub(crate) fn proposal(&self) -> Option<&IsrProposal> {
        self.proposal.as_ref()
    }

    /// Followers from which a consumer at `offset` can read, with their log ends (KIP-392).
    pub(crate) fn readable_followers(&self, offset: Offset) -> impl Iterator<Item = (BrokerId, Offset)> {
        let end_of = move |follower: &Follower| {
            let end = follower.log_end.filter(|end| follower.log_start <= offset && offset <= *end)?;
            Some((follower.broker, end))
        };
        self.followers.iter().filter_map(end_of)
    }

    /// May contain duplicates.
    fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> {
        let proposal = self.proposal.iter().filter(|_| !bugs::is_planted(Bug::NoMaximalIsr));
        let proposed = proposal.flat_map(|proposal| &proposal.isr);
        self.isr.iter().copied().chain(proposed.map(|(broker, _)| *broker))
    }

    fn follower(&self, broker: BrokerId) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.broker == broker)
    }

    /// Keeps what is known of replicas that stay.
    fn set_replicas(&mut self, replicas: &[Replica]) {
        let mut known = std::mem::take(&mut self.followers);
        for replica in replicas.iter().filter(|replica| replica.broker != self.local) {
            let same =
                |follower: &Follower| follower.broker == replica.broker && follower.directory == replica.directory;
            let follower = known.iter().position(same).map(|index| known.swap_remove(index));
            self.followers.push(follower.unwrap_or_else(|| Follower::new(*replica)));
        }
    }

    fn epoch_of(&self, broker: BrokerId, brokers: &RegisteredBrokers) -> Option<BrokerEpoch> {
        let registered = || brokers.active_epoch(broker);
        if broker == self.local {
            return registered();
        }
        // If it has not fetched in this leadership the registered epoch is taken.
        self.follower(broker)?.broker_epoch.or_else(registered)
    }
}

impl Follower {
    fn new(Replica { broker, directory }: Replica) -> Self {
        Self {
            broker,
            directory,
            broker_epoch: None,
            log_end: None,
            log_start: Offset(0),
            last_fetch: None,
            last_caught_up: None,
        }
    }

    /// Whether it fetched under the active registration: another process of the broker may have lost its disk.
    fn is_eligible(&self, brokers: &RegisteredBrokers) -> bool {
        self.broker_epoch.is_some() && self.broker_epoch == brokers.active_epoch(self.broker)
    }

    fn is_in_time(&self, log_end: Offset, judgement: &Judgement<'_>) -> bool {
        let recently = |at: Duration| judgement.now.saturating_sub(at) <= judgement.lag_max;
        self.log_end == Some(log_end) || self.last_caught_up.is_some_and(recently)
    }
}

#[cfg(test)]
#[path = "leader_state_test.rs"]
mod tests;
