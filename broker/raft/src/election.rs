//! How a node without a leader gets one: it asks other nodes; a voter campaigns, first for pre-votes, then for votes.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::types::{LeaderEpoch, Offset};

use crate::action::Action;
use crate::follower::LOST_JITTER;
use crate::identity::{ElectionState, ReplicaKey};
use crate::outbox::Purpose;
use crate::raft::Raft;
use crate::requests::{FetchRequest, Request, VoteRequest, VoteResponse};
use crate::role::{Ballot, Campaign, Role, Unattached};

/// Interval of requests for the leader.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Least time between two campaigns, and the unit of the back-off.
const BACKOFF: Duration = Duration::from_millis(50);
/// The back-off doubles no further.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

impl Raft {
    /// Requests of the former role no longer matter.
    pub(crate) fn become_role(&mut self, role: Role) {
        self.outbox.forget();
        if let Role::Leader(leader) = std::mem::replace(&mut self.role, role) {
            self.abdicate(*leader);
        }
    }

    pub(crate) fn become_unattached(&mut self, campaign_at: Duration) {
        self.election.leader = None;
        // Nodes that lose their leader together do not all ask the same node.
        let ask_next = usize::try_from(self.moment.random >> 32).unwrap_or_default();
        // A voter also finds the leader by its campaign.
        let ask_at = if self.may_campaign() { self.after(ASK_INTERVAL) } else { self.moment.now };
        self.become_role(Role::Unattached(Unattached { campaign_at, ask_at, ask_next }));
    }

    /// Another node is in a later epoch. Its candidate or leader is given time.
    pub(crate) fn adopt_epoch(&mut self, epoch: LeaderEpoch) {
        assert!(self.election.epoch < epoch, "epochs do not go back");
        self.enter_epoch(epoch, None);
        self.wait_for_leader();
    }

    fn enter_epoch(&mut self, epoch: LeaderEpoch, voted: Option<ReplicaKey>) {
        self.election = ElectionState { epoch, leader: None, voted };
        self.is_epoch_over = false;
        self.persist_election();
    }

    pub(crate) fn persist_election(&mut self) {
        // A vote for a new epoch is one write.
        self.actions.pop_if(|last| matches!(last, Action::PersistElection(_)));
        self.actions.push(Action::PersistElection(self.election));
    }

    /// Campaigns only if no leader is elected for a while.
    pub(crate) fn wait_for_leader(&mut self) {
        let campaign_at = self.after_election_timeout();
        self.become_unattached(campaign_at);
    }

    /// A pre-vote does no harm and finds a leader if there is one: there is nothing to wait for. The sole voter has
    /// no other to ask.
    pub(crate) fn look_for_leader_at_start(&mut self) {
        let is_sole = self.voters().sole() == Some(self.config.local);
        let campaign_at = if is_sole { self.moment.now } else { self.after_jitter(LOST_JITTER) };
        self.become_unattached(campaign_at);
    }

    /// The leader is gone.
    pub(crate) fn leave_leader(&mut self) {
        if self.may_campaign() {
            self.campaign(Ballot::PreVote);
        } else {
            self.wait_for_leader();
        }
    }

    /// A node that cannot be reached cannot lead.
    fn may_campaign(&self) -> bool {
        let may_vote = self.is_voter() || self.may_still_be_voter();
        may_vote && !self.config.endpoints.is_empty() && !self.is_stopping && self.next_epoch().is_some()
    }

    /// Its removal is not known to be committed. If no other node has the record, then only this node, whose log is
    /// ahead of all others, can be elected; it does not count its own vote, and resigns when the record is committed.
    fn may_still_be_voter(&self) -> bool {
        let is_open = self.log.last_change().is_some_and(|offset| self.high_watermark <= offset);
        is_open && self.log.former_quorum().voters.contains(self.config.local)
    }

    fn next_epoch(&self) -> Option<LeaderEpoch> {
        self.election.epoch.0.checked_add(1).map(LeaderEpoch)
    }

    pub(crate) fn next_of_unattached(&self, unattached: &Unattached) -> Option<Duration> {
        let campaign_at = self.may_campaign().then_some(unattached.campaign_at);
        let asks = !self.outbox.has(Purpose::FindLeader) && !self.informants().is_empty();
        campaign_at.into_iter().chain(asks.then_some(unattached.ask_at)).min()
    }

    /// True: it has another role now.
    pub(crate) fn drive_unattached(&mut self) -> bool {
        let Role::Unattached(unattached) = &self.role else { return false };
        let (campaign_at, ask_at) = (unattached.campaign_at, unattached.ask_at);
        if self.is_due(campaign_at) && self.may_campaign() {
            self.campaign(Ballot::PreVote);
            return true;
        }
        if self.is_due(ask_at) && !self.outbox.has(Purpose::FindLeader) {
            self.ask_for_leader();
        }
        false
    }

    /// Asks by a fetch: only the leader accepts it, and every other node answers with the leader it knows.
    fn ask_for_leader(&mut self) {
        let informants = self.informants();
        let ask_at = self.after(ASK_INTERVAL);
        let Role::Unattached(unattached) = &mut self.role else { return };
        unattached.ask_at = ask_at;
        let next = unattached.ask_next.checked_rem(informants.len()).unwrap_or_default();
        unattached.ask_next = next.wrapping_add(1);
        let Some(to) = informants.into_iter().nth(next) else { return };
        let (replica, epoch) = (self.config.local, self.election.epoch);
        // It acknowledges nothing, and is not held back.
        let request = FetchRequest {
            replica,
            epoch,
            offset: Offset(0),
            last_fetched_epoch: LeaderEpoch(0),
            high_watermark: None,
            wait_max: Duration::ZERO,
        };
        self.send(to, Purpose::FindLeader, Request::Fetch(request));
    }

    fn campaign(&mut self, ballot: Ballot) {
        let (local, epoch) = (self.config.local, self.election.epoch);
        let epoch = match ballot {
            Ballot::PreVote => epoch,
            Ballot::Vote => {
                let Some(next) = self.next_epoch() else { return };
                self.enter_epoch(next, Some(local));
                next
            }
        };
        self.election.leader = None;
        let deadline = self.after_election_timeout();
        let others: Vec<_> = self.other_voters().collect();
        let open = others.iter().map(|voter| voter.id).collect();
        let granted = self.is_voter().then_some(local.id).into_iter().collect();
        self.become_role(Role::Campaigning(Campaign { ballot, deadline, granted, open }));
        for voter in others {
            self.ask_for_vote(voter, epoch, ballot);
        }
    }

    fn ask_for_vote(&mut self, voter: ReplicaKey, epoch: LeaderEpoch, ballot: Ballot) {
        let Some(to) = self.destination_of(voter) else {
            self.on_vote_failed(voter);
            return;
        };
        let request = VoteRequest {
            candidate: self.config.local,
            voter,
            epoch,
            last_epoch: self.log.last_epoch(),
            last_offset: self.log.end(),
            pre_vote: ballot == Ballot::PreVote,
        };
        self.send(to, Purpose::Vote(voter), Request::Vote(request));
    }

    pub(crate) fn on_vote_response(&mut self, voter: ReplicaKey, response: &VoteResponse) {
        let Role::Campaigning(campaign) = &mut self.role else { return };
        campaign.open.remove(&voter.id);
        if response.granted && response.error.is_none() {
            campaign.granted.insert(voter.id);
        }
    }

    pub(crate) fn on_vote_failed(&mut self, voter: ReplicaKey) {
        if let Role::Campaigning(campaign) = &mut self.role {
            campaign.open.remove(&voter.id);
        }
    }

    /// True: the campaign is over.
    pub(crate) fn drive_campaign(&mut self) -> bool {
        let majority = self.voters().majority();
        let Role::Campaigning(campaign) = &self.role else { return false };
        let (ballot, granted) = (campaign.ballot, campaign.granted.len());
        let is_hopeless = granted.saturating_add(campaign.open.len()) < majority;
        let is_over = is_hopeless || self.is_due(campaign.deadline) || self.is_stopping;
        if majority <= granted && !self.is_stopping {
            self.win(ballot);
            return true;
        }
        if is_over {
            let campaign_at = self.after_backoff();
            self.become_unattached(campaign_at);
        }
        is_over
    }

    fn win(&mut self, ballot: Ballot) {
        let Role::Campaigning(campaign) = &mut self.role else { return };
        let granted: BTreeSet<_> = std::mem::take(&mut campaign.granted);
        match ballot {
            Ballot::PreVote => self.campaign(Ballot::Vote),
            Ballot::Vote => self.lead(granted),
        }
    }

    /// Exponential, so that voters that campaign against each other get out of step.
    fn after_backoff(&mut self) -> Duration {
        let doublings = self.fruitless.min(BACKOFF_DOUBLINGS_MAX);
        self.fruitless = self.fruitless.saturating_add(1);
        let span = BACKOFF.saturating_mul(1_u32 << doublings).min(self.config.timing.election_backoff_max);
        self.after_jitter(span).saturating_add(BACKOFF)
    }

    pub(crate) fn after_election_timeout(&mut self) -> Duration {
        let timeout = self.config.timing.election_timeout;
        self.after_jitter(timeout).saturating_add(timeout)
    }

    pub(crate) fn after_jitter(&mut self, max: Duration) -> Duration {
        let jitter = self.jitter(max);
        self.after(jitter)
    }
}
