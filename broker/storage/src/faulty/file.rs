use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use protocol::types::Timestamp;

use super::{Operation, State, lock};
use crate::disk::{DiskFile, Mapping, length_u64};

/// A file's content, including what is not durable.
#[derive(Debug, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, oldest first.
    unsynced: Vec<Write>,
    locked: bool,
}

#[derive(Debug)]
enum Write {
    Bytes { position: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Inode {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn length(&self) -> u64 {
        length_u64(self.bytes.len())
    }

    /// Each write complete, absent, its length alone, or only its beginning.
    pub(super) fn after_crash(&self, random: &mut dyn FnMut() -> u64) -> Self {
        let mut bytes = self.durable.clone();
        for write in &self.unsynced {
            match (random() % 4, write) {
                (0, _) => {}
                (1, Write::Bytes { position, bytes: written }) => {
                    let end = position.saturating_add(written.len());
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                }
                (2, Write::Bytes { position, bytes: written }) => {
                    let kept = usize::try_from(random()).unwrap_or(0).checked_rem(written.len()).unwrap_or(0);
                    put(&mut bytes, *position, written.get(..kept).unwrap_or_default());
                }
                _ => write.apply(&mut bytes),
            }
        }
        Self::durable(bytes)
    }

    fn write(&mut self, write: Write) {
        write.apply(&mut self.bytes);
        self.unsynced.push(write);
    }
}

impl Write {
    fn apply(&self, target: &mut Vec<u8>) {
        match self {
            Self::Bytes { position, bytes } => put(target, *position, bytes),
            Self::Length(length) => target.resize(*length, 0),
        }
    }
}

fn put(target: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position.saturating_add(bytes.len());
    if target.len() < end {
        target.resize(end, 0);
    }
    if let Some(place) = target.get_mut(position..end) {
        place.copy_from_slice(bytes);
    }
}

#[derive(Debug)]
pub(super) struct FaultyFile {
    disk: Arc<Mutex<State>>,
    inode: Arc<Mutex<Inode>>,
    holds_lock: Mutex<bool>,
}

impl FaultyFile {
    pub(super) fn new(disk: Arc<Mutex<State>>, inode: Arc<Mutex<Inode>>) -> Self {
        Self { disk, inode, holds_lock: Mutex::new(false) }
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        lock(&self.disk).check(operation)
    }

    /// How many of `wanted` bytes there is space for.
    fn take_space(&self, position: usize, wanted: usize) -> io::Result<usize> {
        let length = lock(&self.inode).bytes.len();
        let mut disk = lock(&self.disk);
        let Some(space) = disk.space_left.as_mut() else { return Ok(wanted) };
        let grown = length_u64(position.saturating_add(wanted).saturating_sub(length));
        let short = grown.saturating_sub(*space);
        *space = space.saturating_sub(grown);
        let written = wanted.saturating_sub(usize::try_from(short).unwrap_or(usize::MAX));
        if written == 0 && 0 < wanted {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(written)
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if *lock(&self.holds_lock) {
            lock(&self.inode).locked = false;
        }
    }
}

impl DiskFile for FaultyFile {
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.check(Operation::Write)?;
        let position = usize::try_from(position).map_err(io::Error::other)?;
        let mut bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let written = self.take_space(position, bytes.len())?;
        bytes.truncate(written);
        lock(&self.inode).write(Write::Bytes { position, bytes });
        Ok(written)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.check(Operation::Read)?;
        let inode = lock(&self.inode);
        let position = usize::try_from(position).map_err(io::Error::other)?;
        let rest = inode.bytes.get(position..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..read), rest.get(..read)) {
            target.copy_from_slice(source);
        }
        Ok(read)
    }

    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if lock(&self.disk).cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(buffer, position)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).length())
    }

    fn modified(&self) -> io::Result<Timestamp> {
        Ok(lock(&self.disk).modified)
    }

    /// All files have one time: see [`super::FaultyDisk::set_modified`].
    fn set_modified(&self, _: Timestamp) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.check(Operation::SetLength)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut inode = lock(&self.inode);
        let freed = length_u64(inode.bytes.len().saturating_sub(length));
        if inode.bytes.len() != length {
            inode.write(Write::Length(length));
        }
        drop(inode);
        if let Some(space) = lock(&self.disk).space_left.as_mut() {
            *space = space.saturating_add(freed);
        }
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let before = lock(&self.inode).bytes.len();
        let wanted = length.saturating_sub(before);
        if self.take_space(before, wanted)? < wanted {
            return Err(io::ErrorKind::StorageFull.into());
        }
        lock(&self.inode).write(Write::Length(length.max(before)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(Operation::Sync)?;
        let mut inode = lock(&self.inode);
        let Inode { bytes, durable, .. } = &mut *inode;
        durable.clone_from(bytes);
        inode.unsynced.clear();
        Ok(())
    }

    fn map(&self) -> io::Result<Mapping> {
        self.check(Operation::Read)?;
        Ok(Mapping::from(lock(&self.inode).bytes.clone()))
    }

    fn try_lock(&self) -> io::Result<()> {
        let mut inode = lock(&self.inode);
        if inode.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inode.locked = true;
        *lock(&self.holds_lock) = true;
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
