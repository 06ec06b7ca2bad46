//! `leader-epoch-checkpoint`: the start offset of each leader epoch (KIP-101), by which followers and consumers find
//! a divergence. Every batch has its epoch, and recovery reads every batch beyond the recovery point: so the file is
//! written when a log is flushed, before the recovery point advances, and never while a producer waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::{LeaderEpoch, Offset};

use crate::checkpoint::{CheckpointError, fields, read_entries, write_entries};
use crate::disk::Disk;

pub(crate) const FILE_NAME: &str = "leader-epoch-checkpoint";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start_offset: Offset,
}

/// Epochs and start offsets both strictly increase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The epoch in which the record at `offset` was written.
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(after.checked_sub(1)?).map(|entry| entry.epoch)
    }

    /// The largest epoch up to `epoch`, and its end offset: where the next one starts, or the log end. For an epoch
    /// older than all known, itself and the start of the first known epoch. `None` for one not seen yet.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest()? < epoch {
            return None;
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end = self.entries.get(after).map_or(log_end, |next| next.start_offset);
        let floor = after.checked_sub(1).and_then(|index| self.entries.get(index));
        Some((floor.map_or(epoch, |entry| entry.epoch), end))
    }

    /// Begins `epoch` at `start_offset`, removing entries that contradict it. `false`: nothing changed.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        let known = |latest: &EpochEntry| latest.epoch == epoch && latest.start_offset <= start_offset;
        if epoch.0 < 0 || self.entries.last().is_some_and(known) {
            return false;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The epochs that have records before `end`.
    pub(crate) fn before(&self, end: Offset) -> Self {
        let mut epochs = self.clone();
        epochs.truncate_from_end(end);
        epochs
    }

    /// Forgets epochs that began at or after `offset`.
    pub(crate) fn truncate_from_end(&mut self, offset: Offset) {
        self.entries.retain(|entry| entry.start_offset < offset);
    }

    /// Forgets epochs that ended at or before `offset`.
    pub(crate) fn truncate_from_start(&mut self, offset: Offset) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.drain(..after.saturating_sub(1));
        if let Some(first) = self.entries.first_mut() {
            first.start_offset = first.start_offset.max(offset);
        }
    }

    fn is_monotonic(&self) -> bool {
        self.entries.is_sorted_by(|a, b| a.epoch < b.epoch && a.start_offset < b.start_offset)
    }
}

/// In ascending order.
impl FromIterator<(LeaderEpoch, Offset)> for LeaderEpochs {
    fn from_iter<I: IntoIterator<Item = (LeaderEpoch, Offset)>>(entries: I) -> Self {
        let mut epochs = Self::default();
        for (epoch, start_offset) in entries {
            epochs.assign(epoch, start_offset);
        }
        epochs
    }
}

/// The file of one partition.
#[derive(Debug)]
pub(crate) struct LeaderEpochFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl LeaderEpochFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, path: directory.join(FILE_NAME) }
    }

    /// `None` if there is no file.
    pub(crate) fn read(&self) -> Result<Option<LeaderEpochs>, CheckpointError> {
        let entries = read_entries(&*self.disk, &self.path, |line| {
            let [epoch, start_offset] = fields(line)?;
            let epoch = LeaderEpoch(epoch.parse().ok().filter(|epoch| 0 <= *epoch)?);
            let start_offset = Offset(start_offset.parse().ok().filter(|offset| 0 <= *offset)?);
            Some(EpochEntry { epoch, start_offset })
        })?;
        let Some(entries) = entries else { return Ok(None) };
        let epochs = LeaderEpochs { entries };
        if !epochs.is_monotonic() {
            let reason = "epochs and offsets do not increase".to_owned();
            return Err(CheckpointError::Invalid { path: self.path.clone(), reason });
        }
        Ok(Some(epochs))
    }

    pub(crate) fn write(&self, epochs: &LeaderEpochs) -> Result<(), CheckpointError> {
        let entries = epochs.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset));
        write_entries(&*self.disk, &self.path, entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        entries.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start))).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_starts() {
        let known = epochs(&[(2, 10), (4, 20), (5, 30)]);
        let table = [
            (0, Some((0, 10))),
            (1, Some((1, 10))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (4, Some((4, 30))),
            (5, Some((5, 99))),
            (6, None),
        ];
        for (epoch, expected) in table {
            let expected = expected.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end)));
            assert_eq!(known.end_offset_for_epoch(LeaderEpoch(epoch), Offset(99)), expected, "{epoch}");
        }
        assert_eq!(epochs(&[]).end_offset_for_epoch(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn finds_the_epoch_of_an_offset() {
        let known = epochs(&[(2, 10), (4, 20)]);
        for (offset, epoch) in [(9, None), (10, Some(2)), (19, Some(2)), (20, Some(4)), (999, Some(4))] {
            assert_eq!(known.epoch_for_offset(Offset(offset)), epoch.map(LeaderEpoch), "{offset}");
        }
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        assert_eq!(epochs(&[(2, 10), (3, 10)]), epochs(&[(3, 10)]));
        let mut known = epochs(&[(2, 10)]);
        assert!(!known.assign(LeaderEpoch(2), Offset(15)), "the epoch has begun");
    }

    #[test]
    fn truncation_keeps_the_epoch_that_spans_the_cut() {
        let mut known = epochs(&[(1, 0), (2, 10), (4, 20)]);
        known.truncate_from_start(Offset(15));
        assert_eq!(known, epochs(&[(2, 15), (4, 20)]));
        known.truncate_from_end(Offset(20));
        assert_eq!(known, epochs(&[(2, 15)]));
        known.truncate_from_start(Offset(5));
        assert_eq!(known, epochs(&[(2, 15)]));
    }
}
