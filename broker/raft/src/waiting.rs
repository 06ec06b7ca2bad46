//! Fetches that the leader holds back until it has something new.

use std::time::Duration;

use protocol::types::Offset;

use crate::event::Token;
use crate::identity::ReplicaKey;

/// Any further one is answered at once.
const WAITING_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    fetches: Vec<WaitingFetch>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitingFetch {
    pub(crate) token: Token,
    pub(crate) replica: ReplicaKey,
    pub(crate) offset: Offset,
    /// The high watermark that the follower knows.
    pub(crate) known: Option<Offset>,
    pub(crate) deadline: Duration,
}

impl Waiting {
    /// A replica has one fetch: an earlier one is returned, because its sender has given it up. So is the new one if
    /// there is no room.
    pub(crate) fn add(&mut self, fetch: WaitingFetch) -> Option<WaitingFetch> {
        let earlier = self.fetches.iter().position(|waiting| waiting.replica == fetch.replica);
        let displaced = earlier.map(|at| self.fetches.swap_remove(at));
        if WAITING_MAX <= self.fetches.len() {
            return Some(fetch);
        }
        self.fetches.push(fetch);
        displaced
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.fetches.iter().map(|fetch| fetch.deadline).min()
    }

    /// Those for which there is something, or whose time is over.
    pub(crate) fn take(&mut self, is_ready: impl Fn(&WaitingFetch) -> bool) -> Vec<WaitingFetch> {
        let (ready, waiting) = self.fetches.drain(..).partition(is_ready);
        self.fetches = waiting;
        ready
    }
}
