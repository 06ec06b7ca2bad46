//! Replays records about the group's generations.

use protocol::coordinator_records::{CoordinatorRecord, GroupMetadata};
use protocol::types::Timestamp;

use super::super::answer::Turn;
use super::super::config::GroupConfig;
use super::super::error::GroupError;
use super::super::member::{Member, MemberId};
use super::super::request::Moment;
use super::{Group, Phase};

impl Group {
    /// The same live and at load. A member's in-memory state is kept.
    pub(in super::super) fn replay(&mut self, recorded: Option<GroupMetadata>) {
        let Some(recorded) = recorded else { return self.forget_generations() };
        for member in &recorded.members {
            let id = MemberId(member.member_id.clone());
            let former = member.instance_id.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
            if let Some(former) = former.filter(|former| *former != id) {
                self.rename(&former, &id);
            }
            let protocol = recorded.protocol.as_deref();
            let known = self.members.entry(id.clone());
            known
                .and_modify(|known| known.follow(member, protocol))
                .or_insert_with(|| Member::recorded(member, protocol));
            if let Some(instance) = &member.instance_id {
                self.instances.insert(instance.clone(), id);
            }
        }
        let is_recorded = |id: &MemberId| recorded.members.iter().any(|member| member.member_id == id.0);
        self.members.retain(|id, _| is_recorded(id));
        self.instances.retain(|_, id| is_recorded(id));
        self.is_recorded = true;
        self.protocol_type = Some(recorded.protocol_type).filter(|kind| !kind.is_empty());
        self.generation = recorded.generation;
        self.protocol = recorded.protocol;
        self.leader = recorded.leader.map(MemberId).filter(|leader| self.members.contains_key(leader));
        self.phase = if self.members.is_empty() { Phase::Empty } else { Phase::Stable };
        self.phase_began = Some(recorded.state_timestamp).filter(|at| *at != Timestamp::NONE);
    }

    /// Resets it to a group that never had members. Its offsets stay; others may have committed them since.
    fn forget_generations(&mut self) {
        *self = Self {
            pending: std::mem::take(&mut self.pending),
            offsets: std::mem::take(&mut self.offsets),
            written: self.written,
            wake_at: self.wake_at,
            alarm: self.alarm,
            generations_begun: self.generations_begun,
            ..Self::new(self.id.clone())
        };
    }

    /// Gives a static member another id; requests with the former one are fenced.
    pub(super) fn rename(&mut self, former: &MemberId, id: &MemberId) {
        let Some(mut member) = self.members.remove(former) else { return };
        if let Some(instance) = member.instance.clone() {
            let (claimed, current) = (former.clone(), id.clone());
            member.turn_away(&GroupError::FencedInstance { instance: instance.clone(), claimed, current });
            self.instances.insert(instance, id.clone());
        }
        if self.leads(former) {
            self.leader = Some(id.clone());
        }
        self.members.insert(id.clone(), member);
    }

    /// The record of this generation, with the member under another id.
    pub(super) fn record_with_id(&self, former: &MemberId, id: &MemberId) -> CoordinatorRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let new_id = |known| if known == former { id } else { known };
        let members = self.members.iter();
        let members = members.map(|(known, member)| member.record(new_id(known), protocol, member.assignment.clone()));
        self.record(members.collect(), self.leader.as_ref().map(new_id))
    }

    /// The log has been loaded: sessions begin now, and a group that exceeds the size limit is rebalanced.
    pub(in super::super) fn loaded(&mut self, config: &GroupConfig, now: Moment, turn: &mut Turn) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in &ids {
            self.begin_session(id, None, now);
        }
        if config.group_size_max < self.members.len() {
            self.rebalance(config, now, turn);
        }
    }
}
