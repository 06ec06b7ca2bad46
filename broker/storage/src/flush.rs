//! Makes the log durable: a [`FlushJob`] is taken under the log's lock, run without it, and its result advances the
//! recovery point. So the recovery point never passes a sync, and a failed sync is never retried.
//!
//! Everything that recovery relies on below the recovery point becomes durable with the job that advances it:
//! records, leader epochs, and with the first one the directory itself. So neither creating a partition nor becoming
//! its leader costs a sync.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::types::{Offset, Timestamp};

use crate::bugs::{self, Bug};
use crate::disk::{Disk, DiskFile, OpenMode, remove_if_present};
use crate::leader_epochs::{LeaderEpochFile, LeaderEpochs};
use crate::log::{Appended, Log, LogPosition, is_shortage};
use crate::pool::FilePool;
use crate::segment_indexes::IndexFiles;
use crate::{partition_metadata, producer_snapshot};

/// Recovery replays producers from the last snapshot on, so one is taken after this many bytes.
const SNAPSHOT_INTERVAL_BYTES: u64 = 32 << 20;

/// What is not durable yet.
#[derive(Debug)]
pub(crate) struct FlushState {
    /// Everything before it is synced, and if it is above 0 the directory with the file of the topic id.
    pub(crate) recovery_point: Offset,
    /// The next three count since the log was opened.
    appended_bytes: u64,
    flushed_bytes: u64,
    snapshot_bytes: u64,
    unflushed_since: Option<Timestamp>,
    /// The log end at the last flush.
    flushed_end: Option<LogPosition>,
    /// Whether the directory, its name and its first files are known to be durable.
    directory_synced: bool,
    /// `None`: not known.
    pub(crate) epochs_in_file: Option<LeaderEpochs>,
    /// The recovery point was lowered for a truncation, and the checkpoint may still have the old one.
    pub(crate) checkpoint_due: bool,
    pub(crate) rolled: Vec<Arc<RolledSegment>>,
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
    end: LogPosition,
    appended_bytes: u64,
    active: ActiveFile,
    index_files: Option<IndexFiles>,
    rolled: Vec<Arc<RolledSegment>>,
    /// The producers as of `end`.
    snapshot: Option<Vec<u8>>,
    /// The epochs as of `end`, if the file has others.
    epochs: Option<LeaderEpochs>,
    syncs_directory: bool,
}

/// The `.log` of the active segment.
#[derive(Debug)]
enum ActiveFile {
    /// Nothing was written since the last flush.
    NothingWritten,
    Open(Arc<dyn DiskFile>),
    /// Loaded, and beyond the recovery point.
    Closed(PathBuf),
}

/// Proof that a [`FlushJob`] succeeded, for [`Log::finish_flush`].
#[derive(Debug)]
pub struct Flushed {
    abandoned: Arc<RwLock<bool>>,
    started: Timestamp,
    end: LogPosition,
    appended_bytes: u64,
    rolled: Vec<Arc<RolledSegment>>,
    snapshots: Vec<Offset>,
    snapshot_due: bool,
    epochs: Option<LeaderEpochs>,
    synced_directory: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error("{}: {source}; the log is offline from now on", directory.display())]
    Failed { directory: PathBuf, source: io::Error },
    /// Nothing is lost, and nothing new is durable.
    #[error("{}: {source}; not flushed this time", directory.display())]
    Postponed { directory: PathBuf, source: io::Error },
}

impl FlushState {
    pub(crate) fn new(recovery_point: Offset) -> Self {
        Self {
            recovery_point,
            appended_bytes: 0,
            flushed_bytes: 0,
            snapshot_bytes: 0,
            unflushed_since: None,
            flushed_end: None,
            directory_synced: false,
            epochs_in_file: Some(LeaderEpochs::default()),
            checkpoint_due: false,
            rolled: Vec::new(),
            snapshots: BTreeSet::new(),
        }
    }

    /// The state of a restarted log: its directory is durable, what the epoch file holds is unknown.
    pub(crate) fn begun_anew(start: Offset) -> Self {
        Self { epochs_in_file: None, directory_synced: true, ..Self::new(start) }
    }

    pub(crate) fn appended(&mut self, bytes: u64, now: Timestamp) {
        self.appended_bytes = self.appended_bytes.saturating_add(bytes);
        self.unflushed_since.get_or_insert(now);
    }

    pub(crate) fn rolled(&mut self, segment: RolledSegment) {
        self.rolled.push(Arc::new(segment));
        self.snapshot_bytes = self.appended_bytes;
    }

    /// Segments and snapshots before `first` need no sync any more. Returns the snapshots.
    pub(crate) fn forget_before(&mut self, first: Offset) -> Vec<Offset> {
        self.rolled.retain(|segment| first <= segment.end);
        let kept = self.snapshots.split_off(&first);
        std::mem::replace(&mut self.snapshots, kept).into_iter().collect()
    }

    /// What lies from `end` on is gone. What lies before it still needs a sync.
    pub(crate) fn truncated(&mut self, end: Offset) {
        assert!(self.recovery_point <= end, "the recovery point {} was lowered before", self.recovery_point);
        self.flushed_end = self.flushed_end.filter(|flushed| flushed.offset <= end);
        self.rolled.retain(|segment| segment.end <= end);
        self.snapshots.retain(|offset| *offset <= end);
        self.epochs_in_file = None;
    }

    /// Some of the segments before `end` have become one.
    pub(crate) fn swapped(&mut self, end: Offset) {
        let flushed = self.flushed_end.filter(|flushed| end <= flushed.offset);
        self.flushed_end = flushed.map(|flushed| flushed.after_swap(end));
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

    /// `flush.messages`: the end that must be synced before the append is acknowledged, if any.
    pub fn sync_due(&self, appended: &Appended) -> Option<Offset> {
        let is_due = self.flushing.recovery_point <= appended.last_offset && self.is_sync_due();
        is_due.then(|| appended.last_offset.advance(1))
    }

    /// As [`Self::sync_due`], of whatever is not synced.
    pub fn is_sync_due(&self) -> bool {
        let unflushed = self.end_offset.0.saturating_sub(self.flushing.recovery_point.0);
        0 < unflushed && self.config.flush_messages <= unflushed
    }

    /// The end up to which this replica counts as having the records: if each must be on disk, the end of the last
    /// flush. `None`: unknown until the next flush.
    pub fn replicated_end(&self) -> Option<LogPosition> {
        let everything = 1 < self.config.flush_messages || self.end_offset <= self.flushing.recovery_point;
        if everything { Some(self.log_end()) } else { self.flushing.flushed_end }
    }

    pub fn unflushed_bytes(&self) -> u64 {
        self.flushing.appended_bytes.saturating_sub(self.flushing.flushed_bytes)
    }

    /// When the oldest unsynced record was written, or earlier.
    pub fn unflushed_since(&self) -> Option<Timestamp> {
        self.flushing.unflushed_since
    }

    /// Covers everything appended so far. Jobs of one log are finished in the order in which they were started.
    pub fn start_flush(&mut self, now: Timestamp) -> FlushJob {
        let snapshot = self.flushing.snapshot_is_due().then(|| self.take_snapshot()).flatten();
        let (snapshot, index_files) = snapshot.unzip();
        let active = match self.active.open_log() {
            Some(log) => ActiveFile::Open(log.clone()),
            None if self.unflushed_bytes() == 0 => ActiveFile::NothingWritten,
            None => ActiveFile::Closed(self.active.path(&self.directory)),
        };
        FlushJob {
            pool: self.pool.clone(),
            directory: self.directory.clone(),
            offline: self.offline.clone(),
            abandoned: self.abandoned.clone(),
            started: now,
            end: self.log_end(),
            appended_bytes: self.flushing.appended_bytes,
            syncs_directory: !self.flushing.directory_synced && self.flushing.recovery_point < self.end_offset,
            active,
            index_files,
            rolled: self.flushing.rolled.clone(),
            snapshot,
            epochs: self.epochs_to_write(),
        }
    }

    /// An epoch without records needs no line: the next leader has a later one.
    fn epochs_to_write(&self) -> Option<LeaderEpochs> {
        let epochs = self.epochs.before(self.end_offset);
        (Some(&epochs) != self.flushing.epochs_in_file.as_ref()).then_some(epochs)
    }

    /// A job from before a truncation is ignored. `false`: it was one, and the rest of the log is still to be flushed.
    pub fn finish_flush(&mut self, flushed: Flushed) -> bool {
        if !Arc::ptr_eq(&flushed.abandoned, &self.abandoned) {
            return false;
        }
        let state = &mut self.flushing;
        state.recovery_point = state.recovery_point.max(flushed.end.offset);
        state.flushed_end = state.flushed_end.max(Some(flushed.end));
        state.directory_synced |= flushed.synced_directory;
        if let Some(epochs) = flushed.epochs {
            state.epochs_in_file = Some(epochs);
        }
        state.rolled.retain(|segment| !flushed.rolled.iter().any(|synced| Arc::ptr_eq(synced, segment)));
        state.flushed_bytes = state.flushed_bytes.max(flushed.appended_bytes);
        if flushed.snapshot_due {
            state.snapshot_bytes = state.snapshot_bytes.max(flushed.appended_bytes);
        }
        state.unflushed_since = (state.flushed_bytes < state.appended_bytes).then_some(flushed.started);
        state.snapshots.extend(flushed.snapshots);
        if self.unflushed_bytes() == 0 {
            self.active.rest();
        }
        self.remove_old_snapshots();
        true
    }

    /// Closes a log: indexes complete, snapshot written, everything synced. What is left in memory may be dropped;
    /// the returned recovery point goes to the checkpoint.
    pub fn close_clean(&mut self, now: Timestamp) -> Result<Offset, FlushError> {
        if self.is_offline() {
            return Err(self.flush_error(io::Error::other("an earlier write or sync failed")));
        }
        if self.is_settled() {
            return Ok(self.recovery_point());
        }
        let [log, offsets, times] = self.active.finish(&self.directory).map_err(|error| self.flush_error(error))?;
        let mut job = self.start_flush(now);
        job.active = ActiveFile::Open(log);
        job.index_files = Some(IndexFiles { offsets, times });
        job.snapshot = Some(producer_snapshot::encode(&self.producers));
        let flushed = job.run()?;
        self.finish_flush(flushed);
        Ok(self.recovery_point())
    }

    /// Whether everything is on disk as a clean stop leaves it.
    fn is_settled(&self) -> bool {
        let state = &self.flushing;
        let has_snapshot = self.size() == 0 || state.snapshots.contains(&self.end_offset);
        self.unflushed_bytes() == 0
            && state.rolled.is_empty()
            && state.recovery_point == self.end_offset
            && has_snapshot
            && self.epochs_to_write().is_none()
    }

    /// A snapshot counts only with the indexes up to it on disk. Without space none is taken this time.
    fn take_snapshot(&mut self) -> Option<(Vec<u8>, IndexFiles)> {
        match self.active.write_indexes(&self.directory) {
            Ok(files) => Some((producer_snapshot::encode(&self.producers), files)),
            Err(error) => {
                if !is_shortage(&error) {
                    self.offline.store(true, Ordering::Release);
                }
                tracing::warn!(directory = %self.directory.display(), %error, "producer snapshot not taken: indexes not written");
                None
            }
        }
    }

    /// Snapshots at a segment's base stay with the segment. Of the others the last is kept, and the one before it as
    /// long as the checkpoint has an older recovery point.
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
                Err(error) => tracing::warn!(path = %path.display(), %error, "old producer snapshot not removed"),
            }
        }
    }

    fn flush_error(&self, source: io::Error) -> FlushError {
        FlushError::new(&self.directory, &self.offline, source)
    }
}

impl FlushError {
    fn new(directory: &Path, offline: &AtomicBool, source: io::Error) -> Self {
        let directory = directory.to_owned();
        if is_shortage(&source) {
            return Self::Postponed { directory, source };
        }
        offline.store(true, Ordering::Release);
        Self::Failed { directory, source }
    }
}

impl FlushJob {
    /// Syncs. After a failure the log is offline.
    pub fn run(self) -> Result<Flushed, FlushError> {
        match self.sync() {
            Ok(snapshots) => Ok(Flushed {
                abandoned: self.abandoned,
                started: self.started,
                end: self.end,
                appended_bytes: self.appended_bytes,
                rolled: self.rolled,
                snapshots,
                snapshot_due: self.snapshot.is_some(),
                epochs: self.epochs,
                synced_directory: self.syncs_directory,
            }),
            Err(source) => Err(FlushError::new(&self.directory, &self.offline, source)),
        }
    }

    fn sync(&self) -> io::Result<Vec<Offset>> {
        if self.offline.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier write or sync failed"));
        }
        self.sync_files()?;
        let abandoned = self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if *abandoned {
            return Ok(Vec::new());
        }
        if let Some(epochs) = &self.epochs {
            LeaderEpochFile::new(self.pool.disk().clone(), &self.directory).write(epochs)?;
        }
        let rolled = self.rolled.iter().map(|segment| (segment.end, &segment.snapshot));
        let mut written = Vec::new();
        for (offset, snapshot) in rolled.chain(self.snapshot.iter().map(|snapshot| (self.end.offset, snapshot))) {
            if producer_snapshot::write(&**self.pool.disk(), &self.directory, offset, snapshot)? {
                written.push(offset);
            }
        }
        if self.syncs_directory {
            make_directory_durable(&**self.pool.disk(), &self.directory)?;
        } else if !self.rolled.is_empty() || !written.is_empty() {
            self.pool.disk().sync_directory(&self.directory)?;
        }
        Ok(written)
    }

    fn sync_files(&self) -> io::Result<()> {
        let reopened;
        let active = match &self.active {
            ActiveFile::NothingWritten => None,
            ActiveFile::Open(file) => Some(file),
            ActiveFile::Closed(path) => {
                let abandoned = self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
                if *abandoned {
                    return Ok(());
                }
                reopened = self.pool.disk().open(path, OpenMode::ReadWrite)?;
                Some(&reopened)
            }
        };
        let rolled = self.rolled.iter().flat_map(|segment| &segment.files);
        let indexes = self.index_files.iter().flat_map(|files| [&files.offsets, &files.times]);
        if bugs::is_planted(Bug::RecoveryPointBeforeSync) {
            return Ok(());
        }
        // A failed sync is fatal, whatever its reason.
        rolled.chain(active).chain(indexes).try_for_each(|file| file.sync_data()).map_err(io::Error::other)
    }
}

/// Syncs the names in it, its own, and the file with the topic id.
pub(crate) fn make_directory_durable(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    disk.sync_directory(directory)?;
    partition_metadata::sync(disk, directory)?;
    directory.parent().map_or(Ok(()), |parent| disk.sync_directory(parent))
}
