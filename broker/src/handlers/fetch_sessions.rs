//! Fetch sessions (KIP-227): the leader keeps a client's partitions, so that a request names only changes, and an
//! answer holds only news. Pure: time and ids are arguments.
//!
//! | session epoch | the request | |
//! |---|---|---|
//!  −1 | names everything | no session; a session that it names ends |
//!  0 | names everything | begins a session, if there is room; a session that it names ends |
//!  1, 2, … | names changes | continues its session, in order |
//!
//! A request in progress holds its session, so a second one at the same time finds another epoch. A request that ends
//! without an answer drops its session, and the client, which does not know how far it got, begins another. The
//! numbers of sessions and of their partitions are limited. A new session may replace one that was unused for two
//! minutes, otherwise one of less value: followers' sessions are worth more than consumers', large ones more than
//! small ones. The replaced one must be at least two minutes old, except that a consumer's always gives way to a
//! follower's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fetch_session::Session;

/// Partitions per possible session. All sessions share the total.
const PARTITIONS_EACH: usize = 200;
const KEPT_MIN: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) i32);

impl SessionId {
    pub(super) const NONE: Self = Self(0);
}

/// The kind of a session, which all of its requests must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionKind {
    pub(super) is_follower: bool,
    /// Topics are named by id.
    pub(super) by_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("fetch session {} is not known here", .0.0)]
    Unknown(SessionId),
    #[error("fetch session {} is at another epoch than {epoch}", id.0)]
    OtherEpoch { id: SessionId, epoch: i32 },
    #[error("fetch session {} cannot switch between topic names and topic ids", .0.0)]
    OtherTopicKeys(SessionId),
}

#[derive(Debug)]
pub(crate) struct FetchSessions {
    sessions_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<i32, Kept>,
    partitions: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Kept {
    kind: SessionKind,
    next_epoch: i32,
    partitions: usize,
    began: Duration,
    used: Duration,
    /// `None`: a request in progress holds it.
    session: Option<Box<Session>>,
}

/// Totals of all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    pub(crate) sessions: usize,
    pub(crate) partitions: usize,
    pub(crate) evicted: u64,
}

/// A slot among the sessions, held by a request in progress. Dropping it without [`FetchSessions::keep`] frees it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    sessions: &'a FetchSessions,
    pub(super) id: SessionId,
    next_epoch: i32,
}

impl FetchSessions {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self { sessions_max, state: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> SessionCounts {
        let state = self.state();
        SessionCounts { sessions: state.kept.len(), partitions: state.partitions, evicted: state.evicted }
    }

    /// Continues a session.
    pub(super) fn take(
        &self,
        (id, epoch): (SessionId, i32),
        kind: SessionKind,
        now: Duration,
    ) -> Result<(Place<'_>, Box<Session>), SessionError> {
        let mut state = self.state();
        let kept = state.kept.get_mut(&id.0).ok_or(SessionError::Unknown(id))?;
        if kept.next_epoch != epoch {
            return Err(SessionError::OtherEpoch { id, epoch });
        }
        if kept.kind != kind {
            return Err(SessionError::OtherTopicKeys(id));
        }
        let session = kept.session.take().ok_or(SessionError::OtherEpoch { id, epoch })?;
        kept.next_epoch = epoch.checked_add(1).unwrap_or(1);
        kept.used = now;
        Ok((Place { sessions: self, id, next_epoch: kept.next_epoch }, session))
    }

    /// Ends a session, if it exists.
    pub(super) fn end(&self, id: SessionId) {
        self.state().remove(id.0);
    }

    /// Reserves a slot for a session of so many partitions, if there is one. `random`: for its id.
    pub(super) fn begin(&self, kind: SessionKind, partitions: usize, now: Duration, random: u32) -> Option<Place<'_>> {
        if self.sessions_max.saturating_mul(PARTITIONS_EACH) < partitions {
            return None;
        }
        let mut state = self.state();
        while !self.has_room(&state, 1, partitions) {
            let given_up = state.least((kind.is_follower, partitions), now)?;
            state.remove(given_up);
            state.evicted = state.evicted.saturating_add(1);
        }
        let mut id = i32::try_from(random >> 1).unwrap_or(i32::MAX).max(1);
        while state.kept.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(1);
        }
        let kept = Kept { kind, next_epoch: 1, partitions, began: now, used: now, session: None };
        state.kept.insert(id, kept);
        state.partitions = state.partitions.saturating_add(partitions);
        drop(state);
        Some(Place { sessions: self, id: SessionId(id), next_epoch: 1 })
    }

    /// Keeps the session for the next request. [`SessionId::NONE`]: its slot was taken meanwhile, or it has grown too
    /// large.
    #[expect(clippy::needless_pass_by_value, reason = "the request's hold on its place ends here")]
    pub(super) fn keep(&self, place: Place<'_>, session: Box<Session>) -> SessionId {
        let mut state = self.state();
        let now_partitions = session.len();
        let Some(kept) = state.kept.get_mut(&place.id.0).filter(|kept| kept.is_of(&place)) else {
            return SessionId::NONE;
        };
        let before = std::mem::replace(&mut kept.partitions, now_partitions);
        kept.session = Some(session);
        state.partitions = state.partitions.saturating_sub(before).saturating_add(now_partitions);
        // Once kept, dropping the place no longer frees the slot.
        if before < now_partitions && !self.has_room(&state, 0, 0) {
            state.remove(place.id.0);
            return SessionId::NONE;
        }
        place.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, sessions: usize, partitions: usize) -> bool {
        let partitions_max = self.sessions_max.saturating_mul(PARTITIONS_EACH);
        state.kept.len().saturating_add(sessions) <= self.sessions_max
            && state.partitions.saturating_add(partitions) <= partitions_max
    }
}

impl State {
    fn remove(&mut self, id: i32) {
        if let Some(kept) = self.kept.remove(&id) {
            self.partitions = self.partitions.saturating_sub(kept.partitions);
        }
    }

    /// The session that gives way to one of this worth.
    fn least(&self, worth: (bool, usize), now: Duration) -> Option<i32> {
        let has_passed = |since: Duration| KEPT_MIN <= now.saturating_sub(since);
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
        if let Some((id, _)) = oldest.filter(|(_, kept)| has_passed(kept.used)) {
            return Some(*id);
        }
        let (is_follower, _) = worth;
        let may_go = |kept: &Kept| has_passed(kept.began) || (is_follower && !kept.kind.is_follower);
        let candidates = self.kept.iter().filter(|(_, kept)| may_go(kept) && kept.worth() < worth);
        candidates.min_by_key(|(_, kept)| kept.worth()).map(|(id, _)| *id)
    }
}

impl Kept {
    fn worth(&self) -> (bool, usize) {
        (self.kind.is_follower, self.partitions)
    }

    /// Whether the request that holds the place was the last to take the session.
    fn is_of(&self, place: &Place<'_>) -> bool {
        self.session.is_none() && self.next_epoch == place.next_epoch
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        if state.kept.get(&self.id.0).is_some_and(|kept| kept.is_of(self)) {
            state.remove(self.id.0);
        }
    }
}

#[cfg(test)]
#[path = "fetch_sessions_test.rs"]
mod tests;
