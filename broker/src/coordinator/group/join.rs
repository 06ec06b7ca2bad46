//! Joining: new members, members that come back, and static members that come back with a new member id.

use std::time::Duration;

use bytes::Bytes;

use super::super::answer::{Reply, Turn, tell};
use super::super::config::GroupConfig;
use super::super::error::GroupError;
use super::super::member::{Client, Member, MemberId, Protocol, milliseconds};
use super::super::request::{JoinRequest, Joined, Moment};
use super::{Group, Phase};

/// A new member that has waited this long for its answer is taken for gone: while it waits it sends no heartbeats.
const NEW_MEMBER_SESSION: Duration = Duration::from_mins(5);
/// Unused member ids at a time. Each is forgotten unless it is used within a session.
const UNUSED_IDS_MAX: usize = 10_000;
/// The metadata of all protocols of all members may take this many times the room of one record, which has to hold
/// their metadata for one protocol.
const RECORDS_KEPT: usize = 4;

impl Group {
    pub(in super::super) fn join(
        &mut self,
        request: JoinRequest,
        reply: Reply<Joined>,
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) {
        if let Err(error) = self.check_join(&request, config) {
            let is_full = matches!(error, GroupError::GroupFull { .. });
            tell(reply, Err(error));
            // A member that finds no room must not be waited for.
            if is_full && self.pending.remove(&request.member.id).is_some() {
                self.complete_if_all_joined(now, turn);
            }
            return;
        }
        if request.member.id.is_none() {
            self.join_first(request, reply, config, now, turn);
        } else {
            self.join_again(request, reply, config, now, turn);
        }
    }

    /// Checks that with the joining member all members and unused ids fit into the room of a group.
    pub(in super::super) fn check_size(
        &self,
        request: &JoinRequest,
        record_bytes_max: usize,
    ) -> Result<(), GroupError> {
        let others = self.members.iter().filter(|(id, _)| **id != request.member.id);
        let others = others.map(|(id, member)| {
            id.0.len() + names_bytes(&member.client, member.instance.as_ref()) + protocol_bytes(&member.protocols)
        });
        let unused: usize = self.pending.keys().map(|id| id.0.len()).sum();
        let names = names_bytes(&request.client, request.member.instance.as_ref());
        let bytes = others.sum::<usize>() + unused + names + protocol_bytes(&request.protocols);
        let bytes_max = record_bytes_max.saturating_mul(RECORDS_KEPT);
        if bytes_max < bytes { Err(GroupError::GroupTooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    fn check_join(&self, request: &JoinRequest, config: &GroupConfig) -> Result<(), GroupError> {
        let (asked, min, max) =
            (request.session_timeout_ms, config.session_timeout_ms_min, config.session_timeout_ms_max);
        if !(min..=max).contains(&asked) {
            return Err(GroupError::InvalidSessionTimeout { asked, min, max });
        }
        if !self.has_room(&request.member.id, config.group_size_max) {
            return Err(GroupError::GroupFull { size_max: config.group_size_max });
        }
        if self.agrees(request) { Ok(()) } else { Err(GroupError::InconsistentProtocol) }
    }

    /// During a rebalance only members that wait for it count: the limit may be lower than the members of the last
    /// generation.
    fn has_room(&self, member: &MemberId, size_max: usize) -> bool {
        let known = self.members.get(member);
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                known.is_some_and(|known| known.join.is_some())
                    || self.members.values().filter(|member| member.join.is_some()).count() < size_max
            }
            Phase::Completing | Phase::Stable => known.is_some() || self.members.len() < size_max,
        }
    }

    /// Whether all members support one of its protocols.
    fn agrees(&self, request: &JoinRequest) -> bool {
        if self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let common = self.common_protocols();
        let is_common = |protocol: &Protocol| common.contains(protocol.name.as_str());
        self.protocol_type() == request.protocol_type && request.protocols.iter().any(is_common)
    }

    fn join_first(
        &mut self,
        request: JoinRequest,
        reply: Reply<Joined>,
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) {
        let prefix = request.member.instance.as_ref().unwrap_or(&request.client.id);
        let id = MemberId::generated(prefix, request.fresh_id);
        let former = request.member.instance.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
        match former {
            Some(former) => self.replace(&former, id, &request, reply, config, now, turn),
            None if request.id_required && request.member.instance.is_none() => {
                let count = self.pending.len();
                if UNUSED_IDS_MAX <= count {
                    return tell(reply, Err(GroupError::TooManyUnusedIds { count }));
                }
                let until = now.elapsed + milliseconds(request.session_timeout_ms);
                self.pending.insert(id.clone(), until);
                self.wake_by(until);
                tell(reply, Err(GroupError::MemberIdRequired(id)));
            }
            None => self.add(&id, request, reply, config, now, turn),
        }
    }

    fn join_again(
        &mut self,
        request: JoinRequest,
        reply: Reply<Joined>,
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) {
        let id = request.member.id.clone();
        if request.member.instance.is_none() && self.pending.remove(&id).is_some() {
            return self.add(&id, request, reply, config, now, turn);
        }
        if let Err(error) = self.check_member(&request.member) {
            return tell(reply, Err(error));
        }
        let is_unchanged = self.members.get(&id).is_some_and(|member| member.protocols == request.protocols);
        let has_answer = match self.phase {
            Phase::Completing => is_unchanged,
            // A leader joins again when something has changed that is in no member's metadata, such as the topics.
            Phase::Stable => is_unchanged && !self.leads(&id),
            Phase::Empty | Phase::Preparing { .. } => false,
        };
        if has_answer {
            // Its first answer was lost.
            let joined = self.joined(&id);
            return tell(reply, Ok(joined));
        }
        self.update(&id, &request);
        if let Some(member) = self.members.get_mut(&id) {
            member.wait_for_join(reply);
        }
        self.rebalance(config, now, turn);
    }

    fn add(
        &mut self,
        id: &MemberId,
        request: JoinRequest,
        reply: Reply<Joined>,
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Some(instance) = &request.member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let member = Member {
            instance: request.member.instance,
            client: request.client,
            session_timeout: milliseconds(request.session_timeout_ms),
            rebalance_timeout: milliseconds(request.rebalance_timeout_ms),
            protocols: request.protocols,
            assignment: Bytes::new(),
            session_end: Duration::ZERO,
            is_new: true,
            has_synced: false,
            join: Some(reply),
            sync: None,
        };
        self.members.insert(id.clone(), member);
        self.begin_session(id, Some(NEW_MEMBER_SESSION), now);
        if let Phase::Preparing { initial: Some(initial), .. } = &mut self.phase {
            initial.member_added = true;
        }
        self.rebalance(config, now, turn);
    }

    fn update(&mut self, id: &MemberId, request: &JoinRequest) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.session_timeout = milliseconds(request.session_timeout_ms);
        member.rebalance_timeout = milliseconds(request.rebalance_timeout_ms);
        member.protocols.clone_from(&request.protocols);
    }

    /// A static member has restarted. If that changes nothing for the others, the group stays stable (KIP-345).
    #[expect(clippy::too_many_arguments, reason = "the two ids, and what every join has")]
    fn replace(
        &mut self,
        former: &MemberId,
        id: MemberId,
        request: &JoinRequest,
        reply: Reply<Joined>,
        config: &GroupConfig,
        now: Moment,
        turn: &mut Turn,
    ) {
        self.update(former, request);
        let stays = matches!(self.phase, Phase::Stable) && self.choose_protocol() == self.protocol;
        if stays {
            let record = self.record_with_id(former, &id);
            let joined = self.rejoined(former, id, request.can_skip_assignment);
            self.begin_session(former, None, now);
            turn.records.push(record);
            return turn.answer(reply, joined);
        }
        self.rename(former, &id);
        let is_new = self.members.get(&id).is_some_and(|member| member.is_new);
        self.begin_session(&id, is_new.then_some(NEW_MEMBER_SESSION), now);
        if let Some(member) = self.members.get_mut(&id) {
            member.wait_for_join(reply);
        }
        self.rebalance(config, now, turn);
    }

    /// The JoinGroup answer of a generation that has begun.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = if self.leads(id) {
            self.members.iter().map(|(id, member)| member.joined(id, protocol)).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member: id.clone(),
            members,
            skip_assignment: false,
        }
    }

    /// The JoinGroup answer for a static member that comes back as `id`. A leader that does not support skipping the
    /// assignment is given its former id as the leader, so that it assigns nothing.
    fn rejoined(&self, former: &MemberId, id: MemberId, can_skip_assignment: bool) -> Joined {
        let leads = self.leads(former);
        if !(leads && can_skip_assignment) {
            return Joined { member: id, members: Vec::new(), ..self.joined(former) };
        }
        let mut joined =
            Joined { leader: id.clone(), member: id.clone(), skip_assignment: true, ..self.joined(former) };
        for member in joined.members.iter_mut().filter(|member| member.id == *former) {
            member.id = id.clone();
        }
        joined
    }
}

fn names_bytes(client: &Client, instance: Option<&String>) -> usize {
    client.id.len() + client.host.len() + instance.map_or(0, String::len)
}

fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| size_of::<Protocol>() + protocol.name.len() + protocol.metadata.len()).sum()
}
