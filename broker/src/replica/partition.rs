//! A partition on this broker: its log and its role. Leaders are in [`super::leading`], followers in
//! [`super::following`], syncing is in [`super::log_sync`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use protocol::types::{Offset, TopicId, TopicPartition};
use storage::{AppendError, LoadOptions, Log};

use super::access::{AccessError, FetchError};
use super::follower_state::FollowerState;
use super::leader_state::LeaderState;
use super::log_sync::LogSync;
use super::settings::TopicSettings;
use super::shared::Shared;
use super::waiters::{Tag, Waiter, Waiters};
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
    /// Readers that wait for more to be committed.
    pub(super) waiters: Waiters,
    /// Followers that wait for more to be written.
    pub(super) follower_waiters: Waiters,
    /// Producers that wait for their records to be committed.
    pub(super) commit_waiters: Waiters,
    /// DeleteRecords requests that wait for the followers to have deleted, too.
    pub(super) deletion_waiters: Waiters,
    pub(super) sync: LogSync,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
enum Loaded {
    Online(Box<Mutex<State>>),
    /// The log could not be opened, and stays as it is.
    Offline(Offline),
}

/// Why a log was not opened, and its entries in the checkpoints, which are kept.
#[derive(Debug)]
pub(super) struct Offline {
    pub(super) reason: String,
    pub(super) checkpointed: LoadOptions,
}

/// The role of this broker's replica.
#[derive(Debug)]
pub(super) enum Role {
    /// No metadata yet.
    Unknown,
    Leader(LeaderState),
    Follower(FollowerState),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) role: Role,
    /// See [`Partition::retire`].
    deleted: bool,
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
        // What recovery found beyond the recovery point may not be on disk.
        let unflushed_bytes = log.unflushed_bytes();
        let state = State { log, role: Role::Unknown, deleted: false };
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
            follower_waiters: Waiters::default(),
            commit_waiters: Waiters::default(),
            deletion_waiters: Waiters::default(),
            sync: LogSync::default(),
            shared: shared.clone(),
        })
    }

    pub(crate) fn settings(&self) -> Guard<Arc<TopicSettings>> {
        self.settings.load()
    }

    /// Takes effect at the next append. A batch checked by the former settings is still written.
    pub(super) fn set_settings(&self, settings: TopicSettings) -> Result<(), AccessError> {
        let mut state = self.state()?;
        state.log.set_config(settings.log.clone());
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// The partition is deleted or moved: when this returns, nothing is appended or touched in the directory any
    /// more. Readers that wait are woken when the metadata is published.
    pub(super) fn retire(&self) {
        if let Loaded::Online(state) = &self.log {
            let mut state = lock(state);
            state.deleted = true;
            state.log.abandon_directory();
        }
        self.sync.wake_producers();
    }

    /// To be checked after opening a file by name: the name may be another partition's by then.
    pub(crate) fn check_in_service(&self) -> Result<(), AccessError> {
        self.state().map(drop)
    }

    /// Checks that the offset is in range.
    pub(crate) fn check_range(&self, offset: Offset) -> Result<(), FetchError> {
        Ok(self.state()?.log.check_range(offset)?)
    }

    /// Call this *before* checking what is committed.
    pub(crate) fn register(&self, waiter: &Arc<Waiter>) {
        self.waiters.register(waiter);
    }

    /// Call this *before* [`Self::locate`].
    pub(crate) fn register_reader(&self, tag: Tag, waiter: &Arc<Waiter>) {
        self.waiters.register_as(tag, waiter);
    }

    /// Call this *before* [`Self::fetch_as_follower`].
    pub(crate) fn register_follower(&self, tag: Tag, waiter: &Arc<Waiter>) {
        self.waiters.register_as(tag, waiter);
        self.follower_waiters.register_as(tag, waiter);
    }

    /// Wakes everything that waits for records: the leader has changed, or the partition is gone.
    pub(super) fn wake_everybody(&self) {
        self.waiters.wake_all();
        self.follower_waiters.wake_all();
        self.commit_waiters.wake_all();
        self.deletion_waiters.wake_all();
    }

    /// Reads positions of the log, whatever its role.
    pub(crate) fn with_log<T>(&self, read: impl FnOnce(&Log) -> T) -> Result<T, AccessError> {
        Ok(read(&self.state()?.log))
    }

    pub(crate) fn with_log_mut<T>(&self, change: impl FnOnce(&mut Log) -> T) -> Result<T, AccessError> {
        Ok(change(&mut self.state()?.log))
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

    /// Producers are told of a full disk until there is room. A failed disk, whoever was writing, ends the process:
    /// the log takes nothing more, and while this broker is up no other can become leader.
    pub(super) fn write_failed(&self, error: &AppendError) {
        match error {
            AppendError::NoSpace { .. } => self.shared.space.ran_out(),
            AppendError::Io { .. } => self.shared.directory_failed(&error.to_string()),
            AppendError::Offline
            | AppendError::BatchTooLarge { .. }
            | AppendError::StaleLeaderEpoch { .. }
            | AppendError::Producer(_)
            | AppendError::NoDescriptors { .. } => {}
        }
    }

    /// If a thread panicked while holding the lock the log is in doubt: it is offline from then on.
    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, AccessError> {
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

/// What these locks guard is consistent after every call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
