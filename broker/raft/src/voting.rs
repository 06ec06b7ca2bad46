//! Answers candidates and leaders: Vote, BeginQuorumEpoch, EndQuorumEpoch.
//!
//! A candidate need not be in this node's voter set: a voter that has been cut off may know only voters that no
//! longer exist, and its vote may be the missing one. What counts is that the candidate means this very volume: a
//! request for another directory id is for a volume that is gone, and this one has promised nothing.

use std::time::Duration;

use crate::bugs::Bug;
use crate::follower::LOST_JITTER;
use crate::identity::ReplicaKey;
use crate::raft::Raft;
use crate::requests::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, QuorumResponse, Refusal, VoteRequest, VoteResponse,
};
use crate::role::Role;

/// How much later each further preferred successor campaigns.
const SUCCESSION: Duration = Duration::from_millis(100);

impl Raft {
    pub(crate) fn on_vote(&mut self, request: &VoteRequest) -> VoteResponse {
        let former = self.election.epoch;
        let decided = self.check_vote(request).map(|()| self.decide_vote(request));
        let granted = decided == Ok(true);
        if !granted && former < self.election.epoch {
            // The candidate cannot win here, so there is no point in giving it time.
            self.campaign_soon();
        }
        VoteResponse { error: decided.err(), leader: self.told_leader(), granted }
    }

    fn check_vote(&self, request: &VoteRequest) -> Result<(), Refusal> {
        let VoteRequest { candidate, voter, epoch, last_epoch, last_offset, pre_vote } = request;
        let is_negative = candidate.id.0 < 0 || epoch.0 < 0 || last_epoch.0 < 0 || last_offset.0 < 0;
        if is_negative {
            return Err(Refusal::InvalidRequest("ids, epochs and offsets are not negative"));
        }
        if epoch < last_epoch || (epoch == last_epoch && !pre_vote) {
            return Err(Refusal::InvalidRequest("a candidate's records are of earlier epochs"));
        }
        if self.is_local(candidate.id) {
            return Err(Refusal::InvalidRequest("the candidate has this node's id"));
        }
        self.check_voter_key(*voter)?;
        if *epoch < self.election.epoch { Err(Refusal::FencedLeaderEpoch) } else { Ok(()) }
    }

    fn check_voter_key(&self, voter: ReplicaKey) -> Result<(), Refusal> {
        let ignores_directory = self.bug.is(Bug::VoteOfForeignDirectory) && self.is_local(voter.id);
        if voter == self.config.local || ignores_directory { Ok(()) } else { Err(Refusal::InvalidVoterKey) }
    }

    fn decide_vote(&mut self, request: &VoteRequest) -> bool {
        if self.election.epoch < request.epoch {
            self.adopt_epoch(request.epoch);
        }
        let up_to_date = self.is_up_to_date(request) || self.bug.is(Bug::VoteWithoutLogComparison);
        if request.pre_vote {
            return up_to_date && (!self.has_live_leader() || self.bug.is(Bug::PreVoteIgnoresLiveLeader));
        }
        match self.election.voted {
            Some(voted) if voted == request.candidate => return true,
            Some(_) if !self.bug.is(Bug::VoteTwiceInAnEpoch) => return false,
            Some(_) | None => {}
        }
        let granted = up_to_date && self.election.leader.is_none();
        if granted {
            self.election.voted = Some(request.candidate);
            if !self.bug.is(Bug::VoteNotPersisted) {
                self.persist_election();
            }
            self.wait_for_leader();
        }
        granted
    }

    /// Whether the candidate's log has everything that this one has.
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        (self.log.last_epoch(), self.log.end()) <= (request.last_epoch, request.last_offset)
    }

    fn campaign_soon(&mut self) {
        let soon = self.after_jitter(LOST_JITTER);
        if let Role::Unattached(unattached) = &mut self.role {
            unattached.campaign_at = soon;
        }
    }

    pub(crate) fn on_begin_quorum_epoch(&mut self, request: &BeginQuorumEpochRequest) -> QuorumResponse {
        let error = self.begin_quorum_epoch(request).err();
        QuorumResponse { error, leader: self.told_leader() }
    }

    fn begin_quorum_epoch(&mut self, request: &BeginQuorumEpochRequest) -> Result<(), Refusal> {
        let BeginQuorumEpochRequest { voter, leader, epoch, endpoints } = request;
        if leader.0 < 0 || epoch.0 < 0 || self.is_local(*leader) {
            return Err(Refusal::InvalidRequest("no other node has this leader's id"));
        }
        self.check_voter_key(*voter)?;
        if *epoch < self.election.epoch {
            return Err(Refusal::FencedLeaderEpoch);
        }
        if self.election.epoch < *epoch {
            self.adopt_epoch(*epoch);
        }
        let address = self.address_in(endpoints).cloned();
        self.recognise(*leader, address);
        if self.election.leader == Some(*leader) {
            Ok(())
        } else {
            Err(Refusal::InvalidRequest("the epoch has another leader, or none any more"))
        }
    }

    pub(crate) fn on_end_quorum_epoch(&mut self, request: &EndQuorumEpochRequest) -> QuorumResponse {
        let error = self.end_quorum_epoch(request).err();
        QuorumResponse { error, leader: self.told_leader() }
    }

    fn end_quorum_epoch(&mut self, request: &EndQuorumEpochRequest) -> Result<(), Refusal> {
        let EndQuorumEpochRequest { leader, epoch, preferred_candidates, .. } = request;
        if leader.0 < 0 || epoch.0 < 0 || self.is_local(*leader) {
            return Err(Refusal::InvalidRequest("no other node has this leader's id"));
        }
        if *epoch < self.election.epoch {
            return Err(Refusal::FencedLeaderEpoch);
        }
        if self.election.epoch < *epoch {
            self.adopt_epoch(*epoch);
        }
        if self.election.leader.is_some_and(|known| known != *leader) {
            return Err(Refusal::InvalidRequest("the epoch has another leader"));
        }
        self.is_epoch_over = true;
        let place = preferred_candidates.iter().position(|key| *key == self.config.local);
        self.succeed(place);
        Ok(())
    }

    /// The best successor campaigns at once; the others if it does not.
    fn succeed(&mut self, place: Option<usize>) {
        let place = place.and_then(|place| u32::try_from(place).ok());
        let campaign_at = match place {
            Some(0) => self.moment.now,
            Some(place) => self.after_jitter(LOST_JITTER).saturating_add(SUCCESSION.saturating_mul(place)),
            None => self.after_election_timeout(),
        };
        match &mut self.role {
            // It may already know better: an earlier copy of the request, or the next campaign.
            Role::Unattached(unattached) => unattached.campaign_at = unattached.campaign_at.min(campaign_at),
            Role::Follower(_) => self.become_unattached(campaign_at),
            Role::Campaigning(_) | Role::Leader(_) => {}
        }
    }
}
