//! One partition on this broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use storage::{
    AppendError, Appended, FlushJob, Flushed, InvalidLogStart, Located, Log, LogPosition, OutOfRange, Retention,
    SegmentDeletion, UpTo,
};

use super::settings::TopicSettings;
use super::waiters::{Waiter, Waiters};
use crate::clock;
use crate::metrics::TopicMetrics;

/// A replica. All changes happen under one lock, which is held for memory work and one write to the page cache; the
/// first write of a leader epoch and a new segment take a sync or two.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) metrics: Arc<TopicMetrics>,
    settings: ArcSwap<TopicSettings>,
    state: Mutex<State>,
    waiters: Waiters,
    unflushed_bytes: AtomicU64,
}

#[derive(Debug)]
struct State {
    log: Log,
    leadership: Option<Leadership>,
    /// See [`Partition::retire`].
    deleted: bool,
}

/// This broker leads the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) isr_count: usize,
}

/// `acks` of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequiredAcks {
    None,
    Leader,
    All,
}

/// Why a partition cannot be read or written by a client now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("this broker does not lead {0}")]
    NotLeader(TopicPartition),
    #[error("the client knows leader epoch {claimed}, this broker leads in {current}")]
    FencedLeaderEpoch { claimed: LeaderEpoch, current: LeaderEpoch },
    #[error("the client knows leader epoch {claimed}, which this broker has not heard of; it leads in {current}")]
    UnknownLeaderEpoch { claimed: LeaderEpoch, current: LeaderEpoch },
    #[error("{0} has been deleted")]
    Deleted(TopicPartition),
    #[error("the log of {0} is offline")]
    Offline(TopicPartition),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("{isr_count} replicas are in sync, min.insync.replicas asks for {min_insync_replicas}")]
    NotEnoughReplicas { isr_count: usize, min_insync_replicas: usize },
    #[error(transparent)]
    Append(#[from] AppendError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("the reader knows epoch {epoch}, which this leader of epoch {current} has not heard of")]
    UnknownLastEpoch { epoch: LeaderEpoch, current: LeaderEpoch },
}

/// Where the log is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewLogStart {
    At(Offset),
    AtHighWatermark,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteRecordsError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("cleanup.policy of {0} has no delete: its records are not deleted by offset")]
    Policy(TopicPartition),
    #[error(transparent)]
    LogStart(#[from] InvalidLogStart),
    #[error(transparent)]
    Segments(#[from] AppendError),
    #[error("the log start could not be written down: {0}")]
    NotDurable(String),
}

/// Where a consumer reads on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchPosition {
    pub(crate) offset: Offset,
    /// `None`: the client does not know.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) bytes_max: u32,
}

/// A batch in the log, and where the log begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) appended: Appended,
    pub(crate) log_start: Offset,
}

/// What a fetch finds, as of one moment.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) located: Located,
    pub(crate) high_watermark: LogPosition,
    pub(crate) log_start: Offset,
}

impl State {
    /// With nobody else in sync, what the leader has is committed. So it is when it begins to lead: after a crash the
    /// checkpoint knows less than the log.
    fn advance_high_watermark(&mut self) {
        if self.leadership.is_some_and(|leadership| leadership.isr_count == 1) {
            self.log.set_high_watermark(self.log.log_end());
        }
    }
}

impl Partition {
    pub(crate) fn new(
        name: TopicPartition,
        topic_id: TopicId,
        log: Log,
        settings: TopicSettings,
        metrics: Arc<TopicMetrics>,
    ) -> Self {
        Self {
            name,
            topic_id,
            metrics,
            settings: ArcSwap::from_pointee(settings),
            waiters: Waiters::default(),
            // What recovery found beyond the recovery point is not known to be on disk.
            unflushed_bytes: AtomicU64::new(log.unflushed_bytes()),
            state: Mutex::new(State { log, leadership: None, deleted: false }),
        }
    }

    pub(crate) fn settings(&self) -> Guard<Arc<TopicSettings>> {
        self.settings.load()
    }

    /// Holds from the next append on. A batch that was checked by the former rules is still written.
    pub(super) fn set_settings(&self, settings: TopicSettings) -> Result<(), AccessError> {
        let mut state = self.state()?;
        state.log.set_config(settings.log.clone());
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Follows the metadata: who leads, in which epoch. Waiting fetches look again.
    pub(crate) fn set_leadership(&self, leadership: Option<Leadership>) -> Result<(), AccessError> {
        let mut state = self.state()?;
        state.leadership = leadership;
        state.advance_high_watermark();
        drop(state);
        self.waiters.wake_all();
        Ok(())
    }

    /// The topic is deleted: once this returned, nothing is appended, and nothing is touched in the directory.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.deleted = true;
        state.log.abandon_directory();
        drop(state);
        self.waiters.wake_all();
    }

    /// Whoever has opened a file by its name asks this afterwards: the name may be another partition's by then.
    pub(crate) fn check_in_service(&self) -> Result<(), AccessError> {
        self.state().map(drop)
    }

    pub(crate) fn append_as_leader(
        &self,
        batch: &CheckedBatch,
        acks: RequiredAcks,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        let written = {
            let mut state = self.state()?;
            let leadership = state.leadership.ok_or_else(|| AccessError::NotLeader(self.name.clone()))?;
            let min_insync_replicas = self.settings.load().min_insync_replicas;
            if acks == RequiredAcks::All && leadership.isr_count < min_insync_replicas {
                return Err(ProduceError::NotEnoughReplicas { isr_count: leadership.isr_count, min_insync_replicas });
            }
            let appended = state.log.append_as_leader(batch, leadership.epoch, now)?;
            state.advance_high_watermark();
            Written { log_start: state.log.log_start(), appended }
        };
        if !written.appended.duplicate {
            self.unflushed_bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
            self.waiters.wake_all();
        }
        Ok(written)
    }

    /// Where this log and one that had last read `epoch` part: the last epoch in common and its end. `None`: the reader
    /// has nothing that is not here (KIP-320).
    pub(crate) fn divergence(
        &self,
        epoch: LeaderEpoch,
        position: FetchPosition,
    ) -> Result<Option<(LeaderEpoch, Offset)>, FetchError> {
        let state = self.state()?;
        let current = self.check_leader_epoch(&state, position.leader_epoch)?;
        // What is gone cannot be compared.
        state.log.check_range(position.offset.min(state.log.log_end().offset))?;
        let known = state.log.end_offset_for_epoch(epoch, current);
        let (found, end) = known.ok_or(FetchError::UnknownLastEpoch { epoch, current })?;
        Ok((found < epoch || end < position.offset).then_some((found, end)))
    }

    /// The greatest epoch up to `epoch` and where it ends; `None` for an epoch that has not begun (KIP-320).
    pub(crate) fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<(LeaderEpoch, Offset)>, AccessError> {
        let state = self.state()?;
        let current = self.check_leader_epoch(&state, leader_epoch)?;
        Ok(state.log.end_offset_for_epoch(epoch, current))
    }

    /// Moves the log start, and lets go of the segments before it. Returns where the log begins now.
    pub(super) fn delete_records(
        &self,
        start: NewLogStart,
        now: Timestamp,
    ) -> Result<(Offset, Option<SegmentDeletion>), DeleteRecordsError> {
        let mut state = self.state()?;
        self.check_leader_epoch(&state, None)?;
        if !self.settings().records_deletable {
            return Err(DeleteRecordsError::Policy(self.name.clone()));
        }
        let start = match start {
            NewLogStart::At(offset) => offset,
            NewLogStart::AtHighWatermark => state.log.high_watermark().offset,
        };
        state.log.advance_log_start(start)?;
        let deletion = state.log.delete_old_segments(&Retention::default(), now)?;
        Ok((state.log.log_start(), deletion))
    }

    /// Finds the records without reading them.
    pub(crate) fn locate(&self, position: FetchPosition) -> Result<Readable, FetchError> {
        let state = self.state()?;
        self.check_leader_epoch(&state, position.leader_epoch)?;
        let located = state.log.locate(position.offset, UpTo::HighWatermark, position.bytes_max)?;
        Ok(Readable { located, high_watermark: state.log.high_watermark(), log_start: state.log.log_start() })
    }

    /// Whether a reader may be at this offset.
    pub(crate) fn check_range(&self, offset: Offset) -> Result<(), FetchError> {
        Ok(self.state()?.log.check_range(offset)?)
    }

    /// Call this *before* [`Self::locate`].
    pub(crate) fn register(&self, waiter: &Arc<Waiter>) {
        self.waiters.register(waiter);
    }

    /// Reads positions of the log that this broker leads, and in which epoch, for `ListOffsets`.
    pub(crate) fn with_leading_log<T>(
        &self,
        leader_epoch: Option<LeaderEpoch>,
        read: impl FnOnce(&Log, LeaderEpoch) -> T,
    ) -> Result<T, AccessError> {
        let state = self.state()?;
        let current = self.check_leader_epoch(&state, leader_epoch)?;
        Ok(read(&state.log, current))
    }

    /// Reads positions of the log, whoever leads.
    pub(crate) fn with_log<T>(&self, read: impl FnOnce(&Log) -> T) -> Result<T, AccessError> {
        Ok(read(&self.state()?.log))
    }

    pub(crate) fn with_log_mut<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Result<T, AccessError> {
        Ok(change(&mut self.state()?.log))
    }

    pub(crate) fn leads(&self) -> bool {
        self.state().is_ok_and(|state| state.leadership.is_some())
    }

    /// Bytes appended since the last flush began.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn start_flush(&self) -> Result<FlushJob, AccessError> {
        let mut state = self.state()?;
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        Ok(state.log.start_flush(clock::wall()))
    }

    pub(super) fn finish_flush(&self, flushed: Flushed) -> Result<(), AccessError> {
        self.state()?.log.finish_flush(flushed);
        Ok(())
    }

    /// The epoch in which this broker leads.
    fn check_leader_epoch(&self, state: &State, claimed: Option<LeaderEpoch>) -> Result<LeaderEpoch, AccessError> {
        let current = state.leadership.ok_or_else(|| AccessError::NotLeader(self.name.clone()))?.epoch;
        match claimed {
            Some(claimed) if claimed < current => Err(AccessError::FencedLeaderEpoch { claimed, current }),
            Some(claimed) if current < claimed => Err(AccessError::UnknownLeaderEpoch { claimed, current }),
            _ => Ok(current),
        }
    }

    /// A thread that panicked inside left the log in doubt: it is offline from then on.
    fn state(&self) -> Result<MutexGuard<'_, State>, AccessError> {
        let state = self.state.lock().map_err(|_| AccessError::Offline(self.name.clone()))?;
        if state.deleted { Err(AccessError::Deleted(self.name.clone())) } else { Ok(state) }
    }
}
