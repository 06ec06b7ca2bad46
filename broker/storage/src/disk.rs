//! The only access to the file system. [`SystemDisk`] is the real one; [`crate::faulty::FaultyDisk`] lives in memory,
//! fails on demand and loses what was not synced.
//!
//! Positions are explicit everywhere: files have no cursor, so they can be shared.

mod mapping;
mod system;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::Timestamp;

pub use mapping::Mapping;
pub use system::SystemDisk;

/// What `open` expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    Read,
    ReadWrite,
    /// As `ReadWrite`, and creates an empty file if there is none.
    Create,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: OsString,
    pub is_directory: bool,
    /// Bytes; 0 for a directory.
    pub length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub total_bytes: u64,
    /// What this process may still write.
    pub usable_bytes: u64,
}

pub trait Disk: fmt::Debug + Send + Sync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Succeeds if it exists.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// With everything in it.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// Space of the volume that holds `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
}

pub trait DiskFile: fmt::Debug + Send + Sync {
    /// One `pwritev`: may write less than asked.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// One `pread`: may read less than asked, 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// As `read_at`, but [`io::ErrorKind::WouldBlock`] if the bytes are not in memory.
    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    fn length(&self) -> io::Result<u64>;
    /// When it was last written.
    fn modified(&self) -> io::Result<Timestamp>;
    /// Sets the time at which it was last written.
    fn set_modified(&self, modified: Timestamp) -> io::Result<()>;
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// As `set_length` to grow a file, but the space is allocated now, so that writing there cannot run out of it.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Syncs the data, and the metadata needed to read it back.
    fn sync_data(&self) -> io::Result<()>;
    /// The whole file, read-only. A file must not be shortened while it is mapped.
    fn map(&self) -> io::Result<Mapping>;
    /// An exclusive lock for as long as the file is open, or [`io::ErrorKind::WouldBlock`] if another process has it.
    fn try_lock(&self) -> io::Result<()>;
    /// For `sendfile`. `None`: there is no descriptor, read instead.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Writes `head` and `tail` one after the other, in one call unless the disk cuts it short.
pub(crate) fn write_all_at(file: &dyn DiskFile, head: &[u8], tail: &[u8], position: u64) -> io::Result<()> {
    let (mut head, mut tail, mut position) = (head, tail, position);
    while !(head.is_empty() && tail.is_empty()) {
        let written = file.write_vectored_at(&[IoSlice::new(head), IoSlice::new(tail)], position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = written.min(head.len());
        head = head.get(of_head..).unwrap_or_default();
        tail = tail.get(written.saturating_sub(of_head)..).unwrap_or_default();
        position = position.saturating_add(length_u64(written));
    }
    Ok(())
}

/// Fills as much of `buffer` as the file has bytes from `position` on.
pub(crate) fn read_at_most(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, position.saturating_add(length_u64(filled)))?;
        if read == 0 {
            break;
        }
        filled = filled.saturating_add(read);
    }
    Ok(filled)
}

/// Reads a small file as a whole. One longer than `length_max` is an error: it is not what the caller expects.
pub fn read_file(disk: &dyn Disk, path: &Path, length_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let length = file.length()?;
    if length_max < length {
        let message = format!("{}: {length} bytes, at most {length_max} expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = read_at_most(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Replaces a file so that after a crash it has either the old content or the new, and once this has returned the
/// new: write beside it, sync, rename, sync the directory.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (file, beside) = write_beside(disk, path, bytes)?;
    file.sync_data()?;
    disk.rename(&beside, path)?;
    path.parent().map_or(Ok(()), |parent| disk.sync_directory(parent))
}

/// Writes the future content of `path` to `path.tmp`.
pub(crate) fn write_beside(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<(Arc<dyn DiskFile>, PathBuf)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let file = disk.open(&beside, OpenMode::Create)?;
    file.set_length(0)?;
    write_all_at(&*file, bytes, &[], 0)?;
    Ok((file, beside))
}

/// Removes a file if it exists.
pub(crate) fn remove_if_present(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// `usize` is at most 64 bits wide on every target.
pub(crate) fn length_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
