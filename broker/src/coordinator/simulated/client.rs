//! A consumer as it goes through the protocol.

use std::collections::BTreeMap;

use protocol::coordinator_records::GenerationId;
use tokio::sync::oneshot::error::TryRecvError;

use super::super::error::{GroupError, Unavailable};
use super::super::member::MemberId;
use super::super::request::{FetchedOffsets, Joined, MemberClaim, Results, Synced};
use super::super::testing::{Waiting, claim};

/// A commit that was sent, and its answer.
type Committing = (BTreeMap<i32, i64>, Waiting<Results>);

/// What a client is waiting for.
pub(super) enum Doing {
    Nothing,
    Joining(Waiting<Joined>),
    Syncing(Waiting<Synced>),
    /// Fetches the committed offsets, once for every assignment.
    Fetching(Waiting<FetchedOffsets>),
    Owning,
    /// The process has ended.
    Gone,
}

pub(super) struct Client {
    pub(super) instance: Option<String>,
    pub(super) member: MemberId,
    pub(super) generation: GenerationId,
    pub(super) owned: Vec<i32>,
    pub(super) positions: BTreeMap<i32, i64>,
    /// The number of its last JoinGroup request.
    pub(super) joined: u128,
    pub(super) committing: Option<Committing>,
    pub(super) beating: Option<Waiting<()>>,
    pub(super) doing: Doing,
    /// Steps for which it does nothing: the process is paused without noticing.
    pub(super) asleep: usize,
}

impl Client {
    pub(super) fn new(instance: Option<String>) -> Self {
        Self {
            instance,
            member: MemberId::default(),
            generation: GenerationId(-1),
            owned: Vec::new(),
            positions: BTreeMap::new(),
            joined: 0,
            committing: None,
            beating: None,
            doing: Doing::Nothing,
            asleep: 0,
        }
    }

    pub(super) fn claim(&self) -> MemberClaim {
        MemberClaim { instance: self.instance.clone(), ..claim(&self.member) }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.doing, Doing::Gone)
    }

    /// Its identity: a static member that comes back owns the same partitions.
    pub(super) fn name(&self) -> String {
        self.instance.clone().unwrap_or_else(|| self.member.0.clone())
    }

    /// Reacts to an error. A fenced client has a successor, and ends. One that only has to find another coordinator
    /// stays in its generation.
    pub(super) fn refused(&mut self, error: &GroupError) {
        let is_in_generation = matches!(self.doing, Doing::Owning | Doing::Fetching(_));
        match error {
            GroupError::Unavailable(_) if is_in_generation => return,
            GroupError::MemberIdRequired(id) => self.member = id.clone(),
            GroupError::UnknownMember(_) | GroupError::UnknownInstance(_) => self.member = MemberId::default(),
            _ => {}
        }
        self.generation = GenerationId(-1);
        self.owned.clear();
        self.beating = None;
        self.doing = if matches!(error, GroupError::FencedInstance { .. }) { Doing::Gone } else { Doing::Nothing };
    }
}

/// `None`: not yet. The coordinator may be gone.
pub(super) fn poll<T>(waiting: &mut Waiting<T>) -> Option<Result<T, GroupError>> {
    match waiting.try_recv() {
        Ok(answer) => Some(answer),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => Some(Err(GroupError::Unavailable(Unavailable::NotCoordinator))),
    }
}
