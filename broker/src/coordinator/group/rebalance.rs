//! From one generation to the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::answer::{Reply, Turn, tell};
use super::super::config::GroupConfig;
use super::super::error::GroupError;
use super::super::member::{Member, MemberId};
use super::super::request::Moment;
use super::{Group, Initial, Phase};
use crate::bugs::{self, Bug};

/// If no member can be the leader the rebalance waits at least this long before the next try.
const LEADER_WAIT_MIN: Duration = Duration::from_secs(1);

impl Group {
    /// Begins a rebalance, or completes the one in progress if all members have joined.
    pub(super) fn rebalance(&mut self, config: &GroupConfig, now: Moment, turn: &mut Turn) {
        if !matches!(self.phase, Phase::Preparing { .. }) {
            self.prepare(config, now);
        }
        self.complete_if_all_joined(now, turn);
    }

    /// Not while more members may be about to join.
    pub(super) fn complete_if_all_joined(&mut self, now: Moment, turn: &mut Turn) {
        let all_joined = self.pending.is_empty() && self.members.values().all(|member| member.join.is_some());
        if all_joined && matches!(self.phase, Phase::Preparing { initial: None, .. }) {
            self.begin_generation(now, turn);
        }
    }

    fn prepare(&mut self, config: &GroupConfig, now: Moment) {
        self.sync_until = None;
        if matches!(self.phase, Phase::Completing) {
            self.turn_syncs_away(now);
        }
        let rebalance_timeout = self.rebalance_timeout();
        let (wait, initial) = if matches!(self.phase, Phase::Empty) {
            let delay = config.initial_rebalance_delay;
            let initial = Initial { remaining: rebalance_timeout.saturating_sub(delay), member_added: false };
            (delay, Some(initial))
        } else {
            (rebalance_timeout, None)
        };
        let until = now.elapsed + wait;
        self.enter(Phase::Preparing { until, initial }, now);
        self.wake_by(until);
    }

    /// The generation is over before its assignment was known.
    fn turn_syncs_away(&mut self, now: Moment) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            self.begin_session(&id, None, now);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment.clear();
            if let Some(sync) = member.sync.take() {
                tell(sync, Err(GroupError::RebalanceInProgress));
            }
        }
    }

    /// The time to join is over.
    pub(super) fn end_preparing(&mut self, config: &GroupConfig, now: Moment, turn: &mut Turn) {
        let Phase::Preparing { until, initial } = &mut self.phase else { return };
        if let Some(initial) = initial
            && initial.member_added
            && !initial.remaining.is_zero()
        {
            let delay = config.initial_rebalance_delay.min(initial.remaining);
            *initial = Initial { remaining: initial.remaining.saturating_sub(delay), member_added: false };
            *until = now.elapsed + delay;
            let until = *until;
            return self.wake_by(until);
        }
        self.begin_generation(now, turn);
    }

    /// Removes dynamic members that did not join, and new ones whose client has given up. Static ones stay until
    /// their session ends.
    fn begin_generation(&mut self, now: Moment, turn: &mut Turn) {
        let is_gone = |member: &Member| {
            let gave_up = member.is_new && member.join.as_ref().is_none_or(Reply::is_closed);
            member.instance.is_none() && (gave_up || member.join.is_none())
        };
        let gone: Vec<_> =
            self.members.iter().filter(|(_, member)| is_gone(member)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.forget(&id);
        }
        if self.members.is_empty() {
            return self.become_empty(now, turn);
        }
        if !self.elect_leader() {
            // No member can assign: there are only silent static members, whose sessions will end.
            let until = now.elapsed + self.rebalance_timeout().max(LEADER_WAIT_MIN);
            self.phase = Phase::Preparing { until, initial: None };
            return self.wake_by(until);
        }
        if !bugs::is_planted(Bug::GenerationNotCounted) {
            self.generation.0 = self.generation.0.wrapping_add(1).max(1);
        }
        self.generations_begun += 1;
        self.protocol = self.choose_protocol();
        self.enter(Phase::Completing, now);
        let until = now.elapsed + self.rebalance_timeout();
        self.sync_until = Some(until);
        self.wake_by(until);
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.joined(id);
            self.begin_session(id, None, now);
            let Some(member) = self.members.get_mut(id) else { continue };
            member.is_new = false;
            member.has_synced = false;
            if let Some(join) = member.join.take() {
                tell(join, Ok(joined));
            }
        }
    }

    fn become_empty(&mut self, now: Moment, turn: &mut Turn) {
        self.generation.0 = self.generation.0.wrapping_add(1).max(1);
        self.protocol = None;
        self.leader = None;
        self.enter(Phase::Empty, now);
        // A group that never had a generation need not be in the log.
        if self.is_recorded || !self.offsets.is_empty() {
            turn.records.push(self.record(Vec::new(), None));
        }
    }

    /// A member that has joined; the former leader if it has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|member| member.join.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let joined = self.members.iter().find(|(_, member)| member.join.is_some()).map(|(id, _)| id.clone());
            if joined.is_none() {
                return false;
            }
            self.leader = joined;
        }
        true
    }

    /// Each member votes for the first of its protocols that all members support. On a tie the protocol with the
    /// earliest vote wins.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes = BTreeMap::<&str, (usize, Reverse<usize>)>::new();
        for (number, member) in self.members.values().enumerate() {
            let mut names = member.protocols.iter().map(|protocol| protocol.name.as_str());
            if let Some(name) = names.find(|name| common.contains(name)) {
                votes.entry(name).or_insert((0, Reverse(number))).0 += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned())
    }

    /// The protocols that all members support. There may be many members and protocols: each name is looked at once.
    pub(super) fn common_protocols(&self) -> BTreeSet<&str> {
        let mut known_by = BTreeMap::<&str, (usize, usize)>::new();
        for (number, member) in (1..).zip(self.members.values()) {
            for protocol in &member.protocols {
                let (count, last) = known_by.entry(&protocol.name).or_default();
                *count += usize::from(*last != number);
                *last = number;
            }
        }
        let is_common = |(_, (count, _)): &(&str, (usize, usize))| *count == self.members.len();
        known_by.into_iter().filter(is_common).map(|(name, _)| name).collect()
    }

    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Removes the member and answers its waiting requests.
    pub(super) fn forget(&mut self, id: &MemberId) {
        let Some(mut member) = self.members.remove(id) else { return };
        member.turn_away(&GroupError::UnknownMember(id.clone()));
        if let Some(instance) = &member.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if self.leads(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
