//! Assignments: from the leader to the log, and from there to the members.

use bytes::Bytes;
use std::collections::HashMap;

use super::super::answer::{Reply, Turn, tell};
use super::super::error::GroupError;
use super::super::member::MemberId;
use super::super::request::{Moment, SyncRequest, Synced};
use super::{Group, Phase};
use crate::bugs::{self, Bug};

impl Group {
    pub(in super::super) fn sync(&mut self, request: SyncRequest, reply: Reply<Synced>, now: Moment, turn: &mut Turn) {
        if let Err(error) = self.check_sync(&request) {
            return tell(reply, Err(error));
        }
        let id = request.member.id;
        let Some(member) = self.members.get_mut(&id) else { return };
        member.has_synced = true;
        match self.phase {
            Phase::Empty => tell(reply, Err(GroupError::UnknownMember(id))),
            Phase::Preparing { .. } => tell(reply, Err(GroupError::RebalanceInProgress)),
            Phase::Completing => {
                member.wait_for_sync(reply);
                if self.leads(&id) {
                    self.assign(request.assignments.into_iter().collect(), now, turn);
                }
            }
            Phase::Stable => {
                let assignment = member.assignment.clone();
                self.begin_session(&id, None, now);
                turn.answer(reply, self.synced(assignment));
            }
        }
        if matches!(self.phase, Phase::Stable) && self.members.values().all(|member| member.has_synced) {
            self.sync_until = None;
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&request.member)?;
        if !bugs::is_planted(Bug::SyncOfEarlierGeneration) {
            self.check_generation(request.generation)?;
        }
        let differs = |told: &Option<String>, ours: &Option<String>| told.is_some() && ours.is_some() && told != ours;
        let inconsistent =
            differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol);
        if inconsistent { Err(GroupError::InconsistentProtocol) } else { Ok(()) }
    }

    /// The record makes the group stable. Later SyncGroup requests find the assignment in it.
    fn assign(&mut self, mut assignments: HashMap<MemberId, Bytes>, now: Moment, turn: &mut Turn) {
        let protocol = self.protocol.clone().unwrap_or_default();
        let mut recorded = Vec::with_capacity(self.members.len());
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            let assignment = assignments.remove(id).unwrap_or_default();
            recorded.push(member.record(id, &protocol, assignment.clone()));
            if let Some(sync) = member.sync.take() {
                waiting.push((id.clone(), sync, assignment));
            }
        }
        turn.records.push(self.record(recorded, self.leader.as_ref()));
        for (id, sync, assignment) in waiting {
            self.begin_session(&id, None, now);
            turn.answer(sync, self.synced(assignment));
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced { protocol_type: self.protocol_type.clone(), protocol: self.protocol.clone(), assignment }
    }
}
