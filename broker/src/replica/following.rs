//! The log of a follower: plans the next fetch, appends what the leader sends, and truncates where the logs diverge.
//! The decisions are [`LeaderAnswer::step`]'s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::types::{BrokerId, LeaderEpoch, Offset};
use storage::{FetchedBatches, Log, ReplicateError, TruncateError, UnsoundBatch};
use tracing::{info, warn};

use super::access::AccessError;
use super::follower_state::{FollowerState, LeaderAnswer, LocalLog, Step};
use super::partition::{Partition, Role, State};
use crate::bugs::{self, Bug};
use crate::clock;

/// Pause of a follower without space.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// The position of the next fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FetchPlan {
    pub(super) epoch: LeaderEpoch,
    pub(super) offset: Offset,
    /// The epoch of the last record.
    pub(super) last_epoch: Option<LeaderEpoch>,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
}

impl Answered {
    pub(super) fn without_records(answer: LeaderAnswer) -> Self {
        Self { answer, records: Bytes::new(), high_watermark: Offset(-1), log_start: Offset(-1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    Fetch(FetchPlan),
    Later(Duration),
    /// Not until a change, which will be notified.
    NotNow,
}

/// A leader's answer for one partition.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) answer: LeaderAnswer,
    pub(super) records: Bytes,
    pub(super) high_watermark: Offset,
    pub(super) log_start: Offset,
}

/// What is left to do, without the partition's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Pause,
    Shorten(Step),
    /// The log must restart at the first batch's offset, and then takes the same answer.
    BeginEarlier(Offset),
}

/// The progress of shortening a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortening {
    Done,
    /// The checkpoints must be written, and [`Partition::checkpointed`] called, before it continues.
    CheckpointFirst,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Unsound(#[from] UnsoundBatch),
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Checkpoint(#[from] storage::CheckpointError),
}

impl Partition {
    pub(super) fn plan_fetch(&self, leader: BrokerId, now: Duration) -> Planned {
        let Ok(state) = self.state() else { return Planned::NotNow };
        let Role::Follower(follower) = &state.role else { return Planned::NotNow };
        let log = &state.log;
        // If records must be on disk, the next fetch waits for that: its offset is an acknowledgement.
        let is_acknowledgeable =
            log.replicated_end() == Some(log.log_end()) || bugs::is_planted(Bug::AcknowledgementBeforeSync);
        if follower.leader != Some(leader) || log.is_offline() || !is_acknowledgeable {
            return Planned::NotNow;
        }
        if follower.is_paused(now) {
            return Planned::Later(follower.resumes_at());
        }
        if self.shared.space.is_exhausted() {
            return Planned::Later(now.saturating_add(FULL_PAUSE));
        }
        if self.is_throttled(follower)
            && let Some(at) = self.shared.throttles.follower.resumes_at(now)
        {
            return Planned::Later(at);
        }
        Planned::Fetch(FetchPlan {
            epoch: follower.epoch,
            offset: log.log_end().offset,
            last_epoch: log.leader_epochs().latest(),
            log_start: log.log_start(),
            high_watermark: log.high_watermark().offset,
        })
    }

    fn is_throttled(&self, follower: &FollowerState) -> bool {
        !follower.is_in_sync && self.settings().throttled_followers.contains(self.name.partition)
    }

    /// Ignores the answer to a fetch that is out of date.
    pub(super) fn take_answer(self: &Arc<Self>, plan: &FetchPlan, answered: Answered) -> Result<Next, FollowError> {
        // Without the lock: it reads every byte.
        let fetched = FetchedBatches::check_compacted(answered.records)?;
        let mut state = self.state()?;
        if !is_next(&state, plan) {
            return Ok(Next::Continue);
        }
        let State { log, role: Role::Follower(follower), .. } = &mut *state else { return Ok(Next::Continue) };
        let local = LocalLog {
            start: log.log_start(),
            end: plan.offset,
            compacted: log.compacted_end(),
            epochs: log.leader_epochs(),
        };
        match answered.answer.step(&local) {
            Step::Append => {
                if let Some(base) = begins_within(log, &fetched, answered.log_start) {
                    return Ok(Next::BeginEarlier(base));
                }
            }
            Step::Pause => return Ok(Next::Pause),
            Step::Truncate(_) if bugs::is_planted(Bug::TruncationToHighWatermark) => {
                return Ok(Next::Shorten(Step::Truncate(log.high_watermark().offset)));
            }
            step @ (Step::Truncate(_) | Step::Restart(_)) => return Ok(Next::Shorten(step)),
        }
        let unflushed_bytes = log.unflushed_bytes();
        let appended = log.append_as_follower(&fetched, plan.epoch, clock::wall());
        // Before an error some of the batches may have been written.
        let written_bytes = log.unflushed_bytes().saturating_sub(unflushed_bytes);
        let sync_due = 0 < written_bytes && log.is_sync_due();
        let committed = match &appended {
            Ok(_) => {
                follower.heard(answered.high_watermark);
                if self.is_throttled(follower) {
                    self.shared.throttles.follower.taken(written_bytes, clock::monotonic());
                }
                self.follow_positions(log, answered.high_watermark, answered.log_start)
            }
            Err(ReplicateError::Append(error)) => {
                self.write_failed(error);
                None
            }
            Err(_) => None,
        };
        drop(state);
        self.shared.space.appended(written_bytes);
        self.count_unflushed(written_bytes);
        self.tell_committed(committed);
        if sync_due {
            self.ask_for_sync();
        }
        appended?;
        Ok(Next::Continue)
    }

    /// Takes over the leader's high watermark and log start, as far as this log goes. Returns the newly committed
    /// end.
    fn follow_positions(&self, log: &mut Log, high_watermark: Offset, log_start: Offset) -> Option<Offset> {
        let known = high_watermark.min(log.log_end().offset);
        let mut committed = None;
        if log.high_watermark().offset < known
            && let Some(position) = self.position_of(log, known)
            && log.high_watermark().offset < position.offset
        {
            log.set_high_watermark(position);
            committed = Some(position.offset);
        }
        let start = log_start.min(log.high_watermark().offset);
        if log.log_start() < start
            && let Err(error) = log.advance_log_start(start)
        {
            warn!(partition = %self.name, %error, "log start of the leader not applied");
        }
        committed
    }

    pub(super) fn shorten(&self, plan: &FetchPlan, step: Step) -> Result<Shortening, FollowError> {
        let mut state = self.state()?;
        if !is_next(&state, plan) {
            return Ok(Shortening::Done);
        }
        let (log, now) = (&mut state.log, clock::wall());
        loop {
            let shortened = match step {
                Step::Truncate(offset) => log.truncate_to(offset, now),
                Step::Restart(offset) => log.restart_at(offset, now),
                Step::Append | Step::Pause => return Ok(Shortening::Done),
            };
            match shortened {
                Ok(()) => {
                    info!(partition = %self.name, log_end = %log.log_end().offset, ?step, "log shortened to follow the leader");
                    return Ok(Shortening::Done);
                }
                Err(TruncateError::NotPrepared { offset }) => {
                    if log.prepare_truncation(offset) {
                        return Ok(Shortening::CheckpointFirst);
                    }
                }
                Err(error) => {
                    if let TruncateError::Write(error) = &error {
                        self.write_failed(error);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    pub(super) fn checkpointed(&self) -> Result<(), AccessError> {
        self.with_log_mut(Log::truncation_prepared)
    }

    pub(super) fn pause_fetching(&self, epoch: LeaderEpoch, now: Duration, pause_max: Duration) {
        if let Ok(mut state) = self.state()
            && let Role::Follower(follower) = &mut state.role
            && follower.epoch == epoch
        {
            follower.pause(now, pause_max);
        }
    }

    /// Committed records that this follower lacks. `None`: it is not a follower.
    pub(crate) fn follower_lag(&self) -> Option<i64> {
        let state = self.state().ok()?;
        let Role::Follower(follower) = &state.role else { return None };
        Some(follower.leader_high_watermark.0.saturating_sub(state.log.log_end().offset.0).max(0))
    }
}

/// The offset of the first batch, if this log ends within it and the leader has deleted everything before: records
/// were deleted up to an offset inside a batch, which is fetched whole.
fn begins_within(log: &Log, fetched: &FetchedBatches, leader_start: Offset) -> Option<Offset> {
    let (end, first) = (log.log_end().offset, fetched.headers().first()?);
    let is_deleted = log.log_start() == end || end <= leader_start;
    (is_deleted && first.base_offset < end && end <= first.last_offset()).then_some(first.base_offset)
}

/// Whether the fetch belongs to the current leadership, and the log has not changed since.
fn is_next(state: &State, plan: &FetchPlan) -> bool {
    let Role::Follower(follower) = &state.role else { return false };
    follower.epoch == plan.epoch && state.log.log_end().offset == plan.offset
}
