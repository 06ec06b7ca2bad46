//! A file system in memory for tests: it fails on demand, and a [`FaultyDisk::crash`] keeps only part of what was not
//! synced, and that perhaps torn.
//!
//! A file keeps its writes since its last sync; after a crash each of them happened, did not happen, or happened in
//! part, regardless of order. A directory keeps its creations, renames and removals since its last sync; a crash
//! keeps a prefix of them.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::types::Timestamp;

use crate::disk::{DirectoryEntry, Disk, DiskFile, DiskSpace, OpenMode};
use file::{FaultyFile, Inode};

/// Operations that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Open,
    Write,
    Read,
    SetLength,
    Sync,
    SyncDirectory,
    Rename,
    Remove,
    List,
}

#[derive(Debug, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: Tree,
    durable_files: Tree,
    /// Not yet durable, oldest first.
    changes: Vec<Change>,
    faults: Vec<Fault>,
    space_left: Option<u64>,
    cold: bool,
    /// The modification time of every file.
    modified: Timestamp,
}

type Tree = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Arc<Mutex<Inode>>),
}

#[derive(Debug, Clone)]
enum Change {
    Put(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Debug)]
struct Fault {
    operation: Operation,
    /// Successful calls before it.
    after: u64,
    error: io::Error,
}

impl FaultyDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one call of `operation` fail, after `after` more that succeed.
    pub fn fail(&self, operation: Operation, after: u64, error: impl Into<io::Error>) {
        lock(&self.state).faults.push(Fault { operation, after, error: error.into() });
    }

    /// Bytes by which files may still grow. A write that does not fit is cut short; with nothing left it fails.
    pub fn set_space_left(&self, bytes: Option<u64>) {
        lock(&self.state).space_left = bytes;
    }

    /// Whether reads that must not wait find nothing in memory.
    pub fn set_cold(&self, cold: bool) {
        lock(&self.state).cold = cold;
    }

    /// Sets the modification time of every file.
    pub fn set_modified(&self, modified: Timestamp) {
        lock(&self.state).modified = modified;
    }

    /// Simulates a power cut. `random` decides what is left of unsynced changes; open files keep the former state.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let mut state = lock(&self.state);
        let mut changes = std::mem::take(&mut state.changes);
        while let Some(parent) = changes.first().map(|change| change.parent().to_owned()) {
            let (here, elsewhere): (Vec<_>, _) = changes.into_iter().partition(|change| change.parent() == parent);
            let kept = usize::try_from(random()).unwrap_or(0).checked_rem(here.len().saturating_add(1));
            here.into_iter().take(kept.unwrap_or(0)).for_each(|change| change.apply(&mut state.durable_files));
            changes = elsewhere;
        }
        let mut files = std::mem::take(&mut state.durable_files);
        files.retain_with_parents();
        for node in files.values_mut() {
            if let Node::File(inode) = node {
                let left = lock(inode).after_crash(random);
                *inode = Arc::new(Mutex::new(left));
            }
        }
        state.durable_files = files.clone();
        state.files = files;
        state.faults.clear();
        state.space_left = None;
    }

    /// The content of a file, to inspect or to damage.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        match lock(&self.state).files.get(path)? {
            Node::File(inode) => Some(lock(inode).bytes().to_vec()),
            Node::Directory => None,
        }
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let node = Node::File(Arc::new(Mutex::new(Inode::durable(bytes))));
        let mut state = lock(&self.state);
        state.files.insert(path.to_owned(), node.clone());
        state.durable_files.insert(path.to_owned(), node);
    }

    fn change(&self, operation: Operation, change: impl FnOnce(&State) -> io::Result<Vec<Change>>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.check(operation)?;
        for change in change(&state)? {
            change.apply(&mut state.files);
            let earlier = std::mem::take(&mut state.changes);
            state.changes = earlier.into_iter().filter_map(|earlier| earlier.followed_by(&change)).collect();
            state.changes.push(change);
        }
        Ok(())
    }
}

impl State {
    fn has_parent(&self, path: &Path) -> bool {
        path.parent().is_none_or(|parent| is_root(parent) || self.files.contains_key(parent))
    }

    /// The requested error, once it is due.
    fn check(&mut self, operation: Operation) -> io::Result<()> {
        let Some(index) = self.faults.iter().position(|fault| fault.operation == operation) else { return Ok(()) };
        let Some(fault) = self.faults.get_mut(index) else { return Ok(()) };
        match fault.after.checked_sub(1) {
            Some(after) => {
                fault.after = after;
                Ok(())
            }
            None => Err(self.faults.remove(index).error),
        }
    }
}

trait WithParents {
    fn retain_with_parents(&mut self);
}

impl WithParents for Tree {
    /// What is in a directory that never became durable is lost.
    fn retain_with_parents(&mut self) {
        let mut kept = Self::new();
        for (path, node) in std::mem::take(self) {
            if path.parent().is_none_or(|parent| is_root(parent) || kept.contains_key(parent)) {
                kept.insert(path, node);
            }
        }
        *self = kept;
    }
}

impl Change {
    fn parent(&self) -> &Path {
        let (Self::Put(path, _) | Self::Rename(_, path) | Self::Remove(path)) = self;
        path.parent().unwrap_or(path)
    }

    /// The node once `later` has happened, too: what is not durable in a directory is lost with it, and does not
    /// belong to a later directory of that name.
    fn followed_by(self, later: &Self) -> Option<Self> {
        match later {
            Self::Rename(from, to) if self.parent().starts_with(from) => {
                let moved = |path: PathBuf| if let Ok(rest) = path.strip_prefix(from) { to.join(rest) } else { path };
                Some(match self {
                    Self::Put(path, node) => Self::Put(moved(path), node),
                    Self::Rename(old, new) => Self::Rename(moved(old), moved(new)),
                    Self::Remove(path) => Self::Remove(moved(path)),
                })
            }
            Self::Remove(directory) if self.parent().starts_with(directory) => None,
            _ => Some(self),
        }
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Put(path, node) => drop(tree.insert(path.clone(), node.clone())),
            Self::Rename(from, to) => {
                take(tree, to);
                for (path, node) in take(tree, from) {
                    if let Ok(rest) = path.strip_prefix(from) {
                        let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                        tree.insert(target, node);
                    }
                }
            }
            Self::Remove(path) => drop(take(tree, path)),
        }
    }
}

/// Takes a file, or a directory with its content: in the order of paths they are adjacent.
fn take(tree: &mut Tree, path: &Path) -> Vec<(PathBuf, Node)> {
    let from = tree.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
    let taken: Vec<_> = from.map(|(path, _)| path).take_while(|other| other.starts_with(path)).cloned().collect();
    taken.into_iter().filter_map(|path| tree.remove_entry(&path)).collect()
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = lock(&self.state);
        state.check(Operation::Open)?;
        let inode = match state.files.get(path) {
            Some(Node::File(inode)) => inode.clone(),
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None if mode != OpenMode::Create || !state.has_parent(path) => return Err(io::ErrorKind::NotFound.into()),
            None => {
                let inode = Arc::new(Mutex::new(Inode::default()));
                let change = Change::Put(path.to_owned(), Node::File(inode.clone()));
                change.apply(&mut state.files);
                state.changes.push(change);
                inode
            }
        };
        Ok(Arc::new(FaultyFile::new(self.state.clone(), inode)))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Open, |state| {
            let missing =
                path.ancestors().filter(|path| path.file_name().is_some() && !state.files.contains_key(*path));
            let missing: Vec<_> = missing.map(|path| Change::Put(path.to_owned(), Node::Directory)).collect();
            Ok(missing.into_iter().rev().collect())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.check(Operation::SyncDirectory)?;
        let changes = std::mem::take(&mut state.changes);
        let (here, elsewhere): (Vec<_>, _) = changes.into_iter().partition(|change| change.parent() == path);
        for change in &here {
            change.apply(&mut state.durable_files);
        }
        state.changes = elsewhere;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename, |state| {
            state.files.get(from).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![Change::Rename(from.to_owned(), to.to_owned())])
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, |state| {
            state.files.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![Change::Remove(path.to_owned())])
        })
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut state = lock(&self.state);
        state.check(Operation::List)?;
        state.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let here = state.files.iter().filter(|(other, _)| other.parent() == Some(path));
        let entries = here.filter_map(|(path, node)| {
            let name = path.file_name()?.to_owned();
            Some(match node {
                Node::Directory => DirectoryEntry { name, is_directory: true, length: 0 },
                Node::File(inode) => DirectoryEntry { name, is_directory: false, length: lock(inode).length() },
            })
        });
        Ok(entries.collect())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let state = lock(&self.state);
        let lengths = state.files.values().map(|node| match node {
            Node::Directory => 0,
            Node::File(inode) => lock(inode).length(),
        });
        let usable_bytes = state.space_left.unwrap_or(u64::MAX);
        Ok(DiskSpace { total_bytes: lengths.fold(usable_bytes, u64::saturating_add), usable_bytes })
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

/// A panic of a test elsewhere does not matter here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "faulty_test.rs"]
mod tests;
