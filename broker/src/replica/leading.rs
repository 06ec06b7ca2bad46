//! The leader of a partition: appends for producers, serves followers and records their positions, commits, and
//! proposes ISRs to the controller. The decisions are [`LeaderState`]'s.

use std::sync::Arc;

use protocol::metadata_records::LeaderRecoveryState;
use protocol::produce::CheckedBatch;
use protocol::types::{BrokerId, LeaderEpoch, Offset, Timestamp};
use storage::{Log, LogPosition, Retention, SegmentDeletion, UpTo};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::access::{
    AccessError, CommitDue, DeleteRecordsError, FetchError, FetchPosition, FollowerRead, NewLogStart, ProduceError,
    Readable, RequiredAcks, ServedBy, Written,
};
use super::follower_state::FollowerState;
use super::leader_state::{FollowerFetch, IsrChange, IsrProposal, Judgement, LeaderState, ProposalOutcome};
use super::leadership::Leadership;
use super::partition::{Partition, Role, State};
use super::waiters::Waiter;
use crate::clock;
use crate::metadata::PartitionImage;

const UNKNOWN_LOSS: &str =
    "RECOVERING: nobody is left who is known to have everything; records that this log does not have are lost";

impl Partition {
    /// Follows the metadata: leader, epoch and ISR. Stale metadata (an older leader epoch) is ignored. Returns the
    /// leadership of this broker that begins with it, if any.
    pub(crate) fn follow_metadata(
        self: &Arc<Self>,
        partition: &PartitionImage,
        local: BrokerId,
    ) -> Result<Option<Leadership>, AccessError> {
        let mut state = self.state()?;
        let State { log, role, .. } = &mut *state;
        let (leader, epoch) = (partition.leader, partition.leader_epoch);
        let mut begun = None;
        let is_new = match role {
            Role::Leader(leading) if epoch < leading.epoch => return Ok(None),
            Role::Leader(leading) if leader == Some(local) && epoch == leading.epoch => {
                leading.follow(partition);
                false
            }
            Role::Follower(following) if leader == following.leader && epoch == following.epoch => {
                following.is_in_sync = partition.isr.contains(&local);
                return Ok(None);
            }
            Role::Unknown | Role::Leader(_) | Role::Follower(_) => true,
        };
        if is_new && leader == Some(local) {
            let log_end = log.log_end().offset;
            begun = Some(Leadership { partition: self.name.clone(), epoch, log_end, isr: partition.isr.clone() });
            if partition.recovery_state == LeaderRecoveryState::Recovering {
                warn!(partition = %self.name, %log_end, "{}", UNKNOWN_LOSS);
            }
            let leading = LeaderState::new(partition, local, log_end, clock::monotonic());
            *role = Role::Leader(match role {
                Role::Leader(before) => leading.leading_on(before),
                Role::Unknown | Role::Follower(_) => leading,
            });
            log.begin_epoch(epoch);
        } else if is_new {
            let mut following = FollowerState::new(leader, epoch);
            following.is_in_sync = partition.isr.contains(&local);
            *role = Role::Follower(following);
        }
        let review = self.review(&mut state);
        let sync_due = state.log.replicated_end().is_none();
        drop(state);
        self.shared.followed.set(self, leader.filter(|leader| *leader != local));
        if is_new {
            self.wake_everybody();
        }
        self.carry_out(review);
        if sync_due {
            self.ask_for_sync();
        }
        Ok(begun)
    }

    pub(crate) fn leads(&self) -> bool {
        self.state().is_ok_and(|state| matches!(state.role, Role::Leader(_)))
    }

    pub(crate) fn append_as_leader(
        self: &Arc<Self>,
        batch: &CheckedBatch,
        acks: RequiredAcks,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        self.append(batch, acks, None, now)
    }

    /// Appends only if `epoch` is still current: a coordinator's decision does not outlive its leadership.
    pub(super) fn append_in_epoch(
        self: &Arc<Self>,
        batch: &CheckedBatch,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        self.append(batch, RequiredAcks::All, Some(epoch), now)
    }

    fn append(
        self: &Arc<Self>,
        batch: &CheckedBatch,
        acks: RequiredAcks,
        claimed: Option<LeaderEpoch>,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        let space = &self.shared.space;
        // A coordinator writes little, and consumers must be able to go on while the volume is nearly full.
        let is_full = if claimed.is_some() { space.is_exhausted() } else { space.is_low() };
        if is_full {
            return Err(ProduceError::DiskFull { available: space.available_bytes() });
        }
        let (written, committed) = {
            let mut state = self.state()?;
            let epoch = self.leader(&state)?.epoch;
            check_claim(claimed, epoch)?;
            if acks == RequiredAcks::All {
                self.check_isr(&state)?;
            }
            let appended = state.log.append_as_leader(batch, epoch, now);
            let appended = appended.inspect_err(|error| self.write_failed(error))?;
            let sync_due = state.log.sync_due(&appended);
            let committed = self.advance_high_watermark(&mut state);
            let end = appended.last_offset.advance(1);
            let is_committed = end <= state.log.high_watermark().offset;
            let commit_due = (acks == RequiredAcks::All && !is_committed).then_some(CommitDue { end, epoch });
            (Written { log_start: state.log.log_start(), appended, sync_due, commit_due }, committed)
        };
        if !written.appended.duplicate {
            let bytes = batch.bytes.len() as u64;
            self.shared.space.appended(bytes);
            self.count_unflushed(bytes);
            self.follower_waiters.wake_all();
        }
        self.tell_committed(committed);
        if written.sync_due.is_some() {
            self.ask_for_sync();
        }
        Ok(written)
    }

    /// Waits until what was written is committed, and only while this broker leads and has followed no other since.
    pub(crate) async fn committed(&self, due: CommitDue, deadline: Instant) -> Result<(), ProduceError> {
        loop {
            let waiter = Arc::new(Waiter::default());
            self.commit_waiters.register_for(due.end, &waiter);
            let (is_committed, isr) = self.commit_state(due)?;
            if is_committed {
                return isr;
            }
            if timeout_at(deadline, waiter.woken()).await.is_err() {
                return Err(isr.err().unwrap_or(ProduceError::NotCommittedInTime));
            }
        }
    }

    /// Whether it is committed, and whether enough replicas are in sync now. An error: this broker no longer leads,
    /// or has followed another leader in between.
    pub(super) fn commit_state(&self, due: CommitDue) -> Result<(bool, Result<(), ProduceError>), ProduceError> {
        let state = self.state()?;
        if !self.leader(&state)?.has_kept(due.epoch) {
            return Err(AccessError::NotLeader(self.name.clone()).into());
        }
        let isr = self.check_isr(&state).map_err(ProduceError::after_append);
        Ok((due.end <= state.log.high_watermark().offset, isr))
    }

    /// Where a reader that last read `epoch` diverges from this log: the last common epoch and its end. `None`:
    /// everything the reader has is here (KIP-320).
    pub(crate) fn divergence(
        &self,
        epoch: LeaderEpoch,
        position: FetchPosition,
    ) -> Result<Option<(LeaderEpoch, Offset)>, FetchError> {
        let state = self.state()?;
        let current = self.check_epoch(&state, position)?;
        divergence(&state.log, epoch, position.offset, current)
    }

    /// The largest epoch up to `epoch` and its end offset; `None` for an epoch that has not begun (KIP-320).
    pub(crate) fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<(LeaderEpoch, Offset)>, AccessError> {
        self.with_leading_log(leader_epoch, |log, current| log.end_offset_for_epoch(epoch, current))
    }

    /// Reads positions of the log for `ListOffsets`, if this broker leads it.
    pub(crate) fn with_leading_log<T>(
        &self,
        leader_epoch: Option<LeaderEpoch>,
        read: impl FnOnce(&Log, LeaderEpoch) -> T,
    ) -> Result<T, AccessError> {
        let state = self.state()?;
        let current = self.leader(&state)?.epoch;
        check_claim(leader_epoch, current)?;
        Ok(read(&state.log, current))
    }

    /// Locates the records without reading them.
    pub(crate) fn locate(&self, position: FetchPosition) -> Result<Readable, FetchError> {
        let state = self.state()?;
        self.check_epoch(&state, position)?;
        let located = state.log.locate(position.offset, UpTo::HighWatermark, position.bytes_max)?;
        let high_watermark = state.log.high_watermark();
        Ok(Readable {
            located,
            high_watermark: high_watermark.offset,
            end: high_watermark,
            log_start: state.log.log_start(),
            is_settled: high_watermark.offset <= position.offset,
            is_throttled: false,
        })
    }

    /// Records a follower's position, and locates what it lacks. `position` is beyond the follower's offset if
    /// compaction has left nothing there.
    pub(crate) fn fetch_as_follower(
        self: &Arc<Self>,
        fetch: &FollowerFetch,
        position: FetchPosition,
        last_epoch: Option<LeaderEpoch>,
    ) -> Result<FollowerRead, FetchError> {
        let mut state = self.state()?;
        let current = self.leader(&state)?.epoch;
        // A follower that sends no epoch may not know this leader yet, so its log cannot be assumed to match.
        check_claim(Some(position.leader_epoch.unwrap_or(LeaderEpoch(-1))), current)?;
        if let Some(epoch) = last_epoch
            && let Some((epoch, end)) = divergence(&state.log, epoch, fetch.offset, current)?
        {
            return Ok(FollowerRead::Diverging(epoch, end));
        }
        let located = state.log.locate(position.offset, UpTo::LogEnd, position.bytes_max)?;
        let end = state.log.log_end();
        let State { role: Role::Leader(leader), .. } = &mut *state else {
            return Err(AccessError::NotLeader(self.name.clone()).into());
        };
        leader.fetched(fetch, end.offset, &self.shared.brokers.load(), clock::monotonic())?;
        let is_in_sync = leader.isr().contains(&fetch.broker);
        let mut review = Review { committed: self.advance_high_watermark(&mut state), proposal: None };
        if !is_in_sync {
            review.proposal = self.propose(&mut state);
        }
        let high_watermark = state.log.high_watermark().offset;
        let log_start = state.log.log_start();
        drop(state);
        self.carry_out(review);
        // A replica that is not in sync may be able to join with each of its fetches.
        let is_settled = is_in_sync && end.offset <= fetch.offset;
        self.deletion_waiters.wake_all();
        let is_throttled = !is_in_sync && self.settings().throttled_leaders.contains(self.name.partition);
        Ok(FollowerRead::Readable(Readable { located, high_watermark, end, log_start, is_settled, is_throttled }))
    }

    /// Advances the log start, and drops the segments before it. Returns the new log start.
    pub(super) fn delete_records(
        &self,
        start: NewLogStart,
        now: Timestamp,
    ) -> Result<(Offset, Option<SegmentDeletion>), DeleteRecordsError> {
        let mut state = self.state()?;
        self.leader(&state)?;
        if !self.settings().records_deletable {
            return Err(DeleteRecordsError::Policy(self.name.clone()));
        }
        let start = match start {
            NewLogStart::At(offset) => offset,
            NewLogStart::AtHighWatermark => state.log.high_watermark().offset,
        };
        state.log.advance_log_start(start)?;
        let deletion = state.log.delete_old_segments(&Retention::default(), now);
        let deletion = deletion.inspect_err(|error| self.write_failed(error))?;
        let log_start = state.log.log_start();
        drop(state);
        self.follower_waiters.wake_all();
        Ok((log_start, deletion))
    }

    /// Periodically, and when other brokers become active: decides which followers are late or may join, and commits.
    pub(super) fn review_followers(self: &Arc<Self>) {
        if let Ok(mut state) = self.state() {
            let review = self.review(&mut state);
            drop(state);
            self.carry_out(review);
            self.deletion_waiters.wake_all();
        }
    }

    /// Takes the outcome of a proposal. `None`: it was out of date.
    pub(super) fn resolve(self: &Arc<Self>, proposal: &IsrProposal, outcome: ProposalOutcome) -> Option<IsrChange> {
        let mut state = self.state().ok()?;
        let Role::Leader(leader) = &mut state.role else { return None };
        let refused = outcome == ProposalOutcome::Refused;
        let change = leader.resolve(proposal, outcome)?;
        let isr: Vec<_> = proposal.isr.iter().map(|(broker, _)| broker).collect();
        let news = if refused { "ISR change refused" } else { "ISR changed" };
        info!(partition = %self.name, ?isr, "{news}");
        // A refused proposal is repeated only at the next fetch or review.
        let review = if refused {
            Review { committed: self.advance_high_watermark(&mut state), proposal: None }
        } else {
            self.review(&mut state)
        };
        drop(state);
        self.carry_out(review);
        Some(change)
    }

    /// Followers from which a consumer at `offset` can read, with their log ends (KIP-392).
    pub(crate) fn readable_followers(&self, offset: Offset) -> Vec<(BrokerId, Offset)> {
        match self.state() {
            Ok(state) => match &state.role {
                Role::Leader(leader) => leader.readable_followers(offset).collect(),
                Role::Unknown | Role::Follower(_) => Vec::new(),
            },
            Err(_) => Vec::new(),
        }
    }

    /// Whether the outcome is still unknown.
    pub(super) fn still_proposes(&self, proposal: &IsrProposal) -> bool {
        let Ok(state) = self.state() else { return false };
        matches!(&state.role, Role::Leader(leader) if leader.proposal() == Some(proposal))
    }

    pub(super) fn leader<'a>(&self, state: &'a State) -> Result<&'a LeaderState, AccessError> {
        match &state.role {
            Role::Leader(leader) => Ok(leader),
            Role::Unknown | Role::Follower(_) => Err(AccessError::NotLeader(self.name.clone())),
        }
    }

    /// The current epoch, if this replica may serve the consumer.
    fn check_epoch(&self, state: &State, position: FetchPosition) -> Result<LeaderEpoch, AccessError> {
        let current = match (&state.role, position.served_by) {
            (Role::Leader(leader), _) => leader.epoch,
            (Role::Follower(follower), ServedBy::AnyReplica) => follower.epoch,
            _ => return Err(AccessError::NotLeader(self.name.clone())),
        };
        check_claim(position.leader_epoch, current).map(|()| current)
    }

    fn check_isr(&self, state: &State) -> Result<(), ProduceError> {
        let leader = self.leader(state)?;
        let min_insync_replicas = leader.isr_count_min(self.settings().min_insync_replicas);
        let isr_count = leader.isr().len();
        if isr_count < min_insync_replicas {
            return Err(ProduceError::NotEnoughReplicas { isr_count, min_insync_replicas });
        }
        Ok(())
    }

    /// Returns the new high watermark, if it has advanced.
    pub(super) fn advance_high_watermark(&self, state: &mut State) -> Option<Offset> {
        let State { log, role: Role::Leader(leader), .. } = state else { return None };
        let (local, log_end) = (log.replicated_end()?, log.log_end().offset);
        let brokers = self.shared.brokers.load();
        let judgement = Judgement { brokers: &brokers, lag_max: self.shared.lag_max, now: clock::monotonic() };
        let min_insync_replicas = self.settings().min_insync_replicas;
        let committed = leader.committed_end((local.offset, log_end), min_insync_replicas, &judgement)?;
        if committed <= log.high_watermark().offset {
            return None;
        }
        let position = if committed == local.offset { local } else { self.position_of(log, committed)? };
        let moves = log.high_watermark().offset < position.offset;
        moves.then(|| log.set_high_watermark(position))?;
        Some(position.offset)
    }

    pub(super) fn position_of(&self, log: &Log, offset: Offset) -> Option<LogPosition> {
        let position = log.position_of(offset);
        position
            .inspect_err(|error| error!(partition = %self.name, %offset, %error, "high watermark not advanced"))
            .ok()
    }

    fn propose(&self, state: &mut State) -> Option<IsrProposal> {
        let State { log, role: Role::Leader(leader), .. } = state else { return None };
        let brokers = self.shared.brokers.load();
        let judgement = Judgement { brokers: &brokers, lag_max: self.shared.lag_max, now: clock::monotonic() };
        leader.propose(log.high_watermark().offset, log.log_end().offset, &judgement)
    }

    fn review(&self, state: &mut State) -> Review {
        Review { committed: self.advance_high_watermark(state), proposal: self.propose(state) }
    }

    fn carry_out(self: &Arc<Self>, review: Review) {
        self.tell_committed(review.committed);
        if let Some(proposal) = review.proposal {
            self.shared.proposals.push(self.clone(), proposal);
        }
    }

    pub(super) fn tell_committed(&self, committed: Option<Offset>) {
        if let Some(end) = committed {
            self.waiters.wake_all();
            self.commit_waiters.wake_reached(end);
        }
    }
}

/// The result of a review, to be carried out once the lock is free.
#[must_use]
struct Review {
    committed: Option<Offset>,
    proposal: Option<IsrProposal>,
}

fn check_claim(claimed: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), AccessError> {
    match claimed {
        Some(claimed) if claimed < current => Err(AccessError::FencedLeaderEpoch { claimed, current }),
        Some(claimed) if current < claimed => Err(AccessError::UnknownLeaderEpoch { claimed, current }),
        _ => Ok(()),
    }
}

fn divergence(
    log: &Log,
    epoch: LeaderEpoch,
    offset: Offset,
    current: LeaderEpoch,
) -> Result<Option<(LeaderEpoch, Offset)>, FetchError> {
    // Deleted offsets cannot be compared.
    log.check_range(offset.min(log.log_end().offset))?;
    let known = log.end_offset_for_epoch(epoch, current);
    let Some((found, end)) = known else {
        warn!(directory = %log.directory().display(), %epoch, %current, "fetch with a leader epoch that has not begun");
        return Err(FetchError::UnknownLastEpoch { epoch, current });
    };
    Ok((found < epoch || end < offset).then_some((found, end)))
}
