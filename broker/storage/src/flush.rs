//! Making the log durable: a [`FlushJob`] is taken under the log's lock, run without it, and what it returns moves the
//! recovery point. So the recovery point never passes a sync, and a sync that failed is never tried again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::types::{Offset, Timestamp};

use crate::disk::{DiskFile, remove_if_present};
use crate::log::{Log, is_no_space};
use crate::pool::FilePool;
use crate::producer_snapshot;

/// Recovery replays producers from the last snapshot on, so one is due after this many bytes.
const SNAPSHOT_INTERVAL_BYTES: u64 = 32 << 20;

/// What is not durable yet.
#[derive(Debug)]
pub(crate) struct FlushState {
    /// Everything before it is synced.
    pub(crate) recovery_point: Offset,
    /// Since the log was opened, these three.
    appended_bytes: u64,
    flushed_bytes: u64,
    snapshot_bytes: u64,
    unflushed_since: Option<Timestamp>,
    rolled: Vec<Arc<RolledSegment>>,
    /// Offsets of the snapshots in the directory.
    pub(crate) snapshots: BTreeSet<Offset>,
}

/// A segment that was closed since the last flush.
#[derive(Debug)]
pub(crate) struct RolledSegment {
    pub(crate) end: Offset,
    pub(crate) files: [Arc<dyn DiskFile>; 3],
    /// The producers as of `end`.
    pub(crate) snapshot: Vec<u8>,
}

/// What is to be synced, up to a log end. [`FlushJob::run`] needs no lock.
#[derive(Debug)]
pub struct FlushJob {
    pool: Arc<FilePool>,
    directory: Arc<Path>,
    offline: Arc<AtomicBool>,
    abandoned: Arc<RwLock<bool>>,
    started: Timestamp,
    end: Offset,
    appended_bytes: u64,
    files: Vec<Arc<dyn DiskFile>>,
    rolled: Vec<Arc<RolledSegment>>,
    /// The producers as of `end`.
    snapshot: Option<Vec<u8>>,
}

/// Proof that a [`FlushJob`] succeeded, for [`Log::finish_flush`].
#[derive(Debug)]
pub struct Flushed {
    started: Timestamp,
    end: Offset,
    appended_bytes: u64,
    rolled: Vec<Arc<RolledSegment>>,
    snapshots: Vec<Offset>,
    snapshot_due: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; the log is offline from now on", directory.display())]
pub struct FlushError {
    pub directory: PathBuf,
    pub source: io::Error,
}

impl FlushState {
    pub(crate) fn new(recovery_point: Offset) -> Self {
        Self {
            recovery_point,
            appended_bytes: 0,
            flushed_bytes: 0,
            snapshot_bytes: 0,
            unflushed_since: None,
            rolled: Vec::new(),
            snapshots: BTreeSet::new(),
        }
    }

    pub(crate) fn appended(&mut self, bytes: u64, now: Timestamp) {
        self.appended_bytes = self.appended_bytes.saturating_add(bytes);
        self.unflushed_since.get_or_insert(now);
    }

    pub(crate) fn rolled(&mut self, segment: RolledSegment) {
        self.rolled.push(Arc::new(segment));
        self.snapshot_bytes = self.appended_bytes;
    }

    /// Segments and snapshots of what lies before `first` need no sync any more. Returns the snapshots.
    pub(crate) fn forget_before(&mut self, first: Offset) -> Vec<Offset> {
        self.rolled.retain(|segment| first <= segment.end);
        let kept = self.snapshots.split_off(&first);
        std::mem::replace(&mut self.snapshots, kept).into_iter().collect()
    }

    fn snapshot_is_due(&self) -> bool {
        SNAPSHOT_INTERVAL_BYTES <= self.appended_bytes.saturating_sub(self.snapshot_bytes)
    }
}

impl Log {
    /// Everything before it survives a power cut.
    pub fn recovery_point(&self) -> Offset {
        self.flushing.recovery_point
    }

    pub fn unflushed_bytes(&self) -> u64 {
        self.flushing.appended_bytes.saturating_sub(self.flushing.flushed_bytes)
    }

    /// When the oldest record that is not synced was written, or earlier.
    pub fn unflushed_since(&self) -> Option<Timestamp> {
        self.flushing.unflushed_since
    }

    /// Covers everything appended so far. Jobs of one log are finished in the order they were started.
    pub fn start_flush(&mut self, now: Timestamp) -> FlushJob {
        let mut files = vec![self.active.log.clone()];
        let snapshot = self.flushing.snapshot_is_due().then(|| self.take_snapshot(now)).flatten();
        if snapshot.is_some() {
            files = self.active.files().into();
        }
        FlushJob {
            pool: self.pool.clone(),
            directory: self.directory.clone(),
            offline: self.offline.clone(),
            abandoned: self.abandoned.clone(),
            started: now,
            end: self.end_offset,
            appended_bytes: self.flushing.appended_bytes,
            files,
            rolled: self.flushing.rolled.clone(),
            snapshot,
        }
    }

    pub fn finish_flush(&mut self, flushed: Flushed) {
        let state = &mut self.flushing;
        state.recovery_point = state.recovery_point.max(flushed.end);
        state.rolled.retain(|segment| !flushed.rolled.iter().any(|synced| Arc::ptr_eq(synced, segment)));
        state.flushed_bytes = state.flushed_bytes.max(flushed.appended_bytes);
        if flushed.snapshot_due {
            state.snapshot_bytes = state.snapshot_bytes.max(flushed.appended_bytes);
        }
        state.unflushed_since = (state.flushed_bytes < state.appended_bytes).then_some(flushed.started);
        state.snapshots.extend(flushed.snapshots);
        self.remove_old_snapshots();
    }

    /// The last words of a log: indexes complete, snapshot written, everything synced. What is left in memory may
    /// be dropped; its recovery point goes to the checkpoint.
    pub fn close_clean(&mut self, now: Timestamp) -> Result<Offset, FlushError> {
        if self.is_offline() {
            return Err(self.flush_error(io::Error::other("an earlier write or sync failed")));
        }
        self.active.finish_indexes().map_err(|error| self.flush_error(error))?;
        let mut job = self.start_flush(now);
        job.files = self.active.files().into();
        job.snapshot = Some(producer_snapshot::encode(&self.producers));
        let flushed = job.run()?;
        self.finish_flush(flushed);
        Ok(self.recovery_point())
    }

    /// A snapshot counts only with the indexes up to it on disk. Without space there is none this time.
    fn take_snapshot(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.producers.expire(now, self.config.producer_id_expiration_ms);
        match self.active.indexes.write_out(&self.active.index_files) {
            Ok(()) => Some(producer_snapshot::encode(&self.producers)),
            Err(error) => {
                if !is_no_space(&error) {
                    self.offline.store(true, Ordering::Release);
                }
                tracing::warn!(directory = %self.directory.display(), %error, "no producer snapshot: indexes not written");
                None
            }
        }
    }

    /// Snapshots at a segment's base stay with the segment. Of the others the last is of use, and the one before it
    /// as long as the checkpoint has an older recovery point.
    fn remove_old_snapshots(&mut self) {
        let is_base = |offset: &Offset| self.closed.binary_search_by_key(offset, |segment| segment.base).is_ok();
        let old = |offset: &Offset| *offset != self.active.base && !is_base(offset);
        let old: Vec<_> = self.flushing.snapshots.iter().rev().skip(2).copied().filter(old).collect();
        for offset in old {
            let path = producer_snapshot::path(&self.directory, offset);
            match remove_if_present(&**self.pool.disk(), &path) {
                Ok(()) => {
                    self.flushing.snapshots.remove(&offset);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "old snapshot not removed"),
            }
        }
    }

    fn flush_error(&self, source: io::Error) -> FlushError {
        self.offline.store(true, Ordering::Release);
        FlushError { directory: self.directory.to_path_buf(), source }
    }
}

impl FlushJob {
    /// Syncs. After an error the log is offline.
    pub fn run(self) -> Result<Flushed, FlushError> {
        match self.sync() {
            Ok(snapshots) => Ok(Flushed {
                started: self.started,
                end: self.end,
                appended_bytes: self.appended_bytes,
                rolled: self.rolled,
                snapshots,
                snapshot_due: self.snapshot.is_some(),
            }),
            Err(source) => {
                self.offline.store(true, Ordering::Release);
                Err(FlushError { directory: self.directory.to_path_buf(), source })
            }
        }
    }

    fn sync(&self) -> io::Result<Vec<Offset>> {
        if self.offline.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier write or sync failed"));
        }
        let rolled_files = self.rolled.iter().flat_map(|segment| &segment.files);
        rolled_files.chain(&self.files).try_for_each(|file| file.sync_data())?;
        let abandoned = self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if *abandoned {
            return Ok(Vec::new());
        }
        let rolled = self.rolled.iter().map(|segment| (segment.end, &segment.snapshot));
        let mut written = Vec::new();
        for (offset, snapshot) in rolled.chain(self.snapshot.iter().map(|snapshot| (self.end, snapshot))) {
            if self.write_snapshot(offset, snapshot)? {
                written.push(offset);
            }
        }
        if !self.rolled.is_empty() || !written.is_empty() {
            self.pool.disk().sync_directory(&self.directory)?;
        }
        Ok(written)
    }

    /// Whether there was space for it.
    fn write_snapshot(&self, offset: Offset, bytes: &[u8]) -> io::Result<bool> {
        match producer_snapshot::write(&**self.pool.disk(), &self.directory, offset, bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_no_space(&error) => {
                tracing::warn!(directory = %self.directory.display(), %offset, "no space for a producer snapshot");
                remove_if_present(&**self.pool.disk(), &producer_snapshot::path(&self.directory, offset))?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
