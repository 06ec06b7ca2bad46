//! Changes the voters, one at a time (KIP-853): the leader must have committed in its epoch and no change may be
//! open; a new voter must have caught up; the new set is in force when it is appended, and the request is answered
//! when it is committed.

use std::time::Duration;

use protocol::types::{DirectoryId, Offset};

use crate::action::Answer;
use crate::bugs::Bug;
use crate::control::{ControlRecord, KRaftVersion};
use crate::event::Token;
use crate::identity::ReplicaKey;
use crate::raft::Raft;
use crate::requests::{AddVoterRequest, RemoveVoterRequest, UpdateVoterRequest, VoterChangeError, VoterChangeResponse};
use crate::role::Role;
use crate::voters::{Voter, VoterSet};

/// The change in progress.
#[derive(Debug)]
pub(crate) struct VoterChange {
    kind: Kind,
    /// None: a change of the leader's own.
    token: Option<Token>,
    pub(crate) deadline: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Remove,
    Update,
}

#[derive(Debug)]
enum Stage {
    CatchingUp(Voter),
    /// The record's offset.
    Appended(Offset),
}

impl Raft {
    pub(crate) fn on_add_voter(&mut self, token: Token, request: AddVoterRequest) {
        let AddVoterRequest { voter, timeout } = request;
        match self.check_add(&voter) {
            Ok(()) => {
                let deadline = self.after(timeout);
                self.begin_change(VoterChange {
                    kind: Kind::Add,
                    token: Some(token),
                    deadline,
                    stage: Stage::CatchingUp(voter),
                });
            }
            Err(error) => self.answer_change(Kind::Add, Some(token), Some(error)),
        }
    }

    fn check_add(&self, voter: &Voter) -> Result<(), VoterChangeError> {
        self.check_change()?;
        check_voter(voter)?;
        if self.voters().get(voter.key.id).is_some() { Err(VoterChangeError::DuplicateVoter) } else { Ok(()) }
    }

    pub(crate) fn on_remove_voter(&mut self, token: Token, request: &RemoveVoterRequest) {
        match self.check_remove(request.key) {
            Ok(voters) => self.append_voters(Kind::Remove, Some(token), voters),
            Err(error) => self.answer_change(Kind::Remove, Some(token), Some(error)),
        }
    }

    fn check_remove(&self, key: ReplicaKey) -> Result<VoterSet, VoterChangeError> {
        self.check_change()?;
        if !self.voters().contains(key) {
            return Err(VoterChangeError::VoterNotFound);
        }
        if self.voters().sole().is_some() {
            return Err(VoterChangeError::LastVoter);
        }
        Ok(self.voters().without(key.id))
    }

    pub(crate) fn on_update_voter(&mut self, token: Token, request: UpdateVoterRequest) {
        match self.check_update(&request) {
            Ok(()) if self.voters().get(request.voter.key.id) == Some(&request.voter) => {
                self.answer_change(Kind::Update, Some(token), None);
            }
            Ok(()) => self.append_voters(Kind::Update, Some(token), self.voters().with(request.voter)),
            Err(error) => self.answer_change(Kind::Update, Some(token), Some(error)),
        }
    }

    fn check_update(&self, request: &UpdateVoterRequest) -> Result<(), VoterChangeError> {
        if request.epoch < self.election.epoch {
            return Err(VoterChangeError::FencedLeaderEpoch);
        }
        if self.election.epoch < request.epoch {
            return Err(VoterChangeError::UnknownLeaderEpoch);
        }
        self.check_change()?;
        check_voter(&request.voter)?;
        if self.voters().contains(request.voter.key) { Ok(()) } else { Err(VoterChangeError::VoterNotFound) }
    }

    /// Checks the conditions of every change.
    fn check_change(&self) -> Result<(), VoterChangeError> {
        let Role::Leader(leader) = &self.role else { return Err(VoterChangeError::NotLeader) };
        if !leader.is_activated && !self.bug.is(Bug::VoterChangeBeforeCommit) {
            return Err(VoterChangeError::NotActivated);
        }
        if self.log.quorum().kraft_version < KRaftVersion::DYNAMIC_VOTERS {
            return Err(VoterChangeError::UnsupportedVersion);
        }
        let is_open = self.log.last_change().is_some_and(|offset| self.high_watermark <= offset);
        let may_be_open = self.bug.is(Bug::TwoVoterChanges) || self.bug.is(Bug::VoterChangeBeforeCommit);
        if (is_open || leader.change.is_some()) && !may_be_open {
            return Err(VoterChangeError::ChangePending);
        }
        Ok(())
    }

    /// Corrects the leader's own record if it has other addresses.
    pub(crate) fn correct_own_endpoints(&mut self) {
        if let Some(voter) = self.own_correction().filter(|_| self.check_change().is_ok()) {
            self.append_voters(Kind::Update, None, self.voters().with(voter));
        }
    }

    fn append_voters(&mut self, kind: Kind, token: Option<Token>, voters: VoterSet) {
        let offset = self.append_control(vec![ControlRecord::KRaftVoters(voters)]);
        let deadline = self.after(self.config.timing.request_timeout);
        self.begin_change(VoterChange { kind, token, deadline, stage: Stage::Appended(offset) });
    }

    fn begin_change(&mut self, change: VoterChange) {
        if let Role::Leader(leader) = &mut self.role {
            leader.change = Some(change);
        }
    }

    /// Continues the change if what it waits for has happened.
    pub(crate) fn drive_voter_change(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(change) = leader.change.take() else { return };
        let is_overdue = self.is_due(change.deadline);
        match change.stage {
            Stage::Appended(offset) if offset < self.high_watermark => {
                self.answer_change(change.kind, change.token, None);
            }
            Stage::CatchingUp(voter) if self.has_caught_up(voter.key) => {
                let offset = self.append_control(vec![ControlRecord::KRaftVoters(self.voters().with(voter))]);
                self.begin_change(VoterChange { stage: Stage::Appended(offset), ..change });
            }
            Stage::Appended(_) | Stage::CatchingUp(_) if is_overdue => {
                self.answer_change(change.kind, change.token, Some(VoterChangeError::TimedOut));
            }
            stage @ (Stage::Appended(_) | Stage::CatchingUp(_)) => self.begin_change(VoterChange { stage, ..change }),
        }
    }

    /// Whether the replica fetches, and at its last fetch had everything that there was at the one before.
    fn has_caught_up(&self, key: ReplicaKey) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let since = self.moment.now.saturating_sub(self.config.timing.fetch_timeout);
        let caught_up = leader.progress.get(&key).and_then(|progress| progress.last_caught_up);
        caught_up.is_some_and(|caught_up| since <= caught_up) || self.bug.is(Bug::NewVoterNotCaughtUp)
    }

    pub(crate) fn refuse_voter_change(&mut self, change: &VoterChange) {
        self.answer_change(change.kind, change.token, Some(VoterChangeError::NotLeader));
    }

    fn answer_change(&mut self, kind: Kind, token: Option<Token>, error: Option<VoterChangeError>) {
        let Some(token) = token else { return };
        let response = VoterChangeResponse { error, leader: self.told_leader() };
        let answer = match kind {
            Kind::Add => Answer::AddVoter(response),
            Kind::Remove => Answer::RemoveVoter(response),
            Kind::Update => Answer::UpdateVoter(response),
        };
        self.answer(token, answer);
    }
}

fn check_voter(voter: &Voter) -> Result<(), VoterChangeError> {
    if voter.key.id.0 < 0 || voter.key.directory_id == DirectoryId::default() {
        return Err(VoterChangeError::InvalidRequest("a voter has an id from 0 and a directory id"));
    }
    if voter.endpoints.is_empty() {
        return Err(VoterChangeError::InvalidRequest("a voter has an endpoint"));
    }
    let range = voter.kraft_version_min..=voter.kraft_version_max;
    if range.contains(&KRaftVersion::DYNAMIC_VOTERS) { Ok(()) } else { Err(VoterChangeError::UnsupportedVersion) }
}
