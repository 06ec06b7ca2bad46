//! Follows a leader: fetches, truncates where the logs diverge, notices that the leader is gone.

use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};

use crate::action::{Action, Failure, Report};
use crate::bugs::Bug;
use crate::event::{LogGeneration, SendFailure};
use crate::identity::{Address, Destination};
use crate::outbox::Purpose;
use crate::raft::Raft;
use crate::requests::{
    BatchSummary, FetchContent, FetchRequest, FetchResponse, FetchSnapshotRequest, Refusal, Request, UpdateVoterRequest,
};
use crate::role::{Follower, Role};
use crate::voters::Voter;

/// Pause between attempts at a leader that answers with an error.
const RETRY: Duration = Duration::from_millis(100);
/// Refused so often in a row, the leader's process is gone.
const REFUSED_MAX: u32 = 2;
/// So that voters that lose their leader at the same moment do not campaign at the same moment.
pub(crate) const LOST_JITTER: Duration = Duration::from_millis(50);

impl Raft {
    /// Takes the node for the leader of the epoch, unless another one is known.
    pub(crate) fn recognise(&mut self, leader: BrokerId, address: Option<Address>) {
        match self.election.leader {
            None if self.is_epoch_over => {}
            None => self.follow(leader, address),
            Some(known) if known == leader => {
                if let Role::Follower(follower) = &mut self.role {
                    follower.address = follower.address.take().or(address);
                }
            }
            Some(known) => {
                let epoch = self.election.epoch;
                self.actions.push(Action::Report(Report::TwoLeaders { epoch, known, claimed: leader }));
            }
        }
    }

    fn follow(&mut self, leader: BrokerId, address: Option<Address>) {
        self.election.leader = Some(leader);
        self.fruitless = 0;
        self.become_role(Role::Follower(Follower {
            leader,
            address,
            fetch_deadline: self.after(self.config.timing.fetch_timeout),
            is_attached: false,
            lost_at: None,
            refused: 0,
            is_reset: false,
            retry_at: self.moment.now,
            request: None,
            snapshot: None,
            update_at: self.moment.now,
        }));
    }

    /// Whether the leader has answered recently, and nothing since indicates that it is gone.
    pub(crate) fn has_live_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                follower.is_attached && follower.lost_at.is_none() && !self.is_due(follower.fetch_deadline)
            }
            Role::Unattached(_) | Role::Campaigning(_) => false,
        }
    }

    pub(crate) fn next_of_follower(&self, follower: &Follower) -> Option<Duration> {
        let is_busy = follower.request.is_some() || !self.may_fetch(follower);
        let retry_at = (!is_busy).then_some(follower.retry_at);
        follower.gone_at().into_iter().chain(retry_at).min()
    }

    /// A fetch acknowledges everything before its offset, so that must be durable.
    fn may_fetch(&self, follower: &Follower) -> bool {
        let is_durable = self.log.persisted() == self.log.end() || self.bug.is(Bug::AcknowledgementBeforePersisted);
        is_durable && !follower.snapshot.is_some_and(|snapshot| snapshot.is_complete)
    }

    /// True: it is no longer a follower.
    pub(crate) fn drive_follower(&mut self) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        if follower.gone_at().is_some_and(|gone_at| self.is_due(gone_at)) {
            self.leave_leader();
            return true;
        }
        if follower.request.is_none() && self.is_due(follower.retry_at) && self.may_fetch(follower) {
            return self.fetch();
        }
        false
    }

    fn fetch(&mut self) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        let (leader, snapshot) = (follower.leader, follower.snapshot);
        let Some(address) = self.address_of(leader).cloned() else {
            // Only the leader's id is known: ask a node that knows more.
            self.wait_for_leader();
            return true;
        };
        let (replica, epoch) = (self.config.local, self.election.epoch);
        let (purpose, request) = match snapshot {
            Some(snapshot) => {
                let (id, position) = (snapshot.id, snapshot.position);
                let request = FetchSnapshotRequest { replica, epoch, id, position };
                (Purpose::FetchSnapshot, Request::FetchSnapshot(request))
            }
            None => (Purpose::Fetch, Request::Fetch(self.next_fetch())),
        };
        let id = self.send(Destination { node: Some(leader), address }, purpose, request);
        if let Role::Follower(follower) = &mut self.role {
            follower.request = Some(id);
        }
        false
    }

    /// The fetch from the end of this log.
    fn next_fetch(&self) -> FetchRequest {
        FetchRequest {
            replica: self.config.local,
            epoch: self.election.epoch,
            offset: self.log.end(),
            last_fetched_epoch: self.log.last_epoch(),
            high_watermark: Some(self.high_watermark),
            wait_max: self.config.timing.fetch_wait_max,
        }
    }

    pub(crate) fn on_fetch_response(&mut self, response: &FetchResponse, batches: &[BatchSummary]) {
        if response.error == Some(Refusal::VolumeWentBack) {
            let (epoch, log_end) = (self.election.epoch, self.log.end());
            self.actions.push(Action::Fail(Failure::VolumeWentBack { epoch, log_end }));
        }
        if !self.leader_answered(response.error.is_some()) {
            return;
        }
        match response.content {
            FetchContent::Records => self.append_fetched(response.high_watermark, batches),
            FetchContent::Diverging { epoch, end_offset } => self.truncate(epoch, end_offset),
            FetchContent::Snapshot(id) => self.begin_snapshot(id),
        }
        self.correct_endpoints();
    }

    /// Notes that the leader is alive. False: it is, but has refused.
    pub(crate) fn leader_answered(&mut self, is_refusal: bool) -> bool {
        let (now, retry_at) = (self.moment.now, self.after(RETRY));
        let deadline = self.after(self.config.timing.fetch_timeout);
        let lost_at = self.after_jitter(LOST_JITTER);
        let Role::Follower(follower) = &mut self.role else { return false };
        follower.request = None;
        follower.refused = 0;
        follower.is_reset = false;
        if is_refusal {
            // To a follower of its own epoch a leader refuses nothing, except if it no longer leads.
            follower.retry_at = retry_at;
            follower.lost_at = follower.lost_at.or(Some(lost_at));
            return false;
        }
        follower.retry_at = now;
        follower.lost_at = None;
        follower.is_attached = true;
        follower.fetch_deadline = deadline;
        true
    }

    /// Delays the next attempt: the answer was of no use.
    pub(crate) fn put_off_fetch(&mut self) {
        let retry_at = self.after(RETRY);
        if let Role::Follower(follower) = &mut self.role {
            follower.retry_at = retry_at;
        }
    }

    fn append_fetched(&mut self, high_watermark: Option<Offset>, batches: &[BatchSummary]) {
        let base_offset = self.log.end();
        if !self.fits(batches) {
            let epoch = self.election.epoch;
            self.actions.push(Action::Report(Report::UnfitBatches { epoch, log_end: base_offset }));
            self.put_off_fetch();
            return;
        }
        for batch in batches {
            self.log.append(batch.epoch, batch.base_offset.advance(batch.count), &batch.control);
        }
        let end_offset = self.log.end();
        if base_offset < end_offset {
            self.actions.push(Action::AppendFetched { base_offset, end_offset });
        }
        if let Some(committed) = high_watermark {
            // As long as the leader has more, it is unknown how much of it was committed before.
            self.has_heard_commits |= committed <= end_offset;
            self.advance_high_watermark(committed.min(end_offset));
        }
    }

    /// Whether the batches continue the log without a gap, in non-decreasing epochs.
    fn fits(&self, batches: &[BatchSummary]) -> bool {
        let (mut next, mut epoch) = (self.log.end(), self.log.last_epoch());
        for batch in batches {
            let end = batch.base_offset.advance(batch.count);
            let in_order = batch.control.is_sorted_by_key(|(offset, _)| *offset);
            let within = batch.control.iter().all(|(offset, _)| (batch.base_offset..end).contains(offset));
            let continues = batch.base_offset == next && next < end;
            if !continues || batch.epoch < epoch || self.election.epoch < batch.epoch || !in_order || !within {
                return false;
            }
            (next, epoch) = (end, batch.epoch);
        }
        true
    }

    fn truncate(&mut self, epoch: LeaderEpoch, end_offset: Offset) {
        let mut to = self.log.divergence(epoch, end_offset);
        if self.bug.is(Bug::TruncationToHighWatermark) {
            to = self.high_watermark.min(self.log.end());
        }
        if to < self.high_watermark || self.log.end() <= to {
            let (epoch, high_watermark) = (self.election.epoch, self.high_watermark);
            let report = Report::TruncationBelowHighWatermark { epoch, end_offset, high_watermark };
            self.actions.push(Action::Report(report));
            self.put_off_fetch();
            return;
        }
        if self.bug.is(Bug::TruncationKeepsVoters) {
            self.log.drop_tail(to);
        } else {
            self.log.truncate(to);
        }
        self.actions.push(Action::Truncate { end_offset: to, generation: self.log.generation() });
    }

    pub(crate) fn on_persisted(&mut self, end_offset: Offset, generation: LogGeneration) {
        let of_any = self.bug.is(Bug::PersistedOfEarlierGeneration);
        self.log.persist(end_offset, if of_any { self.log.generation() } else { generation });
    }

    pub(crate) fn on_fetch_failed(&mut self, failure: SendFailure) {
        let (now, redial_at, retry_at) =
            (self.moment.now, self.after(self.config.timing.retry_backoff), self.after(RETRY));
        let lost_at = self.after_jitter(LOST_JITTER);
        let Role::Follower(follower) = &mut self.role else { return };
        follower.request = None;
        match failure {
            // At once the first time: another refusal would tell something.
            SendFailure::Reset => follower.retry_at = if follower.is_reset { redial_at } else { now },
            SendFailure::Refused => {
                follower.refused = follower.refused.saturating_add(1);
                follower.retry_at = redial_at;
                if REFUSED_MAX <= follower.refused && follower.lost_at.is_none() {
                    follower.lost_at = Some(lost_at);
                }
            }
            SendFailure::TimedOut | SendFailure::Unusable => follower.retry_at = retry_at,
        }
        follower.is_reset |= failure == SendFailure::Reset;
    }

    /// A voter whose record has other endpoints than its own asks the leader to correct it.
    fn correct_endpoints(&mut self) {
        let Role::Follower(follower) = &self.role else { return };
        let (leader, is_due) = (follower.leader, self.is_due(follower.update_at));
        let Some(voter) = self.own_correction().filter(|_| is_due && !self.outbox.has(Purpose::UpdateVoter)) else {
            return;
        };
        let Some(address) = self.address_of(leader).cloned() else { return };
        let request = Request::UpdateVoter(UpdateVoterRequest { epoch: self.election.epoch, voter });
        self.send(Destination { node: Some(leader), address }, Purpose::UpdateVoter, request);
        let again = self.after(self.config.timing.fetch_timeout);
        if let Role::Follower(follower) = &mut self.role {
            follower.update_at = again;
        }
    }

    /// This node's corrected voter record, if it is wrong.
    pub(crate) fn own_correction(&self) -> Option<Voter> {
        let record = self.voters().get(self.config.local.id).filter(|voter| voter.key == self.config.local)?;
        let differs = record.endpoints != self.config.endpoints && !self.config.endpoints.is_empty();
        differs.then(|| Voter { endpoints: self.config.endpoints.clone(), ..record.clone() })
    }
}
