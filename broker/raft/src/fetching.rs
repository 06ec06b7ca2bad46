//! Answers followers and observers: Fetch and FetchSnapshot.

use std::ops::Range;

use protocol::types::{LeaderEpoch, Offset};

use crate::action::{Action, Answer};
use crate::event::Token;
use crate::identity::ReplicaKey;
use crate::log_view::Position;
use crate::raft::Raft;
use crate::requests::{
    FetchContent, FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, Refusal,
};
use crate::role::Role;
use crate::waiting::{Waiting, WaitingFetch};

impl Raft {
    pub(crate) fn on_fetch(&mut self, token: Token, request: &FetchRequest) {
        if let Err(refusal) = self.check_fetch(request) {
            return self.answer_fetch(token, Err(refusal));
        }
        let position = self.log.position(request.offset, request.last_fetched_epoch);
        let common = match &position {
            Position::Valid | Position::BeforeStart => request.offset,
            Position::Diverging { end_offset, .. } => request.offset.min(*end_offset),
        };
        if self.has_gone_back(request.replica, common) {
            return self.answer_fetch(token, Err(Refusal::VolumeWentBack));
        }
        match position {
            Position::Valid => {
                self.note_fetch(request.replica, Some(request.offset));
                self.hold_back(token, request);
            }
            Position::Diverging { epoch, end_offset } => {
                self.note_fetch(request.replica, None);
                self.answer_fetch(token, Ok(FetchContent::Diverging { epoch, end_offset }));
            }
            Position::BeforeStart => {
                self.note_fetch(request.replica, None);
                let snapshot = self.log.snapshot().map(FetchContent::Snapshot);
                self.answer_fetch(token, snapshot.ok_or(Refusal::SnapshotNotFound));
            }
        }
    }

    fn check_fetch(&self, request: &FetchRequest) -> Result<(), Refusal> {
        if request.offset.0 < 0 || request.last_fetched_epoch.0 < 0 {
            return Err(Refusal::InvalidRequest("offsets and epochs of a replica are not negative"));
        }
        self.check_follower(request.replica, request.epoch)
    }

    /// Only the leader answers, and only replicas in its epoch.
    fn check_follower(&self, replica: ReplicaKey, epoch: LeaderEpoch) -> Result<(), Refusal> {
        if replica.id.0 < 0 || self.is_local(replica.id) {
            return Err(Refusal::InvalidRequest("the id is not that of another replica"));
        }
        if epoch < self.election.epoch {
            return Err(Refusal::FencedLeaderEpoch);
        }
        if self.election.epoch < epoch {
            return Err(Refusal::UnknownLeaderEpoch);
        }
        if let Role::Leader(_) = &self.role { Ok(()) } else { Err(Refusal::NotLeader) }
    }

    /// All valid fetches wait; those for which there is something, only until the end of the step.
    fn hold_back(&mut self, token: Token, request: &FetchRequest) {
        let deadline = self.after(request.wait_max.min(self.config.timing.fetch_wait_max));
        let (replica, offset, known) = (request.replica, request.offset, request.high_watermark);
        let Role::Leader(leader) = &mut self.role else { return };
        let displaced = leader.waiting.add(WaitingFetch { token, replica, offset, known, deadline });
        if let Some(fetch) = displaced {
            self.answer_records(fetch.token, fetch.offset..fetch.offset);
        }
    }

    pub(crate) fn answer_waiting(&mut self) {
        let (now, log_end, high_watermark) = (self.moment.now, self.log.end(), self.told_high_watermark());
        let Role::Leader(leader) = &mut self.role else { return };
        let is_behind = |known| Some(known) < high_watermark;
        let has_news = |fetch: &WaitingFetch| fetch.offset < log_end || fetch.known.is_some_and(is_behind);
        for fetch in leader.waiting.take(|fetch| has_news(fetch) || fetch.deadline <= now) {
            self.answer_records(fetch.token, fetch.offset..log_end);
        }
    }

    pub(crate) fn refuse_waiting(&mut self, mut waiting: Waiting) {
        for fetch in waiting.take(|_| true) {
            self.answer_fetch(fetch.token, Err(Refusal::NotLeader));
        }
    }

    fn answer_records(&mut self, token: Token, records: Range<Offset>) {
        let response = self.fetch_response(None, FetchContent::Records);
        self.actions.push(Action::Answer { token, answer: Answer::Fetch { response, records } });
    }

    fn answer_fetch(&mut self, token: Token, content: Result<FetchContent, Refusal>) {
        let error = content.as_ref().err().copied();
        let response = self.fetch_response(error, content.unwrap_or(FetchContent::Records));
        let none = self.log.end()..self.log.end();
        self.answer(token, Answer::Fetch { response, records: none });
    }

    fn fetch_response(&self, error: Option<Refusal>, content: FetchContent) -> FetchResponse {
        let high_watermark = self.told_high_watermark();
        FetchResponse { error, leader: self.told_leader(), high_watermark, log_start: self.log.start(), content }
    }

    fn told_high_watermark(&self) -> Option<Offset> {
        self.leading().filter(|leading| leading.is_activated).map(|_| self.high_watermark)
    }

    pub(crate) fn on_fetch_snapshot(&mut self, token: Token, request: &FetchSnapshotRequest) {
        let error = self.check_fetch_snapshot(request).err();
        let &FetchSnapshotRequest { replica, id, position, .. } = request;
        if error.is_none() {
            self.note_fetch(replica, None);
        }
        let response = FetchSnapshotResponse { error, leader: self.told_leader(), id, position };
        self.answer(token, Answer::FetchSnapshot(response));
    }

    fn check_fetch_snapshot(&self, request: &FetchSnapshotRequest) -> Result<(), Refusal> {
        self.check_follower(request.replica, request.epoch)?;
        if request.position < 0 {
            return Err(Refusal::PositionOutOfRange);
        }
        // Whether an earlier snapshot is still there is for the runtime to see.
        if self.log.snapshot().is_none_or(|latest| latest < request.id) {
            return Err(Refusal::SnapshotNotFound);
        }
        Ok(())
    }
}
