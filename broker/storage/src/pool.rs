//! Segment files that are currently open or mapped, over all logs: opened when first read, or left here when their
//! writes are synced, and limited in number. The least recently used are closed.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Mapping, OpenMode};
use crate::scanner::{ReadMode, ScanError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// `.log` files, besides those with unsynced records. A further one closes some that were not used recently.
    pub open_logs_max: usize,
    /// Index files of closed segments. A further one unmaps some that were not read recently.
    pub mappings_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { open_logs_max: 4096, mappings_max: 4096 }
    }
}

/// A segment's key in the pool. Names can come back after a deletion, ids do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SegmentId(u64);

/// The open files of one segment. They are closed when this is dropped.
#[derive(Debug)]
pub(crate) struct PooledSegment {
    pool: Arc<FilePool>,
    id: SegmentId,
}

#[derive(Debug, Clone)]
struct OpenLog {
    file: Arc<dyn DiskFile>,
    is_writable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IndexKind {
    Offset,
    Time,
}

#[derive(Debug)]
pub struct FilePool {
    disk: Arc<dyn Disk>,
    logs: Mutex<Lru<SegmentId, OpenLog>>,
    mappings: Mutex<Lru<(SegmentId, IndexKind), Arc<Mapping>>>,
    next_id: AtomicU64,
}

impl FilePool {
    pub fn new(disk: Arc<dyn Disk>, limits: PoolLimits) -> Arc<Self> {
        Arc::new(Self {
            disk,
            logs: Mutex::new(Lru::new(limits.open_logs_max)),
            mappings: Mutex::new(Lru::new(limits.mappings_max)),
            next_id: AtomicU64::new(0),
        })
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn new_segment(self: &Arc<Self>) -> PooledSegment {
        PooledSegment { pool: self.clone(), id: SegmentId(self.next_id.fetch_add(1, Ordering::Relaxed)) }
    }
}

impl PooledSegment {
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.pool.disk
    }

    /// The `.log`, for reading.
    pub(crate) fn log(
        &self,
        mode: ReadMode,
        open_file: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
    ) -> Result<Arc<dyn DiskFile>, ScanError> {
        let open = lock(&self.pool.logs).get(&self.id);
        match (open, mode) {
            (Some(log), _) => Ok(log.file),
            (None, ReadMode::NoWait) => Err(ScanError::WouldBlock),
            (None, ReadMode::Blocking) => {
                let file = open_file().map_err(ScanError::Io)?;
                self.insert(OpenLog { file: file.clone(), is_writable: false });
                Ok(file)
            }
        }
    }

    /// The `.log` that was left here, if it is still open.
    pub(crate) fn writable_log(&self) -> Option<Arc<dyn DiskFile>> {
        lock(&self.pool.logs).get(&self.id).filter(|log| log.is_writable).map(|log| log.file)
    }

    /// Leaves the `.log`, whose writes are all synced, to its next reader or writer.
    pub(crate) fn leave_log(&self, file: Arc<dyn DiskFile>) {
        self.insert(OpenLog { file, is_writable: true });
    }

    fn insert(&self, log: OpenLog) {
        lock(&self.pool.logs).insert(self.id, log);
    }

    pub(crate) fn mapping(&self, kind: IndexKind) -> Option<Arc<Mapping>> {
        lock(&self.pool.mappings).get(&(self.id, kind))
    }

    pub(crate) fn insert_mapping(&self, kind: IndexKind, mapping: Arc<Mapping>) {
        lock(&self.pool.mappings).insert((self.id, kind), mapping);
    }

    /// As [`Self::log`], for a segment whose file has the name `path`.
    pub(crate) fn log_at(&self, path: &Path, mode: ReadMode) -> Result<Arc<dyn DiskFile>, ScanError> {
        self.log(mode, || self.disk().open(path, OpenMode::Read))
    }
}

/// Open files of a removed segment would keep its space.
impl Drop for PooledSegment {
    fn drop(&mut self) {
        lock(&self.pool.logs).remove(&self.id);
        let mut mappings = lock(&self.pool.mappings);
        mappings.remove(&(self.id, IndexKind::Offset));
        mappings.remove(&(self.id, IndexKind::Time));
    }
}

/// The maps are consistent after every call, so that a poisoned lock can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Lru<K, V> {
    entries: HashMap<K, (V, u64)>,
    entries_max: usize,
    clock: u64,
}

impl<K: Eq + Hash + Copy, V: Clone> Lru<K, V> {
    fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), entries_max, clock: 0 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.clock = self.clock.saturating_add(1);
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries_max <= self.entries.len() && !self.entries.contains_key(&key) {
            self.evict();
        }
        self.clock = self.clock.saturating_add(1);
        self.entries.insert(key, (value, self.clock));
    }

    fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// An eighth at a time, so that finding the oldest costs little per insertion.
    fn evict(&mut self) {
        let mut used: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
        used.sort_unstable();
        let limit = used.get(self.entries_max / 8).copied().unwrap_or(u64::MAX);
        self.entries.retain(|_, (_, used)| limit < *used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let mut lru = Lru::new(8);
        (0..8).for_each(|key| lru.insert(key, key));
        assert_eq!(lru.get(&0), Some(0));
        lru.insert(8, 8);
        assert!(lru.entries.len() <= 8);
        assert_eq!(lru.get(&1), None);
        assert_eq!(lru.get(&0), Some(0));
        assert_eq!(lru.get(&8), Some(8));
    }

    #[test]
    fn the_bound_holds() {
        for max in [1, 2, 7, 100] {
            let mut lru = Lru::new(max);
            (0..1000).for_each(|key| lru.insert(key, ()));
            let count = lru.entries.len();
            assert!(count <= max, "{max}");
            assert_eq!(lru.get(&999), Some(()));
            lru.insert(999, ());
            assert_eq!(lru.entries.len(), count, "one that is there takes nobody's place");
        }
    }
}
