//! Requests of this node without an answer yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::RequestId;
use crate::identity::ReplicaKey;

/// What an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An unattached node asks for the leader.
    FindLeader,
    Vote(ReplicaKey),
    BeginQuorumEpoch(ReplicaKey),
    EndQuorumEpoch,
    Fetch,
    FetchSnapshot,
    UpdateVoter,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    purpose: Purpose,
    deadline: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    last: u64,
    pending: BTreeMap<RequestId, Pending>,
}

impl Outbox {
    pub(crate) fn add(&mut self, purpose: Purpose, deadline: Duration) -> RequestId {
        self.last = self.last.wrapping_add(1);
        let id = RequestId(self.last);
        self.pending.insert(id, Pending { purpose, deadline });
        id
    }

    /// None: it was answered before, or its answer no longer matters.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Purpose> {
        self.pending.remove(&id).map(|pending| pending.purpose)
    }

    pub(crate) fn has(&self, purpose: Purpose) -> bool {
        self.pending.values().any(|pending| pending.purpose == purpose)
    }

    /// A request whose answer has not come in time.
    pub(crate) fn overdue(&self, now: Duration) -> Option<RequestId> {
        self.pending.iter().find(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// A new role does not need the answers of the old one.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }
}
