//! The node: passes events to its current role, and handles timers.

use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};

use crate::action::{Action, Answer};
use crate::bugs::PlantedBug;
use crate::config::{Config, Restored};
use crate::control::Quorum;
use crate::event::{Event, Moment, RequestId, SendFailure, Token};
use crate::identity::{ElectionState, LeaderInfo, ReplicaKey};
use crate::leader::ReplicaProgress;
use crate::log_view::LogView;
use crate::outbox::{Outbox, Purpose};
use crate::requests::{Request, Response};
use crate::role::{Leading, Role, Unattached};
use crate::voters::VoterSet;

/// More role changes than one moment can cause; a bound of the loop, not a rule.
const ROLES_PER_STEP_MAX: usize = 8;

#[derive(Debug)]
pub struct Raft {
    pub(crate) config: Config,
    /// As in the last `Action::PersistElection`, except for the leader, which may have become known since.
    pub(crate) election: ElectionState,
    pub(crate) log: LogView,
    pub(crate) high_watermark: Offset,
    /// Since its start this node has learned from a leader how much of the log is committed.
    pub(crate) has_heard_commits: bool,
    pub(crate) role: Role,
    pub(crate) outbox: Outbox,
    pub(crate) actions: Vec<Action>,
    pub(crate) moment: Moment,
    /// Failed campaigns in a row.
    pub(crate) fruitless: u32,
    /// The leader of this epoch has announced that it resigns: it will not lead it again, whatever others still
    /// believe.
    pub(crate) is_epoch_over: bool,
    /// About to stop: follows and votes, but does not campaign.
    pub(crate) is_stopping: bool,
    pub(crate) bug: PlantedBug,
    told: LeaderInfo,
    draws: u64,
}

impl Raft {
    /// Continues from what the disk holds. A sole voter leads once the first actions are carried out.
    pub fn start(config: Config, restored: Restored, moment: Moment) -> (Self, Vec<Action>) {
        let log = LogView::new(restored.log);
        // A snapshot has committed records only.
        let high_watermark =
            log.snapshot().map_or_else(|| log.start(), |snapshot| snapshot.end_offset.max(log.start()));
        let epoch = restored.election.epoch.max(log.last_epoch());
        let voted = restored.election.voted.filter(|_| epoch == restored.election.epoch);
        let mut raft = Self {
            config,
            election: ElectionState { epoch, leader: None, voted },
            log,
            high_watermark,
            has_heard_commits: false,
            role: Role::Unattached(Unattached { campaign_at: moment.now, ask_at: moment.now, ask_next: 0 }),
            outbox: Outbox::default(),
            actions: vec![Action::HighWatermark(high_watermark)],
            moment,
            fruitless: 0,
            is_epoch_over: false,
            is_stopping: false,
            bug: PlantedBug::default(),
            told: LeaderInfo::default(),
            draws: 0,
        };
        raft.look_for_leader_at_start();
        raft.settle();
        let actions = std::mem::take(&mut raft.actions);
        (raft, actions)
    }

    /// Takes one event. The actions must be carried out in order, after those of all earlier steps.
    pub fn step(&mut self, event: Event, moment: Moment) -> Vec<Action> {
        self.moment = Moment { now: self.moment.now.max(moment.now), random: moment.random };
        match event {
            Event::Timer => {}
            Event::Request { token, request } => self.on_request(token, request),
            Event::Response { id, response } => self.on_response(id, response),
            Event::RequestFailed { id, failure } => self.on_request_failed(id, failure),
            Event::Appended { end_offset } => self.on_appended(end_offset),
            Event::Persisted { end_offset, generation } => self.on_persisted(end_offset, generation),
            Event::SnapshotFinished { id, quorum } => self.on_snapshot_finished(id, quorum),
            Event::SnapshotDamaged { id } => self.on_snapshot_damaged(id),
            Event::SnapshotWritten { id } => {
                assert!(id.end_offset <= self.high_watermark, "a snapshot is of committed records");
                self.log.add_snapshot(id);
            }
            Event::LogStartAdvanced { offset } => {
                assert!(offset <= self.log_start_max(), "a log is not deleted past its latest snapshot");
                self.log.advance_start(offset);
            }
            Event::Resign => self.on_resign(),
        }
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// When `Event::Timer` is due, on the clock of `Moment::now`. None: nothing will happen by time alone.
    pub fn next_timer(&self) -> Option<Duration> {
        let of_role = match &self.role {
            Role::Unattached(unattached) => self.next_of_unattached(unattached),
            Role::Follower(follower) => self.next_of_follower(follower),
            Role::Campaigning(campaign) => Some(campaign.deadline),
            Role::Leader(leader) => self.next_of_leader(leader),
        };
        of_role.into_iter().chain(self.outbox.next_deadline()).min()
    }

    /// None: another node leads, or none does.
    pub fn leading(&self) -> Option<Leading> {
        let Role::Leader(leader) = &self.role else { return None };
        let is_activated = leader.is_activated;
        Some(Leading { epoch: self.election.epoch, base_offset: self.log.end(), is_activated })
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.election.epoch
    }

    pub fn leader(&self) -> LeaderInfo {
        let leader = self.election.leader;
        let address = leader.and_then(|id| self.address_of(id)).cloned();
        LeaderInfo { epoch: self.election.epoch, leader, address }
    }

    /// Everything before it is committed. This node may still lack some committed records.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether this node has learned from a leader since its start how much of the log is committed. Until then the
    /// high watermark is that of the latest snapshot, and it is unknown what is committed beyond it.
    pub fn has_heard_commits(&self) -> bool {
        self.has_heard_commits
    }

    pub fn log_start(&self) -> Offset {
        self.log.start()
    }

    pub fn log_end(&self) -> Offset {
        self.log.end()
    }

    /// The offset up to which the log may be deleted.
    pub fn log_start_max(&self) -> Offset {
        self.log.snapshot().map_or_else(|| self.log.start(), |snapshot| snapshot.end_offset)
    }

    /// The voters in force: by the last record that names any, committed or not.
    pub fn voters(&self) -> &VoterSet {
        &self.log.quorum().voters
    }

    /// Whether this node with this volume is a voter.
    pub fn is_voter(&self) -> bool {
        self.voters().contains(self.config.local)
    }

    /// The state of the quorum for a snapshot up to the offset. None if it is no longer known.
    pub fn quorum_at(&self, end_offset: Offset) -> Option<&Quorum> {
        self.log.quorum_at(end_offset)
    }

    /// Epoch of the record before the offset, for the id of a snapshot up to there.
    pub fn epoch_before(&self, end_offset: Offset) -> Option<LeaderEpoch> {
        self.log.epoch_before(end_offset)
    }

    /// Progress of voters and observers. Empty unless this node leads.
    pub fn replicas(&self) -> Vec<ReplicaProgress> {
        match &self.role {
            Role::Leader(leader) => self.progress_of_replicas(leader),
            Role::Unattached(_) | Role::Follower(_) | Role::Campaigning(_) => Vec::new(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::bugs::Bug) {
        self.bug.plant(bug);
    }

    fn on_request(&mut self, token: Token, request: Request) {
        match request {
            Request::Vote(request) => {
                let response = self.on_vote(&request);
                self.answer(token, Answer::Vote(response));
            }
            Request::BeginQuorumEpoch(request) => {
                let response = self.on_begin_quorum_epoch(&request);
                self.answer(token, Answer::BeginQuorumEpoch(response));
            }
            Request::EndQuorumEpoch(request) => {
                let response = self.on_end_quorum_epoch(&request);
                self.answer(token, Answer::EndQuorumEpoch(response));
            }
            Request::Fetch(request) => self.on_fetch(token, &request),
            Request::FetchSnapshot(request) => self.on_fetch_snapshot(token, &request),
            Request::AddVoter(request) => self.on_add_voter(token, request),
            Request::RemoveVoter(request) => self.on_remove_voter(token, &request),
            Request::UpdateVoter(request) => self.on_update_voter(token, request),
        }
    }

    fn on_response(&mut self, id: RequestId, response: Response) {
        let Some(purpose) = self.outbox.take(id) else { return };
        let epoch = self.election.epoch;
        self.learn(response.leader());
        match (purpose, response) {
            (Purpose::Vote(voter), Response::Vote(response)) => self.on_vote_response(voter, &response),
            // The answer is about an epoch that it has itself ended.
            (Purpose::Fetch | Purpose::FetchSnapshot, _) if epoch != self.election.epoch => {}
            (Purpose::Fetch, Response::Fetch { response, batches }) => self.on_fetch_response(&response, &batches),
            (Purpose::FetchSnapshot, Response::FetchSnapshot { response, size, length }) => {
                self.on_snapshot_response(&response, size, length);
            }
            // The answer's leader was taken over above.
            (
                Purpose::FindLeader | Purpose::BeginQuorumEpoch(_) | Purpose::EndQuorumEpoch | Purpose::UpdateVoter,
                _,
            ) => {}
            // The answer does not match the request.
            (Purpose::Vote(_) | Purpose::Fetch | Purpose::FetchSnapshot, _) => {
                self.on_failure(purpose, SendFailure::Unusable);
            }
        }
    }

    fn on_request_failed(&mut self, id: RequestId, failure: SendFailure) {
        if let Some(purpose) = self.outbox.take(id) {
            self.on_failure(purpose, failure);
        }
    }

    fn on_failure(&mut self, purpose: Purpose, failure: SendFailure) {
        match purpose {
            Purpose::Vote(voter) => self.on_vote_failed(voter),
            Purpose::Fetch | Purpose::FetchSnapshot => self.on_fetch_failed(failure),
            Purpose::FindLeader | Purpose::BeginQuorumEpoch(_) | Purpose::EndQuorumEpoch | Purpose::UpdateVoter => {}
        }
    }

    /// Does everything that is due.
    fn settle(&mut self) {
        while let Some(id) = self.outbox.overdue(self.moment.now) {
            self.on_request_failed(id, SendFailure::TimedOut);
        }
        for _ in 0..ROLES_PER_STEP_MAX {
            let has_new_role = match &self.role {
                Role::Unattached(_) => self.drive_unattached(),
                Role::Follower(_) => self.drive_follower(),
                Role::Campaigning(_) => self.drive_campaign(),
                Role::Leader(_) => self.drive_leader(),
            };
            if !has_new_role {
                break;
            }
        }
        if !self.has_told_leader() {
            let leader = self.leader();
            self.told = leader.clone();
            self.actions.push(Action::LeaderChanged(leader));
        }
    }

    fn has_told_leader(&self) -> bool {
        let LeaderInfo { epoch, leader, address } = &self.told;
        let known = self.election.leader;
        *epoch == self.election.epoch
            && *leader == known
            && address.as_ref() == known.and_then(|known| self.address_of(known))
    }

    pub(crate) fn answer(&mut self, token: Token, answer: Answer) {
        self.actions.push(Action::Answer { token, answer });
    }

    pub(crate) fn advance_high_watermark(&mut self, offset: Offset) {
        if self.high_watermark < offset {
            self.high_watermark = offset;
            self.actions.push(Action::HighWatermark(offset));
        }
    }

    /// A random time up to `max`.
    pub(crate) fn jitter(&mut self, max: Duration) -> Duration {
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.moment.random ^ self.draws;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_micros((mixed ^ (mixed >> 31)).checked_rem(micros).unwrap_or_default())
    }

    pub(crate) fn is_local(&self, id: BrokerId) -> bool {
        id == self.config.local.id
    }

    pub(crate) fn other_voters(&self) -> impl Iterator<Item = ReplicaKey> {
        self.voters().keys().filter(|key| *key != self.config.local)
    }
}
