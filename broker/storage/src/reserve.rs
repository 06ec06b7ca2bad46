//! Space allocated in advance, in a file. Producers fill a volume; the metadata log, the checkpoints and the other
//! small files without which a broker can neither start nor delete a topic may use the file's space: if such a write
//! finds the volume full it empties the file and retries.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::types::Timestamp;

use crate::disk::{DirectoryEntry, Disk, DiskFile, DiskSpace, Mapping, OpenMode};
use crate::log::is_no_space;

const FILE_NAME: &str = ".millrace-reserve";

/// The file, in a log directory.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    is_held: AtomicBool,
}

impl Reserve {
    /// Takes over what the last process left.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, bytes: u64) -> Self {
        let path = directory.join(FILE_NAME);
        let length = disk.open(&path, OpenMode::Read).and_then(|file| file.length()).unwrap_or(0);
        Self { disk, path, bytes, is_held: AtomicBool::new(0 < length) }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Allocates the space. After a crash it is complete or absent.
    pub fn take(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path, OpenMode::Create)?;
        file.set_length(self.bytes.min(file.length()?))?;
        if 0 < self.bytes {
            file.reserve(self.bytes)?;
        }
        self.is_held.store(0 < self.bytes, Ordering::Release);
        Ok(())
    }

    /// Frees the space. `false`: there was none.
    pub fn release(&self) -> bool {
        if !self.is_held.swap(false, Ordering::AcqRel) {
            return false;
        }
        // Emptied, not removed: some file systems free the space of a removed file much later.
        let emptied = self.disk.open(&self.path, OpenMode::ReadWrite).and_then(|file| file.set_length(0));
        match &emptied {
            Ok(()) => tracing::warn!(path = %self.path.display(), bytes = self.bytes, "volume full: released reserve"),
            Err(error) => tracing::error!(path = %self.path.display(), %error, "reserve not released"),
        }
        emptied.is_ok()
    }

    fn within<T>(&self, operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match operation() {
            Err(error) if is_no_space(&error) && self.release() => operation(),
            outcome => outcome,
        }
    }
}

/// The disk for writes that may use up the reserve.
#[derive(Debug)]
pub struct ReservedDisk {
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
}

#[derive(Debug)]
struct ReservedFile {
    file: Arc<dyn DiskFile>,
    reserve: Arc<Reserve>,
}

impl ReservedDisk {
    pub fn new(disk: Arc<dyn Disk>, reserve: Arc<Reserve>) -> Self {
        Self { disk, reserve }
    }
}

impl Disk for ReservedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.reserve.within(|| self.disk.open(path, mode))?;
        Ok(Arc::new(ReservedFile { file, reserve: self.reserve.clone() }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.reserve.within(|| self.disk.create_directory(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.reserve.within(|| self.disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.reserve.within(|| self.disk.remove_file(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.reserve.within(|| self.disk.remove_directory(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.disk.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.disk.space(path)
    }
}

impl DiskFile for ReservedFile {
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.reserve.within(|| self.file.write_vectored_at(buffers, position))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at_nowait(buffer, position)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn modified(&self) -> io::Result<Timestamp> {
        self.file.modified()
    }

    fn set_modified(&self, modified: Timestamp) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.reserve.within(|| self.file.set_length(length))
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn map(&self) -> io::Result<Mapping> {
        self.file.map()
    }

    fn try_lock(&self) -> io::Result<()> {
        self.file.try_lock()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_file, replace_file};
    use crate::faulty::FaultyDisk;

    #[test]
    fn small_files_can_be_replaced_on_a_full_volume_and_the_reserve_comes_back() {
        let faulty = Arc::new(FaultyDisk::new());
        let directory = Path::new("/data");
        faulty.create_directory(directory).unwrap();
        faulty.set_space_left(Some(100));
        let reserve = Arc::new(Reserve::open(faulty.clone(), directory, 60));
        assert!(!reserve.is_held());
        reserve.take().unwrap();
        assert_eq!(faulty.space(directory).unwrap().usable_bytes, 40);
        faulty.set_space_left(Some(0));

        let path = directory.join("quorum-state");
        let refused = replace_file(&*faulty, &path, b"epoch 1").unwrap_err();
        assert!(is_no_space(&refused), "{refused}");
        assert!(Reserve::open(faulty.clone(), directory, 60).is_held(), "the next process finds it");
        let disk = ReservedDisk::new(faulty.clone(), reserve.clone());
        replace_file(&disk, &path, b"epoch 1").unwrap();
        assert_eq!(read_file(&disk, &path, 100).unwrap(), b"epoch 1");
        assert!(!reserve.is_held());
        assert!(is_no_space(&reserve.take().unwrap_err()));
        assert!(is_no_space(&replace_file(&disk, &path, &[b'x'; 70]).unwrap_err()), "it ends");
        faulty.set_space_left(Some(100));
        reserve.take().unwrap();
        assert!(reserve.is_held());
    }
}
