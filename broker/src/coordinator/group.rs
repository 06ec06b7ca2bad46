//! One group. Its states, as in Kafka:
//!
//! ```text
//!            a member joins              all have joined, or time is up        the leader's assignment is written
//!   Empty ──────────────► PreparingRebalance ──────────────► CompletingRebalance ──────────────► Stable
//!     ▲                      │       ▲                                │                             │
//!     └── nobody is left ────┘       └── somebody joins, leaves, is silent, or a leader joins again ┘
//! ```

mod commit;
mod join;
mod rebalance;
mod replay;
mod session;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use protocol::coordinator_records::{
    CoordinatorRecord, GenerationId, GroupMetadata, RecordedMember, subscribed_topics,
};
use protocol::types::{Offset, Timestamp};

use super::error::GroupError;
use super::member::{GroupId, Member, MemberId};
use super::offsets::Offsets;
use super::request::{GroupDescription, MemberClaim, MemberDescription, Moment};
use crate::bugs::{self, Bug};

pub(super) use commit::deletion;

/// Protocol type of the groups that consumers form.
const CONSUMER: &str = "consumer";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

#[derive(Debug)]
enum Phase {
    Empty,
    /// Waiting for members to join.
    Preparing {
        until: Duration,
        /// Set if the group was empty before: more members may be about to join.
        initial: Option<Initial>,
    },
    /// Waiting for the leader's assignment.
    Completing,
    Stable,
}

#[derive(Debug, Clone, Copy)]
struct Initial {
    /// By how much the wait may still be extended.
    remaining: Duration,
    /// Since the wait was last extended.
    member_added: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    id: GroupId,
    phase: Phase,
    /// When it entered this phase; `None`: an old record does not tell.
    phase_began: Option<Timestamp>,
    generation: GenerationId,
    protocol_type: Option<String>,
    /// The protocol of this generation.
    protocol: Option<String>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<String, MemberId>,
    /// Member ids that were given out and not used yet, each with its expiry.
    pending: BTreeMap<MemberId, Duration>,
    /// A member that has not sent SyncGroup by then is removed.
    sync_until: Option<Duration>,
    pub(super) offsets: Offsets,
    /// The log has a generation of this group.
    is_recorded: bool,
    /// End offset of the last record about the group.
    pub(super) written: Offset,
    /// No deadline is earlier than this.
    pub(super) wake_at: Option<Duration>,
    /// When the shard will wake it.
    pub(super) alarm: Option<Duration>,
    /// Generations begun since the shard last counted.
    pub(super) generations_begun: u64,
}

impl Group {
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            phase: Phase::Empty,
            phase_began: None,
            generation: GenerationId(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            sync_until: None,
            offsets: Offsets::default(),
            is_recorded: false,
            written: Offset(0),
            wake_at: None,
            alarm: None,
            generations_begun: 0,
        }
    }

    pub(super) fn id(&self) -> &GroupId {
        &self.id
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether there is nothing to keep.
    pub(super) fn is_void(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.offsets.is_empty() && !self.is_recorded
    }

    fn check_exists(&self) -> Result<(), GroupError> {
        if self.is_void() { Err(GroupError::GroupNotFound) } else { Ok(()) }
    }

    pub(super) fn describe(&self) -> Result<GroupDescription, GroupError> {
        self.check_exists()?;
        let is_stable = matches!(self.phase, Phase::Stable);
        let protocol = self.protocol.as_deref().filter(|_| is_stable).unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            id: id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            metadata: if is_stable { member.metadata(protocol) } else { Bytes::new() },
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
        });
        Ok(GroupDescription {
            state: self.state(),
            protocol_type: self.protocol_type().to_owned(),
            protocol: protocol.to_owned(),
            members: members.collect(),
        })
    }

    /// The records that delete all of it.
    pub(super) fn delete(&self) -> Result<Vec<CoordinatorRecord>, GroupError> {
        self.check_exists()?;
        if !matches!(self.phase, Phase::Empty) {
            return Err(GroupError::NotEmpty);
        }
        let mut records = self.offsets.deletions(&self.id, |_, _| true);
        records.push(CoordinatorRecord::GroupMetadata { group: self.id.to_string(), value: None });
        Ok(records)
    }

    /// Topics that its members subscribe to. `None`: their metadata cannot be decoded.
    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type() != CONSUMER {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for protocol in &member.protocols {
                topics.extend(subscribed_topics(&protocol.metadata).ok()?);
            }
        }
        Some(topics)
    }

    /// Checks that it is a member, and the current one of its static id.
    fn check_member(&self, claim: &MemberClaim) -> Result<(), GroupError> {
        if let Some(instance) = &claim.instance {
            let current = self.instances.get(instance);
            let current = current.ok_or_else(|| GroupError::UnknownInstance(instance.clone()))?;
            if *current != claim.id && !bugs::is_planted(Bug::ReplacedMemberNotFenced) {
                let (instance, claimed, current) = (instance.clone(), claim.id.clone(), current.clone());
                return Err(GroupError::FencedInstance { instance, claimed, current });
            }
        }
        let is_known = self.members.contains_key(&claim.id) || bugs::is_planted(Bug::ReplacedMemberNotFenced);
        if is_known { Ok(()) } else { Err(GroupError::UnknownMember(claim.id.clone())) }
    }

    fn check_generation(&self, claimed: GenerationId) -> Result<(), GroupError> {
        let current = self.generation;
        if claimed == current { Ok(()) } else { Err(GroupError::IllegalGeneration { claimed, current }) }
    }

    fn leads(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    fn enter(&mut self, phase: Phase, now: Moment) {
        self.phase = phase;
        self.phase_began = Some(now.wall);
    }

    /// The record of this generation.
    fn record(&self, members: Vec<RecordedMember>, leader: Option<&MemberId>) -> CoordinatorRecord {
        let value = GroupMetadata {
            protocol_type: self.protocol_type().to_owned(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: leader.map(|leader| leader.0.clone()),
            state_timestamp: self.phase_began.unwrap_or(Timestamp::NONE),
            members,
        };
        CoordinatorRecord::GroupMetadata { group: self.id.to_string(), value: Some(value) }
    }

    fn wake_by(&mut self, deadline: Duration) {
        self.wake_at = Some(self.wake_at.map_or(deadline, |at| at.min(deadline)));
    }

    /// Starts the member's session anew.
    fn begin_session(&mut self, id: &MemberId, length: Option<Duration>, now: Moment) {
        let Some(member) = self.members.get_mut(id) else { return };
        let end = now.elapsed + length.unwrap_or(member.session_timeout);
        member.session_end = end;
        self.wake_by(end);
    }
}
