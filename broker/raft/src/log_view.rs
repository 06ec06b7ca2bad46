//! The log as the quorum sees it: log start and log end, the start of each epoch, and the voters by its control
//! records. No bytes. The runtime's log is equal to it once all actions so far are carried out.

use protocol::types::{LeaderEpoch, Offset};

use crate::control::{ControlRecord, Quorum};
use crate::event::LogGeneration;
use crate::identity::SnapshotId;

/// The log on disk, as given to `Raft::start`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSummary {
    pub start_offset: Offset,
    pub end_offset: Offset,
    /// Each epoch with the offset of its first record, ascending.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The latest complete one. Formatting with voters leaves the bootstrap snapshot 0-0.
    pub snapshot: Option<SnapshotId>,
    /// The state of the quorum in that snapshot.
    pub snapshot_quorum: Quorum,
    /// The control records after the snapshot, with their offsets.
    pub control: Vec<(Offset, ControlRecord)>,
}

/// How a follower's position relates to this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Its records are a prefix of this log.
    Valid,
    /// They are not; with this log's end of the largest epoch that both may have.
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
    /// They end before this log begins, or contradict what came before it.
    BeforeStart,
}

#[derive(Debug)]
pub(crate) struct LogView {
    start: Offset,
    /// Epoch of the record before `start`, 0 if there was none. Unknown if a later snapshot has replaced it.
    epoch_before_start: Option<LeaderEpoch>,
    end: Offset,
    persisted: Offset,
    generation: LogGeneration,
    epochs: Vec<(LeaderEpoch, Offset)>,
    snapshot: Option<SnapshotId>,
    /// The state from `base_offset` to the first change in `changes`.
    base: Quorum,
    base_offset: Offset,
    /// Offsets of the control records that changed it, and the state since.
    changes: Vec<(Offset, Quorum)>,
}

impl LogView {
    pub(crate) fn new(summary: LogSummary) -> Self {
        let LogSummary { start_offset, end_offset, epochs, snapshot, snapshot_quorum, control } = summary;
        let at_start = snapshot.filter(|snapshot| snapshot.end_offset == start_offset);
        let first = (start_offset == Offset(0)).then_some(LeaderEpoch(0));
        let mut view = Self {
            start: start_offset,
            epoch_before_start: at_start.map(|snapshot| snapshot.epoch).or(first),
            end: end_offset,
            persisted: end_offset,
            generation: LogGeneration::default(),
            epochs,
            snapshot,
            base: snapshot_quorum,
            base_offset: snapshot.map_or(start_offset, |snapshot| snapshot.end_offset),
            changes: Vec::new(),
        };
        view.trim_epochs();
        view.add_control(&control);
        view
    }

    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn persisted(&self) -> Offset {
        self.persisted
    }

    pub(crate) fn generation(&self) -> LogGeneration {
        self.generation
    }

    pub(crate) fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    /// Epoch of the last record; of the snapshot if there is none after it; 0 in a log that never had any.
    pub(crate) fn last_epoch(&self) -> LeaderEpoch {
        let of_snapshot = self.snapshot.filter(|snapshot| snapshot.end_offset == self.end);
        let before = self.epoch_before_start.or_else(|| of_snapshot.map(|snapshot| snapshot.epoch));
        self.epochs.last().map(|(epoch, _)| *epoch).or(before).unwrap_or_default()
    }

    /// The state at the log end.
    pub(crate) fn quorum(&self) -> &Quorum {
        self.changes.last().map_or(&self.base, |(_, quorum)| quorum)
    }

    /// The state before the latest change.
    pub(crate) fn former_quorum(&self) -> &Quorum {
        self.changes.iter().rev().nth(1).map_or(&self.base, |(_, quorum)| quorum)
    }

    /// The state by the records before `end_offset`, none if they are no longer known.
    pub(crate) fn quorum_at(&self, end_offset: Offset) -> Option<&Quorum> {
        let change = self.changes.iter().rev().find(|(offset, _)| *offset < end_offset);
        change.map(|(_, quorum)| quorum).or_else(|| (self.base_offset <= end_offset).then_some(&self.base))
    }

    /// Offset of the latest record that changed the voters; none if they are from a snapshot.
    pub(crate) fn last_change(&self) -> Option<Offset> {
        self.changes.last().map(|(offset, _)| *offset)
    }

    /// The caller has checked that they continue the log.
    pub(crate) fn append(&mut self, epoch: LeaderEpoch, end_offset: Offset, control: &[(Offset, ControlRecord)]) {
        assert!(self.end < end_offset, "an append brings at least one record");
        assert!(self.last_epoch() <= epoch, "epochs in a log do not go back");
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, self.end));
        }
        self.end = end_offset;
        self.add_control(control);
    }

    /// A report about an earlier generation is ignored.
    pub(crate) fn persist(&mut self, end_offset: Offset, generation: LogGeneration) {
        if generation == self.generation {
            self.persisted = self.persisted.max(end_offset.min(self.end));
        }
    }

    /// Voters roll back with the records that named them.
    pub(crate) fn truncate(&mut self, end_offset: Offset) {
        assert!(self.start <= end_offset, "what a snapshot has replaced cannot be truncated");
        self.drop_tail(end_offset);
        self.changes.retain(|(offset, _)| *offset < end_offset);
    }

    /// Drops the log's tail, but keeps the voters that it named: a planted bug.
    pub(crate) fn drop_tail(&mut self, end_offset: Offset) {
        self.end = self.end.min(end_offset);
        self.persisted = self.persisted.min(end_offset);
        self.epochs.retain(|(_, first)| *first < end_offset);
        self.generation = LogGeneration(self.generation.0.wrapping_add(1));
    }

    pub(crate) fn restart_at(&mut self, id: SnapshotId, quorum: Quorum) {
        let generation = LogGeneration(self.generation.0.wrapping_add(1));
        *self = Self { generation, ..Self::new(LogSummary::at_snapshot(id, quorum)) };
    }

    pub(crate) fn add_snapshot(&mut self, id: SnapshotId) {
        self.snapshot = self.snapshot.max(Some(id));
    }

    pub(crate) fn advance_start(&mut self, offset: Offset) {
        if offset <= self.start {
            return;
        }
        self.epoch_before_start = self.epoch_before(offset);
        self.start = offset;
        self.trim_epochs();
        let outlived = self.changes.iter().rposition(|(change, _)| *change < offset);
        if let Some((_, quorum)) = outlived.and_then(|last| self.changes.drain(..=last).next_back()) {
            self.base = quorum;
            self.base_offset = offset;
        }
    }

    /// Epoch of the record before the offset, which is within the log.
    pub(crate) fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        if offset == self.start {
            return self.epoch_before_start;
        }
        let within = self.start < offset && offset <= self.end;
        let of_offset = self.epochs.iter().rev().find(|(_, first)| *first < offset);
        of_offset.filter(|_| within).map(|(epoch, _)| *epoch)
    }

    /// Whether the log has everything in the snapshot.
    pub(crate) fn covers(&self, id: SnapshotId) -> bool {
        let is_own = self.snapshot.is_some_and(|own| id <= own);
        is_own || self.epoch_before(id.end_offset) == Some(id.epoch)
    }

    /// The largest epoch in the log up to `epoch`, and its end offset.
    pub(crate) fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let at = self.epochs.iter().rposition(|(in_log, _)| *in_log <= epoch)?;
        let (found, _) = self.epochs.get(at)?;
        let end = self.epochs.get(at.saturating_add(1)).map_or(self.end, |(_, next)| *next);
        Some((*found, end))
    }

    /// Compares the end of a follower's log, and the epoch of its last record, with this log.
    pub(crate) fn position(&self, offset: Offset, epoch: LeaderEpoch) -> Position {
        if offset == Offset(0) && self.start == Offset(0) {
            return Position::Valid;
        }
        if offset <= self.start {
            let fits = offset == self.start && self.epoch_before_start == Some(epoch);
            return if fits { Position::Valid } else { Position::BeforeStart };
        }
        match self.end_of(epoch) {
            Some((found, end)) if found == epoch && offset <= end => Position::Valid,
            Some((found, end_offset)) => Position::Diverging { epoch: found, end_offset },
            // Beyond the log start there are later epochs only.
            None => match self.epoch_before_start {
                Some(before) if before <= epoch => Position::Diverging { epoch: before, end_offset: self.start },
                Some(_) | None => Position::BeforeStart,
            },
        }
    }

    /// Where to truncate if the leader's log of `epoch`, its largest one up to ours, ends at `end_offset`.
    pub(crate) fn divergence(&self, epoch: LeaderEpoch, end_offset: Offset) -> Offset {
        let own = match self.end_of(epoch) {
            Some((found, end)) if found == epoch => end.min(end_offset),
            Some((_, end)) => end,
            None if self.epoch_before_start == Some(epoch) => self.start.min(end_offset),
            None => self.start,
        };
        own.min(self.end)
    }

    /// Drops epochs that ended before the log start.
    fn trim_epochs(&mut self) {
        let covering = self.epochs.iter().rposition(|(_, first)| *first <= self.start).unwrap_or_default();
        self.epochs.drain(..covering);
        if self.start == self.end {
            self.epochs.clear();
        }
    }

    fn add_control(&mut self, control: &[(Offset, ControlRecord)]) {
        for (offset, record) in control {
            let mut quorum = self.quorum().clone();
            match record {
                ControlRecord::LeaderChange { .. } => continue,
                ControlRecord::KRaftVersion(version) => quorum.kraft_version = *version,
                ControlRecord::KRaftVoters(voters) => quorum.voters = voters.clone(),
            }
            self.changes.push((*offset, quorum));
        }
    }
}

#[cfg(test)]
#[path = "log_view_test.rs"]
mod tests;
