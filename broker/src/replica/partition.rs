//! One partition on this broker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use storage::{AppendError, FlushError, LoadOptions, Log, Retention, SegmentDeletion, UpTo};
use tokio::time::{Instant, timeout_at};

use super::access::{
    AccessError, DeleteRecordsError, FetchError, FetchPosition, FlushFailure, NewLogStart, ProduceError, Readable,
    RequiredAcks, Written,
};
use super::flush_queue::{FlushQueue, SyncState};
use super::settings::TopicSettings;
use super::space::DiskSpace;
use super::waiters::{Waiter, Waiters};
use crate::clock;
use crate::metrics::TopicMetrics;

/// A replica. All changes happen under one lock, which is held for memory work and one write to the page cache, never
/// for a sync.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) metrics: Arc<TopicMetrics>,
    settings: ArcSwap<TopicSettings>,
    log: Loaded,
    waiters: Waiters,
    /// Producers, until what they wrote is synced.
    sync_waiters: Waiters,
    sync: Mutex<SyncState>,
    /// Held during a flush: those of one log are finished in the order they were started.
    flushing: Mutex<()>,
    unflushed_bytes: AtomicU64,
    /// In the queue of those that are to be flushed in time.
    is_dirty: AtomicBool,
    shared: Arc<Shared>,
}

/// What all partitions of a volume share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) flushes: FlushQueue,
    pub(crate) space: DiskSpace,
}

#[derive(Debug)]
enum Loaded {
    Online(Box<Mutex<State>>),
    /// It could not be opened, and stays as it is.
    Offline(Offline),
}

/// Why a log was not opened, and what the checkpoints are to go on saying of it.
#[derive(Debug)]
pub(super) struct Offline {
    pub(super) reason: String,
    pub(super) checkpointed: LoadOptions,
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

impl State {
    /// With nobody else in sync, what the leader has is committed. So it is when it begins to lead: after a crash the
    /// checkpoint knows less than the log.
    ///
    /// True: it has moved.
    fn advance_high_watermark(&mut self) -> bool {
        let alone = self.leadership.is_some_and(|leadership| leadership.isr_count == 1);
        let before = self.log.high_watermark().offset;
        let committed = self.log.replicated_end().filter(|end| alone && before < end.offset);
        committed.inspect(|end| self.log.set_high_watermark(*end)).is_some()
    }
}

impl Partition {
    pub(crate) fn new(
        name: TopicPartition,
        topic_id: TopicId,
        log: Log,
        settings: TopicSettings,
        metrics: Arc<TopicMetrics>,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        // What recovery found beyond the recovery point is not known to be on disk.
        let unflushed_bytes = log.unflushed_bytes();
        let state = State { log, leadership: None, deleted: false };
        let log = Loaded::Online(Box::new(Mutex::new(state)));
        let partition = Self::with(name, topic_id, log, settings, metrics, shared);
        partition.count_unflushed(unflushed_bytes);
        partition
    }

    pub(super) fn offline(
        name: TopicPartition,
        topic_id: TopicId,
        offline: Offline,
        settings: TopicSettings,
        metrics: Arc<TopicMetrics>,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        Self::with(name, topic_id, Loaded::Offline(offline), settings, metrics, shared)
    }

    fn with(
        name: TopicPartition,
        topic_id: TopicId,
        log: Loaded,
        settings: TopicSettings,
        metrics: Arc<TopicMetrics>,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            topic_id,
            metrics,
            settings: ArcSwap::from_pointee(settings),
            log,
            waiters: Waiters::default(),
            sync_waiters: Waiters::default(),
            sync: Mutex::default(),
            flushing: Mutex::default(),
            unflushed_bytes: AtomicU64::new(0),
            is_dirty: AtomicBool::new(false),
            shared: shared.clone(),
        })
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
    pub(crate) fn set_leadership(self: &Arc<Self>, leadership: Option<Leadership>) -> Result<(), AccessError> {
        let mut state = self.state()?;
        state.leadership = leadership;
        if let Some(leadership) = leadership {
            state.log.begin_epoch(leadership.epoch);
        }
        state.advance_high_watermark();
        let sync_due = state.log.replicated_end().is_none();
        drop(state);
        self.waiters.wake_all();
        if sync_due {
            self.ask_for_sync();
        }
        Ok(())
    }

    /// The topic is deleted: once this returned, nothing is appended, and nothing is touched in the directory.
    pub(super) fn retire(&self) {
        if let Loaded::Online(state) = &self.log {
            let mut state = lock(state);
            state.deleted = true;
            state.log.abandon_directory();
        }
        self.waiters.wake_all();
        self.sync_waiters.wake_all();
    }

    /// Whoever has opened a file by its name asks this afterwards: the name may be another partition's by then.
    pub(crate) fn check_in_service(&self) -> Result<(), AccessError> {
        self.state().map(drop)
    }

    pub(crate) fn append_as_leader(
        self: &Arc<Self>,
        batch: &CheckedBatch,
        acks: RequiredAcks,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        self.append(batch, acks, None, now)
    }

    /// Of one whose decision is worth nothing under a later leadership, as a coordinator's.
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
        epoch: Option<LeaderEpoch>,
        now: Timestamp,
    ) -> Result<Written, ProduceError> {
        if self.shared.space.is_low() {
            return Err(ProduceError::DiskFull { available: self.shared.space.available_bytes() });
        }
        let (written, committed) = {
            let mut state = self.state()?;
            let leadership = state.leadership.ok_or_else(|| AccessError::NotLeader(self.name.clone()))?;
            self.check_leader_epoch(&state, epoch)?;
            let min_insync_replicas = self.settings.load().min_insync_replicas;
            if acks == RequiredAcks::All && leadership.isr_count < min_insync_replicas {
                return Err(ProduceError::NotEnoughReplicas { isr_count: leadership.isr_count, min_insync_replicas });
            }
            let appended = state.log.append_as_leader(batch, leadership.epoch, now).inspect_err(|error| {
                if matches!(error, AppendError::NoSpace { .. }) {
                    self.shared.space.ran_out();
                }
            })?;
            let sync_due = state.log.sync_due(&appended);
            let committed = state.advance_high_watermark();
            (Written { log_start: state.log.log_start(), appended, sync_due }, committed)
        };
        if !written.appended.duplicate {
            let bytes = batch.bytes.len() as u64;
            self.shared.space.appended(bytes);
            self.count_unflushed(bytes);
        }
        if committed {
            self.waiters.wake_all();
        }
        if written.sync_due.is_some() {
            self.ask_for_sync();
        }
        Ok(written)
    }

    /// Waits until everything before `end` is on disk.
    pub(crate) async fn synced(&self, end: Offset, deadline: Instant) -> Result<(), ProduceError> {
        loop {
            let waiter = Arc::new(Waiter::default());
            self.sync_waiters.register(&waiter);
            if end <= self.synced_end()? {
                return Ok(());
            }
            timeout_at(deadline, waiter.woken()).await.map_err(|_| ProduceError::NotSyncedInTime)?;
        }
    }

    fn synced_end(&self) -> Result<Offset, AccessError> {
        let state = self.state()?;
        if state.log.is_offline() {
            return Err(AccessError::Offline(self.name.clone()));
        }
        Ok(state.log.recovery_point())
    }

    fn ask_for_sync(self: &Arc<Self>) {
        if lock(&self.sync).ask() {
            self.shared.flushes.push_urgent(self.clone());
        }
    }

    /// A sync that was asked for is over, well or not.
    pub(super) fn sync_is_over(self: &Arc<Self>) {
        if lock(&self.sync).synced() {
            self.shared.flushes.push_urgent(self.clone());
        }
    }

    fn count_unflushed(self: &Arc<Self>, bytes: u64) {
        self.unflushed_bytes.fetch_add(bytes, Ordering::SeqCst);
        if 0 < bytes && !self.is_dirty.swap(true, Ordering::SeqCst) {
            self.shared.flushes.push_dirty(self.clone());
        }
    }

    /// Whether it left the queue of those that are to be flushed in time: with nothing to flush it does.
    pub(super) fn leaves_if_clean(&self) -> bool {
        if 0 < self.unflushed_bytes() {
            return false;
        }
        self.is_dirty.store(false, Ordering::SeqCst);
        // Whoever wrote just before that took it for queued.
        self.unflushed_bytes() == 0 || self.is_dirty.swap(true, Ordering::SeqCst)
    }

    /// Taken from the queue to be flushed: what is written from now on queues it again.
    pub(super) fn leave_dirty(&self) {
        self.is_dirty.store(false, Ordering::SeqCst);
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
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::SeqCst)
    }

    /// `flush.ms`
    pub(super) fn flush_time_max(&self) -> Option<Duration> {
        let flush_ms = self.with_log(|log| log.config().flush_ms).ok()?;
        u64::try_from(flush_ms).ok().map(Duration::from_millis)
    }

    /// Syncs what was appended so far, and lets those go on who wait for it.
    pub(super) fn flush(self: &Arc<Self>) -> Result<(), FlushFailure> {
        let _in_order = lock(&self.flushing);
        let outcome = self.run_flush();
        if let Err(FlushFailure::Flush(FlushError::Postponed { .. })) = &outcome {
            let unflushed_bytes = self.with_log(Log::unflushed_bytes)?;
            self.count_unflushed(unflushed_bytes);
        }
        self.sync_waiters.wake_all();
        outcome
    }

    fn run_flush(&self) -> Result<(), FlushFailure> {
        let job = {
            let mut state = self.state()?;
            self.unflushed_bytes.store(0, Ordering::SeqCst);
            state.log.start_flush(clock::wall())
        };
        let flushed = job.run()?;
        let committed = {
            let mut state = self.state()?;
            state.log.finish_flush(flushed);
            state.advance_high_watermark()
        };
        if committed {
            self.waiters.wake_all();
        }
        Ok(())
    }

    /// Why the log could not be opened.
    pub(super) fn offline_reason(&self) -> Option<&str> {
        self.offline_log().map(|offline| offline.reason.as_str())
    }

    pub(super) fn offline_log(&self) -> Option<&Offline> {
        match &self.log {
            Loaded::Offline(offline) => Some(offline),
            Loaded::Online(_) => None,
        }
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
        let offline = || AccessError::Offline(self.name.clone());
        match &self.log {
            Loaded::Online(state) => {
                let state = state.lock().map_err(|_| offline())?;
                if state.deleted { Err(AccessError::Deleted(self.name.clone())) } else { Ok(state) }
            }
            Loaded::Offline(_) => Err(offline()),
        }
    }
}

/// What these guard is whole after every call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
