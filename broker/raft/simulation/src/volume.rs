//! A disk that keeps only what was synced: the log in the page cache, the log that a power cut leaves, and the
//! changes between them.

use std::collections::VecDeque;

use protocol::types::{DirectoryId, LeaderEpoch, Offset};
use raft::{ControlRecord, ElectionState, LogSummary, Quorum, Restored, SnapshotId, VoterSet};

use crate::random::{Random, mix};

/// A record. `chain` identifies it and all before it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub epoch: LeaderEpoch,
    pub chain: u64,
    pub control: Option<ControlRecord>,
    /// A batch is fetched, and torn off, as a whole.
    pub ends_batch: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Log {
    pub start: usize,
    /// `chain` of the record before `start`.
    pub before: u64,
    pub entries: VecDeque<Entry>,
}

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub quorum: Quorum,
    /// `chain` of its last record.
    pub chain: u64,
}

#[derive(Debug, Clone)]
enum Change {
    Append(Vec<Entry>),
    Truncate(usize),
    Restart(Box<Snapshot>),
}

#[derive(Debug)]
pub struct Volume {
    pub directory_id: DirectoryId,
    /// As the process sees it.
    pub log: Log,
    pub durable: Log,
    pub election: ElectionState,
    /// Being written: after a crash it is there or not.
    pub election_unsynced: Option<ElectionState>,
    pub snapshot: Option<Snapshot>,
    unsynced: VecDeque<Change>,
    /// Number of changes that were ever synced.
    synced: u64,
}

impl Log {
    pub fn end(&self) -> usize {
        self.start + self.entries.len()
    }

    pub fn get(&self, offset: usize) -> Option<&Entry> {
        self.entries.get(offset.checked_sub(self.start)?)
    }

    /// `chain` of everything before the offset.
    pub fn chain_before(&self, end: usize) -> Option<u64> {
        if end == self.start { Some(self.before) } else { self.get(end.checked_sub(1)?).map(|entry| entry.chain) }
    }

    /// The first end of a batch at or after `end`.
    pub fn batch_end(&self, end: usize) -> usize {
        let mut ends = end..;
        let splits = |end: &usize| self.get(end.wrapping_sub(1)).is_some_and(|entry| !entry.ends_batch);
        ends.find(|end| !splits(end)).unwrap()
    }

    pub fn read(&self, from: usize, to: usize) -> Vec<Entry> {
        (from..to).map_while(|offset| self.get(offset).cloned()).collect()
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Change::Truncate(end) => self.entries.truncate(end.saturating_sub(self.start)),
            Change::Restart(snapshot) => {
                *self =
                    Self { start: offset(snapshot.id.end_offset), before: snapshot.chain, entries: VecDeque::new() };
            }
        }
    }

    fn advance_start(&mut self, start: usize) {
        while self.start < start.min(self.end()) {
            self.before = self.entries.pop_front().unwrap().chain;
            self.start += 1;
        }
    }
}

impl Volume {
    pub fn new(directory_id: DirectoryId, snapshot: Option<Snapshot>) -> Self {
        Self {
            directory_id,
            log: Log::default(),
            durable: Log::default(),
            election: ElectionState::default(),
            election_unsynced: None,
            snapshot,
            unsynced: VecDeque::new(),
            synced: 0,
        }
    }

    /// A copy of the disk as of now.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            log: self.durable.clone(),
            durable: self.durable.clone(),
            election: self.election,
            snapshot: self.snapshot.clone(),
            ..Self::new(self.directory_id, None)
        }
    }

    /// A new record for `value`, after the last one.
    pub fn next_entry(
        &self,
        value: u64,
        epoch: LeaderEpoch,
        before: Option<u64>,
        control: Option<ControlRecord>,
    ) -> Entry {
        let before = before.or_else(|| self.log.chain_before(self.log.end())).unwrap();
        let epoch_number = u64::from(epoch.0.unsigned_abs());
        Entry { epoch, chain: mix(before ^ mix(value ^ (epoch_number << 40))), control, ends_batch: true }
    }

    pub fn append(&mut self, entries: Vec<Entry>) {
        self.change(Change::Append(entries));
    }

    pub fn truncate(&mut self, end: usize) {
        self.change(Change::Truncate(end));
    }

    pub fn restart(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot.clone());
        self.change(Change::Restart(Box::new(snapshot)));
    }

    fn change(&mut self, change: Change) {
        self.log.apply(&change);
        self.unsynced.push_back(change);
    }

    /// The changes that a sync begun now will make durable.
    pub fn changes(&self) -> u64 {
        self.synced + self.unsynced.len() as u64
    }

    pub fn sync(&mut self, changes: u64) {
        while self.synced < changes {
            let Some(change) = self.unsynced.pop_front() else { break };
            self.durable.apply(&change);
            self.synced += 1;
        }
    }

    pub fn sync_election(&mut self) {
        if let Some(state) = self.election_unsynced.take() {
            self.election = state;
        }
    }

    pub fn write_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }

    pub fn advance_start(&mut self, start: usize) {
        self.sync(u64::MAX);
        self.log.advance_start(start);
        self.durable.advance_start(start);
    }

    /// The process ends; the kernel writes what it was given.
    pub fn kill(&mut self, random: &mut Random) {
        self.sync(u64::MAX);
        self.tear_election(random);
    }

    /// A prefix of the unsynced changes remains, the last write torn.
    pub fn cut_power(&mut self, random: &mut Random) {
        let kept = random.below(self.unsynced.len() as u64 + 1);
        self.sync(self.synced + kept);
        if let Some(Change::Append(mut entries)) = self.unsynced.pop_front() {
            let mut kept = random.index(entries.len() + 1);
            while 0 < kept && !entries[kept - 1].ends_batch {
                kept -= 1;
            }
            entries.truncate(kept);
            self.durable.apply(&Change::Append(entries));
        }
        self.unsynced.clear();
        self.synced = 0;
        self.log = self.durable.clone();
        self.tear_election(random);
    }

    fn tear_election(&mut self, random: &mut Random) {
        if random.chance(500) {
            self.sync_election();
        }
        self.election_unsynced = None;
    }

    /// The state at a start: a snapshot that the log does not reach replaces the log.
    pub fn restore(&mut self) -> Restored {
        if let Some(snapshot) = self.snapshot.clone() {
            let reached = self.log.chain_before(offset(snapshot.id.end_offset)) == Some(snapshot.chain);
            if !reached && Offset(0) < snapshot.id.end_offset {
                self.restart(snapshot);
            }
        }
        self.sync(u64::MAX);
        Restored { election: self.election, log: self.summary() }
    }

    pub fn last_epoch(&self) -> LeaderEpoch {
        let of_snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.id.epoch);
        self.log.entries.back().map(|entry| entry.epoch).or(of_snapshot).unwrap_or_default()
    }

    /// The voters by its own records.
    pub fn voters(&self) -> VoterSet {
        self.voter_sets().next().unwrap_or_default()
    }

    /// The latest first, down to that of the snapshot.
    pub fn voter_sets(&self) -> impl Iterator<Item = VoterSet> {
        let behind = self.snapshot.as_ref().map_or(0, |snapshot| offset(snapshot.id.end_offset));
        let records = (self.log.start..self.log.end()).zip(&self.log.entries).rev();
        let named = records.take_while(move |(at, _)| behind <= *at).filter_map(|(_, entry)| match &entry.control {
            Some(ControlRecord::KRaftVoters(voters)) => Some(voters.clone()),
            _ => None,
        });
        named.chain(self.snapshot.as_ref().map(|snapshot| snapshot.quorum.voters.clone()))
    }

    fn summary(&self) -> LogSummary {
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
        let mut control = Vec::new();
        let behind = self.snapshot.as_ref().map_or(0, |snapshot| offset(snapshot.id.end_offset));
        for (at, entry) in (self.log.start..).zip(&self.log.entries) {
            if epochs.last().is_none_or(|(epoch, _)| *epoch < entry.epoch) {
                epochs.push((entry.epoch, position(at)));
            }
            control.extend(entry.control.clone().filter(|_| behind <= at).map(|record| (position(at), record)));
        }
        LogSummary {
            start_offset: position(self.log.start),
            end_offset: position(self.log.end()),
            epochs,
            snapshot: self.snapshot.as_ref().map(|snapshot| snapshot.id),
            snapshot_quorum: self.snapshot.as_ref().map(|snapshot| snapshot.quorum.clone()).unwrap_or_default(),
            control,
        }
    }
}

pub fn offset(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap()
}

pub fn position(index: usize) -> Offset {
    Offset(i64::try_from(index).unwrap())
}
