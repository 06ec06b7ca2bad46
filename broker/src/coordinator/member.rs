//! Members of a group.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::coordinator_records::RecordedMember;
use uuid::Uuid;

use super::answer::{Reply, tell};
use super::error::GroupError;
use super::request::{Joined, JoinedMember, Synced};

/// `group.id`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) Arc<str>);

/// Given by the coordinator; empty in a request: none yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct MemberId(pub(crate) String);

impl Borrow<str> for GroupId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MemberId {
    /// `prefix` makes it readable: the static member's id, or the client's.
    pub(super) fn generated(prefix: &str, id: Uuid) -> Self {
        Self(format!("{prefix}-{id}"))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// Client id and host, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: String,
}

/// An assignment protocol that a member supports, with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client: Client,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// In the order of its preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// When its session ends, unless it is heard. Ignored while it waits for an answer.
    pub(super) session_end: Duration,
    /// It has not been in a generation yet: its session counts even while it waits, so that a client that gave up
    /// leaves nothing behind.
    pub(super) is_new: bool,
    /// Has sent SyncGroup in this generation.
    pub(super) has_synced: bool,
    pub(super) join: Option<Reply<Joined>>,
    pub(super) sync: Option<Reply<Synced>>,
}

impl Member {
    pub(super) fn recorded(recorded: &RecordedMember, protocol: Option<&str>) -> Self {
        let protocol =
            Protocol { name: protocol.unwrap_or_default().to_owned(), metadata: recorded.subscription.clone() };
        Self {
            instance: recorded.instance_id.clone(),
            client: Client { id: recorded.client_id.clone(), host: recorded.client_host.clone() },
            session_timeout: milliseconds(recorded.session_timeout_ms),
            rebalance_timeout: milliseconds(recorded.rebalance_timeout_ms),
            protocols: vec![protocol],
            assignment: recorded.assignment.clone(),
            session_end: Duration::ZERO,
            is_new: false,
            has_synced: true,
            join: None,
            sync: None,
        }
    }

    /// Takes over a later record of the member. Protocols other than the group's are not in the log and are kept.
    pub(super) fn follow(&mut self, recorded: &RecordedMember, protocol: Option<&str>) {
        let recorded = Self::recorded(recorded, protocol);
        self.client = recorded.client;
        self.session_timeout = recorded.session_timeout;
        self.rebalance_timeout = recorded.rebalance_timeout;
        self.assignment = recorded.assignment;
        let is_known = |protocol: &Protocol| self.protocols.contains(protocol);
        if !recorded.protocols.iter().all(is_known) {
            self.protocols = recorded.protocols;
        }
    }

    pub(super) fn record(&self, id: &MemberId, protocol: &str, assignment: Bytes) -> RecordedMember {
        RecordedMember {
            member_id: id.0.clone(),
            instance_id: self.instance.clone(),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            rebalance_timeout_ms: whole_milliseconds(self.rebalance_timeout),
            session_timeout_ms: whole_milliseconds(self.session_timeout),
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    pub(super) fn joined(&self, id: &MemberId, protocol: &str) -> JoinedMember {
        JoinedMember { id: id.clone(), instance: self.instance.clone(), metadata: self.metadata(protocol) }
    }

    /// Empty if it does not support the protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| known.name == protocol);
        known.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    /// Whether its session can expire now.
    pub(super) fn session_counts(&self) -> bool {
        self.is_new || (self.join.is_none() && self.sync.is_none())
    }

    /// Answers its waiting requests with an error.
    pub(super) fn turn_away(&mut self, error: &GroupError) {
        if let Some(join) = self.join.take() {
            tell(join, Err(error.clone()));
        }
        if let Some(sync) = self.sync.take() {
            tell(sync, Err(error.clone()));
        }
    }

    /// A second request of the same member: the sender of the first has given it up.
    pub(super) fn wait_for_join(&mut self, reply: Reply<Joined>) {
        if let Some(former) = self.join.replace(reply) {
            tell(former, Err(GroupError::RebalanceInProgress));
        }
    }

    pub(super) fn wait_for_sync(&mut self, reply: Reply<Synced>) {
        if let Some(former) = self.sync.replace(reply) {
            tell(former, Err(GroupError::RebalanceInProgress));
        }
    }
}

/// A negative time counts as none.
pub(super) fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

fn whole_milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
