//! A partition of `__consumer_offsets` that this broker leads, with its shard once it is loaded.

use std::sync::{Mutex, MutexGuard};

use protocol::produce::CheckedBatch;
use protocol::types::{Offset, Timestamp};

use super::error::Unavailable;
use super::log::{GroupLogs, LogError, Term};
use super::shard::{Shard, ShardLog};

pub(super) struct Place {
    pub(super) term: Term,
    /// The shard, or why there is none.
    shard: Mutex<Result<Shard, Unavailable>>,
}

/// One partition of the log, for its shard.
#[derive(Clone, Copy)]
pub(super) struct TermLog<'a> {
    pub(super) logs: &'a dyn GroupLogs,
    pub(super) term: Term,
}

impl Place {
    pub(super) fn loading(term: Term) -> Self {
        Self { term, shard: Mutex::new(Err(Unavailable::Loading)) }
    }

    /// A panic left the shard half changed: it must be loaded anew, into another place.
    pub(super) fn is_spoilt(&self) -> bool {
        self.shard.is_poisoned()
    }

    pub(super) fn shard(&self) -> MutexGuard<'_, Result<Shard, Unavailable>> {
        self.shard.lock().unwrap_or_else(|spoilt| {
            let mut shard = spoilt.into_inner();
            *shard = Err(Unavailable::Loading);
            shard
        })
    }

    pub(super) fn loaded(&self, shard: Shard) {
        *self.shard() = Ok(shard);
    }

    /// Drops the shard: callers that wait are told that another broker coordinates the group.
    pub(super) fn give_up(&self) {
        let former = std::mem::replace(&mut *self.shard(), Err(Unavailable::NotCoordinator));
        drop(former);
    }
}

impl TermLog<'_> {
    /// Answers what is committed by now, and watches the high watermark if anything still waits for it.
    pub(super) fn answer_committed(self, shard: &mut Shard) {
        let follow = |shard: &mut Shard| {
            if let Ok(high_watermark) = self.logs.high_watermark(self.term) {
                shard.committed(high_watermark);
            }
        };
        if shard.waits_for_commit() {
            follow(shard);
        }
        if shard.waits_for_commit() {
            self.logs.watch_commits(self.term);
            // It may have advanced before the watch.
            follow(shard);
        }
    }
}

impl ShardLog for TermLog<'_> {
    fn age_now(&self) -> Timestamp {
        self.logs.age_now()
    }

    fn append(&mut self, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError> {
        self.logs.append(self.term, batch, now)
    }

    fn batch_bytes_max(&self) -> Result<usize, LogError> {
        self.logs.batch_bytes_max(self.term)
    }
}
