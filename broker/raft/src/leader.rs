//! Leads an epoch: its first records, the progress of each replica, the high watermark, check-quorum, resigning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};

use crate::action::Action;
use crate::bugs::Bug;
use crate::control::{ControlRecord, KRaftVersion};
use crate::identity::ReplicaKey;
use crate::outbox::Purpose;
use crate::raft::Raft;
use crate::requests::{BeginQuorumEpochRequest, EndQuorumEpochRequest, Request};
use crate::role::Role;
use crate::voter_change::VoterChange;
use crate::voters::VoterSet;
use crate::waiting::Waiting;

/// Most observers that are remembered; beyond that the one that has been silent longest is forgotten.
const OBSERVERS_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Leader {
    epoch: LeaderEpoch,
    /// Offset of the leader-change record.
    epoch_start: Offset,
    elected_at: Duration,
    pub(crate) is_activated: bool,
    pub(crate) progress: BTreeMap<ReplicaKey, Progress>,
    /// When voters that have not fetched are told again who leads.
    begin_at: Duration,
    pub(crate) waiting: Waiting,
    pub(crate) change: Option<VoterChange>,
}

/// The progress of another replica. Counted only in this epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Everything before it is durable there.
    pub(crate) end: Offset,
    /// The end that was once durable there.
    acknowledged: Offset,
    pub(crate) last_fetch: Duration,
    /// When it last had everything that the log had at its previous fetch: it keeps up.
    pub(crate) last_caught_up: Option<Duration>,
    /// The log end at its last fetch.
    end_at_last_fetch: Offset,
}

/// As returned by DescribeQuorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaProgress {
    pub key: ReplicaKey,
    pub is_voter: bool,
    /// None: it has not fetched in this epoch.
    pub log_end_offset: Option<Offset>,
    pub last_fetch: Option<Duration>,
    pub last_caught_up: Option<Duration>,
}

impl Raft {
    pub(crate) fn lead(&mut self, granted: BTreeSet<BrokerId>) {
        let (now, local) = (self.moment.now, self.config.local.id);
        self.fruitless = 0;
        self.election.leader = Some(local);
        self.become_role(Role::Leader(Box::new(Leader {
            epoch: self.election.epoch,
            epoch_start: self.log.end(),
            elected_at: now,
            is_activated: false,
            progress: BTreeMap::new(),
            begin_at: now,
            waiting: Waiting::default(),
            change: None,
        })));
        let voters = self.voters().keys().map(|key| key.id).collect();
        let granting_voters = granted.into_iter().collect();
        let mut records = vec![ControlRecord::LeaderChange { leader: local, voters, granting_voters }];
        if self.voters_are_from_formatting() {
            records.push(ControlRecord::KRaftVersion(self.log.quorum().kraft_version));
            records.push(ControlRecord::KRaftVoters(self.voters().clone()));
        }
        self.append_control(records);
    }

    /// The very first leader writes into the log what formatting laid down in the snapshot 0-0.
    fn voters_are_from_formatting(&self) -> bool {
        let is_from_log = self.log.last_change().is_some() || Offset(0) < self.log.start();
        let is_from_snapshot = self.log.snapshot().is_some_and(|snapshot| Offset(0) < snapshot.end_offset);
        let is_dynamic = KRaftVersion::DYNAMIC_VOTERS <= self.log.quorum().kraft_version;
        is_dynamic && !is_from_log && !is_from_snapshot
    }

    /// Returns the offset of the records.
    pub(crate) fn append_control(&mut self, records: Vec<ControlRecord>) -> Offset {
        let (base_offset, epoch) = (self.log.end(), self.election.epoch);
        let placed: Vec<_> = (0..).map(|index| base_offset.advance(index)).zip(records.iter().cloned()).collect();
        let end_offset = placed.last().map_or(base_offset, |(last, _)| last.advance(1));
        self.log.append(epoch, end_offset, &placed);
        self.actions.push(Action::AppendControl { base_offset, epoch, records });
        base_offset
    }

    pub(crate) fn on_appended(&mut self, end_offset: Offset) {
        assert!(matches!(self.role, Role::Leader(_)), "only the leader appends");
        self.log.append(self.election.epoch, end_offset, &[]);
    }

    /// Notes that a replica has fetched. `end`: its position, none if its log is not a prefix of this one.
    pub(crate) fn note_fetch(&mut self, replica: ReplicaKey, end: Option<Offset>) {
        let (now, log_end, voters) = (self.moment.now, self.log.end(), &self.log.quorum().voters);
        let counts_foreign = self.bug.is(Bug::AcknowledgementOfForeignDirectory);
        let of_voter = voters.get(replica.id).filter(|_| counts_foreign).map(|voter| voter.key);
        let Role::Leader(leader) = &mut self.role else { return };
        let key = of_voter.unwrap_or(replica);
        let progress = leader.progress.entry(key).or_insert(Progress {
            end: Offset(0),
            acknowledged: Offset(0),
            last_fetch: now,
            last_caught_up: None,
            end_at_last_fetch: log_end,
        });
        if let Some(end) = end {
            (progress.end, progress.acknowledged) = (end, end);
            if progress.end_at_last_fetch <= end {
                progress.last_caught_up = Some(now);
            }
        }
        progress.last_fetch = now;
        progress.end_at_last_fetch = log_end;
        leader.forget_observers(voters);
    }

    /// Whether a voter has less in common with this log than it has acknowledged in this epoch. Then its volume is an
    /// older copy, and does not count. It may also be a request that was overtaken: its sender no longer waits for
    /// the answer, and the next fetch counts again.
    pub(crate) fn has_gone_back(&mut self, replica: ReplicaKey, common: Offset) -> bool {
        if !self.voters().contains(replica) || self.bug.is(Bug::VolumeMayGoBack) {
            return false;
        }
        let Role::Leader(leader) = &mut self.role else { return false };
        let Some(progress) = leader.progress.get_mut(&replica) else { return false };
        let has_gone_back = common < progress.acknowledged;
        if has_gone_back {
            progress.end = progress.end.min(common);
        }
        has_gone_back
    }

    /// True: it no longer leads.
    pub(crate) fn drive_leader(&mut self) -> bool {
        if self.quorum_deadline().is_some_and(|deadline| self.is_due(deadline)) && !self.bug.is(Bug::NoCheckQuorum) {
            self.resign();
            return true;
        }
        self.commit();
        self.drive_voter_change();
        if self.has_removed_itself() {
            self.resign();
            return true;
        }
        self.begin_epoch();
        self.answer_waiting();
        false
    }

    pub(crate) fn next_of_leader(&self, leader: &Leader) -> Option<Duration> {
        let change = leader.change.as_ref().map(|change| change.deadline);
        let begin = self.other_voters().next().map(|_| leader.begin_at);
        let quorum = self.quorum_deadline().filter(|_| !self.bug.is(Bug::NoCheckQuorum));
        [change, begin, quorum, leader.waiting.next_deadline()].into_iter().flatten().min()
    }

    /// Check-quorum: when the latest fetches of a majority will be too old: no later than those voters may elect
    /// another leader, so that two never lead at once by more than the drift of their clocks. (Kafka's leader goes on
    /// for half a timeout longer.) None: this node is a majority by itself.
    fn quorum_deadline(&self) -> Option<Duration> {
        let Role::Leader(leader) = &self.role else { return None };
        let of_other = |key| leader.progress.get(&key).map_or(leader.elected_at, |progress| progress.last_fetch);
        let mut heard: Vec<_> = self.other_voters().map(of_other).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let needed = self.voters().majority().saturating_sub(usize::from(self.is_voter()));
        let last = heard.get(needed.checked_sub(1)?)?;
        Some(last.saturating_add(self.config.timing.fetch_timeout))
    }

    /// Commits what is durable on a majority of the voters, if it includes a record of this epoch: for earlier epochs
    /// counting proves nothing (Raft §5.4.2).
    fn commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let persisted = self.log.persisted();
        let end_of = |key: ReplicaKey| {
            if key == self.config.local {
                persisted
            } else {
                leader.progress.get(&key).map_or(Offset(0), |progress| progress.end)
            }
        };
        let mut ends: Vec<_> = self.voters().keys().map(end_of).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let Some(committed) = ends.get(self.voters().majority().saturating_sub(1)).copied() else { return };
        let is_of_epoch = leader.epoch_start < committed;
        if self.bug.is(Bug::HighWatermarkGoesBack) && is_of_epoch && committed < self.high_watermark {
            self.high_watermark = committed;
            self.actions.push(Action::HighWatermark(committed));
        }
        if is_of_epoch || self.bug.is(Bug::CommitOfPriorEpochByCounting) {
            self.advance_high_watermark(committed);
        }
        if is_of_epoch {
            self.activate();
        }
    }

    /// Whether the record that took its own vote is committed.
    fn has_removed_itself(&self) -> bool {
        !self.is_voter() && self.log.last_change().is_some_and(|offset| offset < self.high_watermark)
    }

    fn activate(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.is_activated {
            leader.is_activated = true;
            self.actions.push(Action::Activated { epoch: self.election.epoch });
            self.correct_own_endpoints();
        }
    }

    /// Voters that have not fetched recently, so that they may not know the leader.
    fn unheard(&self, leader: &Leader) -> Vec<ReplicaKey> {
        let since = self.moment.now.saturating_sub(self.config.timing.half_fetch_timeout());
        let heard = |key: &ReplicaKey| leader.progress.get(key).is_some_and(|progress| since <= progress.last_fetch);
        let asked = |key: &ReplicaKey| self.outbox.has(Purpose::BeginQuorumEpoch(*key));
        self.other_voters().filter(|key| !heard(key) && !asked(key)).collect()
    }

    fn begin_epoch(&mut self) {
        let again = self.after(self.config.timing.half_fetch_timeout());
        let Role::Leader(leader) = &self.role else { return };
        if !self.is_due(leader.begin_at) {
            return;
        }
        for voter in self.unheard(leader) {
            let Some(to) = self.destination_of(voter) else { continue };
            let (leader, epoch) = (self.config.local.id, self.election.epoch);
            let request = BeginQuorumEpochRequest { voter, leader, epoch, endpoints: self.config.endpoints.clone() };
            self.send(to, Purpose::BeginQuorumEpoch(voter), Request::BeginQuorumEpoch(request));
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.begin_at = again;
        }
    }

    pub(crate) fn on_resign(&mut self) {
        self.is_stopping = true;
        if let Role::Leader(_) = &self.role {
            self.resign();
        }
    }

    /// Ends its leadership of the epoch, and tells possible successors.
    fn resign(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let mut successors: Vec<_> = self.other_voters().collect();
        let end_of = |key: &ReplicaKey| leader.progress.get(key).map(|progress| progress.end);
        successors.sort_by_key(|key| std::cmp::Reverse(end_of(key)));
        self.is_epoch_over = true;
        self.wait_for_leader();
        for voter in &successors {
            let Some(to) = self.destination_of(*voter) else { continue };
            let request = EndQuorumEpochRequest {
                leader: self.config.local.id,
                epoch: self.election.epoch,
                preferred_candidates: successors.clone(),
                endpoints: self.config.endpoints.clone(),
            };
            self.send(to, Purpose::EndQuorumEpoch, Request::EndQuorumEpoch(request));
        }
    }

    /// Another role replaces this one: callers that wait are told.
    pub(crate) fn abdicate(&mut self, leader: Leader) {
        self.actions.push(Action::Resigned { epoch: leader.epoch });
        self.refuse_waiting(leader.waiting);
        if let Some(change) = leader.change {
            self.refuse_voter_change(&change);
        }
    }

    pub(crate) fn progress_of_replicas(&self, leader: &Leader) -> Vec<ReplicaProgress> {
        let now = Some(self.moment.now);
        let local = ReplicaProgress {
            key: self.config.local,
            is_voter: self.is_voter(),
            log_end_offset: Some(self.log.end()),
            last_fetch: now,
            last_caught_up: now,
        };
        let others = self.other_voters().chain(leader.progress.keys().copied()).collect::<BTreeSet<_>>();
        let others = others.into_iter().map(|key| {
            let progress = leader.progress.get(&key);
            ReplicaProgress {
                key,
                is_voter: self.voters().contains(key),
                log_end_offset: progress.map(|progress| progress.end),
                last_fetch: progress.map(|progress| progress.last_fetch),
                last_caught_up: progress.and_then(|progress| progress.last_caught_up),
            }
        });
        std::iter::once(local).chain(others).collect()
    }
}

impl Leader {
    fn forget_observers(&mut self, voters: &VoterSet) {
        if self.progress.len() <= OBSERVERS_MAX {
            return;
        }
        let observers = self.progress.iter().filter(|(key, _)| !voters.contains(**key));
        let silent = observers.min_by_key(|(_, progress)| progress.last_fetch).map(|(key, _)| *key);
        silent.and_then(|key| self.progress.remove(&key));
    }
}
