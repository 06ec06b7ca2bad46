//! Restores a follower from its leader's snapshot: fetches the bytes, has them checked, restarts the log.

use crate::action::{Action, Report};
use crate::control::Quorum;
use crate::identity::SnapshotId;
use crate::raft::Raft;
use crate::requests::{FetchSnapshotResponse, Refusal};
use crate::role::{Role, SnapshotFetch};

impl Raft {
    pub(crate) fn begin_snapshot(&mut self, id: SnapshotId) {
        if self.log.covers(id) || id.end_offset < self.high_watermark {
            let epoch = self.election.epoch;
            self.actions.push(Action::Report(Report::UselessSnapshot { epoch, id }));
            self.put_off_fetch();
            return;
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.snapshot = Some(SnapshotFetch { id, position: 0, is_complete: false });
        }
    }

    pub(crate) fn on_snapshot_response(&mut self, response: &FetchSnapshotResponse, size: i64, length: i64) {
        let is_gone = matches!(response.error, Some(Refusal::SnapshotNotFound | Refusal::PositionOutOfRange));
        if !self.leader_answered(response.error.is_some() && !is_gone) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(fetch) = &mut follower.snapshot else { return };
        let end = fetch.position.saturating_add(length);
        let is_expected = response.id == fetch.id && response.position == fetch.position;
        if is_gone || !is_expected || length <= 0 || size < end {
            // There may be a later one by now: ask again from the log end.
            follower.snapshot = None;
            self.put_off_fetch();
            return;
        }
        let (id, position) = (fetch.id, fetch.position);
        fetch.position = end;
        fetch.is_complete = end == size;
        let is_complete = fetch.is_complete;
        self.actions.push(Action::WriteSnapshot { id, position });
        if is_complete {
            self.actions.push(Action::FinishSnapshot { id });
        }
    }

    /// The leader may have changed, and the log grown, while the snapshot was checked.
    pub(crate) fn on_snapshot_finished(&mut self, id: SnapshotId, quorum: Quorum) {
        if self.take_snapshot(id).is_none() || self.log.covers(id) || id.end_offset < self.high_watermark {
            return;
        }
        self.log.restart_at(id, quorum);
        self.actions.push(Action::RestartLog { id, generation: self.log.generation() });
        self.advance_high_watermark(id.end_offset);
    }

    pub(crate) fn on_snapshot_damaged(&mut self, id: SnapshotId) {
        if self.take_snapshot(id).is_some() {
            self.actions.push(Action::Report(Report::DamagedSnapshot(id)));
            self.put_off_fetch();
        }
    }

    /// The fetched snapshot, if it is complete and the follower is still waiting for it.
    fn take_snapshot(&mut self, id: SnapshotId) -> Option<SnapshotFetch> {
        let fetch_deadline = self.after(self.config.timing.fetch_timeout);
        let Role::Follower(follower) = &mut self.role else { return None };
        let taken = follower.snapshot.take_if(|fetch| fetch.is_complete && fetch.id == id);
        if taken.is_some() {
            follower.fetch_deadline = fetch_deadline;
        }
        taken
    }
}
