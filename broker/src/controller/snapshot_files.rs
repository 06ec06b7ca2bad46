//! The snapshot files beside the metadata log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};
use raft::SnapshotId;
use storage::{Disk, OpenMode};
use tracing::warn;

use super::snapshot::{self, SNAPSHOT_BYTES_MAX, SnapshotFault};
use crate::metadata::Image;

/// The age of a snapshot is in its first batch, which also holds the voters and so may be large.
const HEAD_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct SnapshotFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Oldest first, with their sizes. Empty only on a node that does not know any voters yet.
    found: Vec<(SnapshotId, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Malformed { path: PathBuf, source: SnapshotFault },
}

impl SnapshotFiles {
    /// Returns also the image of the latest valid snapshot, or an empty one. Later, incomplete ones were never
    /// finished and are removed.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<(Self, Image), SnapshotFileError> {
        let fault = |path: &Path, source| SnapshotFileError::Io { path: path.to_owned(), source };
        let mut found = match snapshot::list(&*disk, directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|source| fault(directory, source))?,
        };
        let mut latest = None;
        while let Some((id, _)) = found.last() {
            let path = snapshot::path(directory, *id);
            let bytes = storage::read_file(&*disk, &path, SNAPSHOT_BYTES_MAX).map_err(|source| fault(&path, source))?;
            match snapshot::decode(&bytes, *id) {
                Ok(image) => {
                    latest = Some(image);
                    break;
                }
                // The snapshot written by formatting was complete before the directory counted as formatted.
                Err(source) if id.end_offset == Offset(0) => return Err(SnapshotFileError::Malformed { path, source }),
                Err(error) => warn!(path = %path.display(), %error, "incomplete metadata snapshot removed"),
            }
            disk.remove_file(&path).map_err(|source| fault(&path, source))?;
            found.pop();
        }
        Ok((Self { disk, directory: directory.to_owned(), found }, latest.unwrap_or_else(Image::empty)))
    }

    /// Oldest first, with their sizes.
    pub(super) fn all(&self) -> &[(SnapshotId, u64)] {
        &self.found
    }

    /// Writes a snapshot, durably.
    pub(super) fn write(&self, id: SnapshotId, bytes: &[u8]) -> Result<(), SnapshotFileError> {
        let path = self.path(id);
        storage::replace_file(&*self.disk, &path, bytes).map_err(|source| SnapshotFileError::Io { path, source })
    }

    /// Adds a snapshot that is on disk.
    pub(super) fn add(&mut self, id: SnapshotId, length: u64) {
        self.found.retain(|(other, _)| *other != id);
        let place = self.found.partition_point(|(other, _)| *other < id);
        self.found.insert(place, (id, length));
    }

    /// Bytes of a snapshot from a position on, and its size. `None`: there is no such snapshot.
    pub(super) fn read(
        &self,
        id: SnapshotId,
        position: u64,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, u64)>, SnapshotFileError> {
        let Some((_, size)) = self.found.iter().find(|(known, _)| *known == id) else { return Ok(None) };
        let path = self.path(id);
        let fault = |source| SnapshotFileError::Io { path: path.clone(), source };
        let file = self.disk.open(&path, OpenMode::Read).map_err(fault)?;
        let mut bytes = vec![0; bytes_max.min(usize::try_from(size.saturating_sub(position)).unwrap_or(0))];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = file.read_at(&mut bytes[filled..], position + u64::try_from(filled).unwrap_or(0));
            match read.map_err(fault)? {
                0 => return Err(fault(io::ErrorKind::UnexpectedEof.into())),
                read => filled += read,
            }
        }
        Ok(Some((bytes.into(), *size)))
    }

    /// The timestamp of the snapshot's last record. `None`: it has none.
    pub(super) fn last_timestamp(&self, id: SnapshotId) -> Option<Timestamp> {
        let (head, _) = self.read(id, 0, HEAD_BYTES).ok()??;
        snapshot::last_timestamp(&head)
    }

    /// Hides the oldest from readers. The files stay until [`Self::remove`].
    pub(super) fn forget_oldest(&mut self, count: usize) -> Vec<SnapshotId> {
        self.found.drain(..count).map(|(id, _)| id).collect()
    }

    pub(super) fn remove(&self, id: SnapshotId) {
        remove_old(&*self.disk, &self.path(id));
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        snapshot::path(&self.directory, id)
    }
}

/// A file that cannot be removed now is removed another time.
pub(super) fn remove_old(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove_file(path) {
        warn!(path = %path.display(), %error, "old metadata file not removed");
    }
}
