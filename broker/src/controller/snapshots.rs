//! Decides when this node takes a snapshot of the metadata, and takes it beside the control thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::config::Values;
use protocol::types::{Offset, Timestamp};
use raft::SnapshotId;
use storage::Disk;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::metadata_log::EncodeError;
use super::snapshot;
use crate::clock;
use crate::failure::Failure;
use crate::metadata::Image;

/// Pause after one that could not be written for lack of space.
const SHORTAGE_PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// `metadata.log.max.record.bytes.between.snapshots`
    bytes_max: u64,
    /// `metadata.log.max.snapshot.interval.ms`
    interval: Option<Duration>,
    /// End offset of the last snapshot.
    last_end: Offset,
    next_at: Option<Duration>,
    not_before: Duration,
    running: Option<oneshot::Receiver<Result<Taken, SnapshotError>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) id: SnapshotId,
    pub(super) length: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the task that writes it has ended")]
    Ended,
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Ended => Self::Panic("the taking of a snapshot".to_owned()),
            error => Self::Directory(error.to_string()),
        }
    }
}

impl Snapshots {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: PathBuf, values: &Values, last_end: Offset) -> Self {
        let bytes_max = values.get_long("metadata.log.max.record.bytes.between.snapshots");
        let interval = u64::try_from(values.get_long("metadata.log.max.snapshot.interval.ms")).ok();
        let interval = interval.filter(|interval| *interval != 0).map(Duration::from_millis);
        Self {
            disk,
            directory,
            bytes_max: u64::try_from(bytes_max).unwrap_or(u64::MAX),
            interval,
            last_end,
            next_at: interval.map(|interval| clock::monotonic() + interval),
            not_before: Duration::ZERO,
            running: None,
        }
    }

    /// Whether to take a snapshot of this image; `bytes`: records since the last one.
    pub(super) fn is_due(&self, image: &Image, bytes: u64, now: Duration) -> bool {
        let is_time = self.next_at.is_some_and(|next| next <= now);
        let has_news = self.last_end < image.end_offset;
        self.running.is_none() && has_news && self.not_before <= now && (self.bytes_max <= bytes || is_time)
    }

    pub(super) fn begin(&mut self, image: Image, last_timestamp: Timestamp, now: Duration) {
        let (disk, directory) = (self.disk.clone(), self.directory.clone());
        let (sender, receiver) = oneshot::channel();
        self.last_end = image.end_offset;
        self.next_at = self.interval.map(|interval| now + interval);
        self.running = Some(receiver);
        tokio::task::spawn_blocking(move || {
            // The control thread may have ended.
            let _gone = sender.send(take(&*disk, &directory, &image, last_timestamp));
        });
    }

    /// Returns when the snapshot being taken is done; never if there is none.
    pub(super) async fn taken(&mut self) -> Result<Taken, SnapshotError> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let taken = running.await.unwrap_or(Err(SnapshotError::Ended));
        self.running = None;
        taken
    }

    /// Whether the failure is temporary; if so the next attempt is postponed.
    pub(super) fn postpone(&mut self, error: &SnapshotError, now: Duration) -> bool {
        let may_pass = matches!(error, SnapshotError::Io { source, .. } if storage::is_shortage(source));
        if may_pass {
            warn!(%error, "metadata snapshot postponed");
            self.not_before = now + SHORTAGE_PAUSE;
        }
        may_pass
    }

    /// When a snapshot is due by time alone.
    pub(super) fn next_at(&self, image: &Image) -> Option<Duration> {
        let has_news = self.running.is_none() && self.last_end < image.end_offset;
        self.next_at.filter(|_| has_news).map(|next| next.max(self.not_before))
    }
}

fn take(disk: &dyn Disk, directory: &Path, image: &Image, last_timestamp: Timestamp) -> Result<Taken, SnapshotError> {
    let id = SnapshotId { end_offset: image.end_offset, epoch: image.epoch };
    let bytes = snapshot::encode(image, last_timestamp, clock::wall())?;
    let path = snapshot::path(directory, id);
    storage::replace_file(disk, &path, &bytes).map_err(|source| SnapshotError::Io { path, source })?;
    info!(%id, bytes = bytes.len(), "took metadata snapshot");
    Ok(Taken { id, length: u64::try_from(bytes.len()).unwrap_or(u64::MAX) })
}
