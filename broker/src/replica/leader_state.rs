//! What a leader knows of its followers, and what follows from it: how far the log is committed, and who is in sync.
//! Pure: time, the log's end and the brokers that are up are arguments.
//!
//! A record is committed when every member of the *maximal* ISR has it: those whom the controller has in the ISR, and
//! those whom it may have by now, because a proposal is on its way. So whoever the controller may elect has it, too.
//! Only while the controller's own ISR has `min.insync.replicas` members is anything committed (KIP-966).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch};

use crate::bugs::{self, Bug};
use crate::metadata::{PartitionImage, Replica};

/// Brokers as the metadata has them.
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

/// What the judgement of followers depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement<'a> {
    pub(crate) brokers: &'a RegisteredBrokers,
    /// `replica.lag.time.max.ms`
    pub(crate) lag_max: Duration,
    pub(crate) now: Duration,
}

/// A follower says with a fetch what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerFetch {
    pub(crate) broker: BrokerId,
    /// Of the follower's registration (KIP-903).
    pub(crate) broker_epoch: BrokerEpoch,
    /// Its volume, if it says so.
    pub(crate) directory: Option<DirectoryId>,
    /// Where it reads on: everything before it, it has.
    pub(crate) offset: Offset,
    pub(crate) log_start: Offset,
}

/// A fetch that is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownFollower {
    #[error("broker {0} has no replica of the partition")]
    NotAReplica(BrokerId),
    #[error("broker {broker} has its replica in directory {assigned}, not in {found}")]
    OtherDirectory { broker: BrokerId, assigned: DirectoryId, found: DirectoryId },
    #[error("broker {broker} fetches with epoch {}, it is registered with {:?}", epoch.0, registered.map(|epoch| epoch.0))]
    OtherEpoch { broker: BrokerId, epoch: BrokerEpoch, registered: Option<BrokerEpoch> },
}

/// An ISR that the leader asks the controller for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrProposal {
    pub(crate) leader_epoch: LeaderEpoch,
    /// What it is meant to replace.
    pub(crate) partition_epoch: PartitionEpoch,
    /// With the epochs of their registrations, as far as they are known.
    pub(crate) isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    pub(crate) recovery_state: LeaderRecoveryState,
}

/// What came of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProposalOutcome {
    /// That is what the controller has now.
    Committed { leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch, isr: Vec<BrokerId> },
    /// It was not and will not be carried out.
    Refused,
    /// The controller has something newer, which the metadata will tell.
    Superseded,
}

/// How ISRs changed by proposals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IsrChange {
    pub(crate) joined: usize,
    pub(crate) left: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaderState {
    local: BrokerId,
    pub(crate) epoch: LeaderEpoch,
    /// The first epoch since which this broker has followed nobody: what it wrote then is still in its log.
    since: LeaderEpoch,
    /// Where the log ended when this leadership began.
    epoch_start: Offset,
    partition_epoch: PartitionEpoch,
    /// As the controller has it.
    isr: Vec<BrokerId>,
    recovery_state: LeaderRecoveryState,
    proposal: Option<IsrProposal>,
    followers: Vec<Follower>,
}

/// Everything but the first two is of this leadership: what a follower had before says nothing of what it has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Follower {
    broker: BrokerId,
    directory: DirectoryId,
    broker_epoch: Option<BrokerEpoch>,
    log_end: Option<Offset>,
    log_start: Offset,
    /// Its last fetch, and where the leader's log ended then.
    last_fetch: Option<(Duration, Offset)>,
    /// Then it had all that there was.
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
        // Members of the ISR have all that is committed: they get the whole time to be heard of.
        for follower in &mut state.followers {
            let is_in_sync = state.isr.contains(&follower.broker);
            follower.last_caught_up = is_in_sync.then_some(now);
            if bugs::is_planted(Bug::FormerLeadershipCounts) {
                follower.log_end = is_in_sync.then_some(log_end);
            }
        }
        state
    }

    /// Of a broker that led before, and has followed nobody since.
    pub(crate) fn leading_on(self, before: &Self) -> Self {
        Self { since: before.since, ..self }
    }

    /// Whether what this broker wrote in that epoch is in its log.
    pub(crate) fn has_kept(&self, epoch: LeaderEpoch) -> bool {
        self.since <= epoch && epoch <= self.epoch
    }

    /// Follows the metadata within the same leadership. What is older than what is known here is late, not news.
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

    /// How many replicas must be in sync: `min.insync.replicas`, but all there are is enough.
    pub(crate) fn isr_count_min(&self, min_insync_replicas: usize) -> usize {
        min_insync_replicas.min(self.replica_count())
    }

    /// Takes note of what a follower has. `log_end`: of this log. The offset is not beyond it.
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
        // Of an earlier life, made up, or one that the metadata here has not got to: that will not take long.
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

    /// Up to where the log is committed, if that can be said. `local_end`: up to where this replica counts as having
    /// the records, `log_end`: where its log ends.
    ///
    /// Who is about to join the ISR is waited for, too: under load it would never be where the high watermark is.
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

    /// Where the last of the replicas begins that are up, of which this log is one. `log_start`: of this log.
    pub(crate) fn low_watermark(&self, log_start: Offset, brokers: &RegisteredBrokers) -> Offset {
        let up = self.followers.iter().filter(|follower| brokers.active_epoch(follower.broker).is_some());
        up.map(|follower| follower.log_start).fold(log_start, Offset::min)
    }

    /// What to ask the controller for now, if anything. From here on it counts for the maximal ISR, until
    /// [`Self::resolve`] or the metadata says what became of it.
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
        // As for members of old: under load who joins is not at the log's end, and would be the next to leave.
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

    /// `None`: the outcome is of no use any more. What the controller has committed counts from when the metadata tells
    /// it here, as then does everything that the controller went by: `min.insync.replicas` may have been raised just
    /// before, and then others are eligible to lead, who must have what is committed here.
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
                    // It was so already: there is nothing to be told.
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

    /// Followers that a consumer at `offset` can read from, with the ends of their logs (KIP-392).
    pub(crate) fn readable_followers(&self, offset: Offset) -> impl Iterator<Item = (BrokerId, Offset)> {
        let end_of = move |follower: &Follower| {
            let end = follower.log_end.filter(|end| follower.log_start <= offset && offset <= *end)?;
            Some((follower.broker, end))
        };
        self.followers.iter().filter_map(end_of)
    }

    /// Some perhaps twice.
    fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> {
        let proposal = self.proposal.iter().filter(|_| !bugs::is_planted(Bug::NoMaximalIsr));
        let proposed = proposal.flat_map(|proposal| &proposal.isr);
        self.isr.iter().copied().chain(proposed.map(|(broker, _)| *broker))
    }

    fn follower(&self, broker: BrokerId) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.broker == broker)
    }

    /// Of those that stay, what is known is kept.
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
        // Who has not fetched in this leadership is who the metadata says it is.
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

    /// It is the very registration that is up: another one of that broker may have lost its disk.
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
