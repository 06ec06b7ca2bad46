//! Heartbeats, leaving, and expired sessions.

use super::super::answer::Turn;
use super::super::config::GroupConfig;
use super::super::error::GroupError;
use super::super::member::{Member, MemberId};
use super::super::request::{HeartbeatRequest, Leaving, Moment, Results};
use super::{Group, Phase};
use crate::bugs::{self, Bug};

impl Group {
    pub(in super::super) fn heartbeat(&mut self, request: &HeartbeatRequest, now: Moment) -> Result<(), GroupError> {
        self.check_member(&request.member)?;
        self.check_generation(request.generation)?;
        self.begin_session(&request.member.id, None, now);
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember(request.member.id.clone())),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Completing | Phase::Stable => Ok(()),
        }
    }

    /// The result for each member.
    pub(in super::super) fn leave(
        &mut self,
        leaving: &[Leaving],
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) -> Results {
        let member_count = self.members.len();
        let left = leaving.iter().map(|leaving| self.remove(leaving)).collect();
        self.follow_departures(member_count, config, now, turn);
        left
    }

    fn remove(&mut self, leaving: &Leaving) -> Result<(), GroupError> {
        if leaving.instance.is_none() && self.pending.remove(&leaving.id).is_some() {
            return Ok(());
        }
        let id = match &leaving.instance {
            // An administrator knows a static member by `group.instance.id` only.
            Some(instance) if leaving.id.is_none() => {
                let current = self.instances.get(instance);
                current.cloned().ok_or_else(|| GroupError::UnknownInstance(instance.clone()))?
            }
            _ => {
                self.check_member(leaving)?;
                leaving.id.clone()
            }
        };
        self.forget(&id);
        Ok(())
    }

    /// `member_count`: the members before. An id with which no member has joined yet is not a member: without it the
    /// rebalance may be complete, but nothing else has changed.
    fn follow_departures(&mut self, member_count: usize, config: &GroupConfig, now: Moment, turn: &mut Turn) {
        if bugs::is_planted(Bug::DepartureUnnoticed) {
            return;
        }
        if self.members.len() < member_count && !matches!(self.phase, Phase::Empty) {
            self.rebalance(config, now, turn);
        } else {
            self.complete_if_all_joined(now, turn);
        }
    }

    /// A deadline may have passed.
    pub(in super::super) fn wake(&mut self, config: &GroupConfig, now: Moment, turn: &mut Turn) {
        let member_count = self.members.len();
        self.pending.retain(|_, until| now.elapsed < *until);
        for id in self.overdue(now) {
            self.forget(&id);
        }
        self.follow_departures(member_count, config, now, turn);
        if let Phase::Preparing { until, .. } = self.phase
            && until <= now.elapsed
        {
            self.end_preparing(config, now, turn);
        }
        self.wake_at = self.next_deadline();
    }

    /// Members whose session has ended, that did not send SyncGroup in time, or that are the leader and gave no
    /// assignment.
    fn overdue(&mut self, now: Moment) -> Vec<MemberId> {
        let syncs_are_due = self.sync_until.is_some_and(|until| until <= now.elapsed);
        if syncs_are_due {
            self.sync_until = None;
        }
        let is_unassigned = matches!(self.phase, Phase::Completing);
        let has_failed = |id: &MemberId, member: &Member| !member.has_synced || (is_unassigned && self.leads(id));
        let is_silent = |member: &Member| silence_counts(member) && member.session_end <= now.elapsed;
        let members = self.members.iter();
        let overdue = members.filter(|(id, member)| (syncs_are_due && has_failed(id, member)) || is_silent(member));
        overdue.map(|(id, _)| id.clone()).collect()
    }

    fn next_deadline(&self) -> Option<std::time::Duration> {
        let heard = self.members.values().filter(|member| silence_counts(member));
        let sessions = heard.map(|member| member.session_end);
        let preparing = match self.phase {
            Phase::Preparing { until, .. } => Some(until),
            Phase::Empty | Phase::Completing | Phase::Stable => None,
        };
        sessions.chain(self.pending.values().copied()).chain(preparing).chain(self.sync_until).min()
    }
}

/// Whether its session can expire now.
fn silence_counts(member: &Member) -> bool {
    member.session_counts() && !bugs::is_planted(Bug::SilenceUnnoticed)
}
