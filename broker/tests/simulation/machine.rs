//! A machine, besides its part in the simulation of the quorum: its volumes, and the broker's part of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId, LeaderEpoch, Offset};
use storage::faulty::FaultyDisk;

use super::controllers::Controller;
use super::messages::Client;
use crate::coordinator::simulated::SimulatedCoordinators;
use crate::metadata::Image;
use crate::replica::simulated::{Entry, Key, Positions, Record, SimulatedReplicas};
use crate::replica::{IsrProposal, Written};

pub(super) struct Machine {
    pub(super) id: BrokerId,
    /// The volume that is mounted.
    pub(super) directory: DirectoryId,
    pub(super) disks: BTreeMap<DirectoryId, Arc<FaultyDisk>>,
    /// The life of the quorum's node at the last look.
    pub(super) life: u64,
    /// By how much its wall clock is ahead.
    pub(super) wall_ahead_ms: i64,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) incarnation: IncarnationId,
    pub(super) replicas: SimulatedReplicas,
    pub(super) coordinators: SimulatedCoordinators,
    /// Committed, and applied here.
    pub(super) image: Image,
    /// The same, as coordinators see it.
    pub(super) published: Arc<ArcSwap<Image>>,
    /// Whether it knows what is committed, and has opened its logs.
    pub(super) is_loaded: bool,
    /// Whether it accepts clients and followers, which it does since it was first unfenced.
    pub(super) serves: bool,
    pub(super) session: Session,
    /// Fetches in flight, with the time until which an answer counts.
    pub(super) fetching: BTreeMap<Key, (u64, u64)>,
    pub(super) proposals: Vec<(Key, IsrProposal)>,
    pub(super) proposing: Option<Proposing>,
    pub(super) syncing: BTreeSet<Key>,
    pub(super) unsettled: Vec<Unsettled>,
    /// By client and connection: the number of its next message.
    pub(super) connections: BTreeMap<(Client, u64), u64>,
    pub(super) controller: Controller,
    /// The logs at the last look.
    pub(super) copies: BTreeMap<Key, Copied>,
}

/// The session with the controller.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) epoch: Option<BrokerEpoch>,
    pub(super) previous_epoch: Option<BrokerEpoch>,
    /// The request in flight, with the time until which an answer counts.
    pub(super) asking: Option<(u64, u64)>,
    pub(super) heartbeat_due: u64,
    pub(super) review_due: u64,
    /// Told to stop.
    pub(super) stops: bool,
}

/// ISR proposals sent to the controller.
pub(super) struct Proposing {
    pub(super) request: u64,
    /// The time until which an answer counts.
    pub(super) until: u64,
    pub(super) asked: Vec<(Key, IsrProposal)>,
}

/// A batch that is written, and not acknowledged yet.
pub(super) struct Unsettled {
    pub(super) key: Key,
    pub(super) client: Client,
    pub(super) request: u64,
    pub(super) written: Written,
    pub(super) epoch: LeaderEpoch,
    pub(super) deadline: u64,
}

/// A copy of a log in memory, for comparison.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) positions: Positions,
    start: usize,
    entries: Vec<Slot>,
}

/// The record at an offset: none if the log was compacted.
pub(super) type Slot = Option<(LeaderEpoch, Record)>;

impl Process {
    /// Whether the controller has this very process registered.
    pub(super) fn is_registered(&self, image: &Image, id: BrokerId) -> bool {
        image.brokers.get(&id).is_some_and(|broker| broker.incarnation == self.incarnation)
    }

    /// The epoch of this process, once the metadata has it.
    pub(super) fn broker_epoch(&self, id: BrokerId) -> Option<BrokerEpoch> {
        self.image.brokers.get(&id).filter(|_| self.is_registered(&self.image, id)).map(|broker| broker.epoch)
    }
}

impl Copied {
    pub(super) fn new(positions: Positions) -> Self {
        let start = index(positions.log_start);
        Self {
            positions: Positions { log_end: positions.log_start, leads: None, ..positions },
            start,
            entries: Vec::new(),
        }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn end(&self) -> usize {
        self.start + self.entries.len()
    }

    pub(super) fn get(&self, offset: usize) -> Slot {
        *self.entries.get(offset.checked_sub(self.start)?)?
    }

    pub(super) fn has(&self, record: Record) -> bool {
        self.entries.iter().flatten().any(|(_, held)| *held == record)
    }

    /// With their offsets.
    pub(super) fn records(&self) -> impl Iterator<Item = (usize, Record)> {
        let entries = (self.start..).zip(&self.entries);
        entries.filter_map(|(at, slot)| slot.map(|(_, record)| (at, record)))
    }

    /// The last record of each key, with its offset.
    pub(super) fn last_of_keys(&self) -> BTreeMap<Option<u64>, (usize, Record)> {
        self.records().map(|(at, record)| (record.key, (at, record))).collect()
    }

    /// Removes what is before the log's start and beyond its end. Returns the latter.
    pub(super) fn cut(&mut self, positions: &Positions) -> Vec<Slot> {
        let kept = index(positions.log_end).saturating_sub(self.start).min(self.entries.len());
        let behind = self.entries.split_off(kept);
        let start = index(positions.log_start);
        let gone = start.checked_sub(self.start).unwrap_or(usize::MAX);
        self.entries.drain(..gone.min(self.entries.len()));
        self.start = start;
        behind
    }

    /// Adds everything that follows, up to the log end.
    pub(super) fn extend(&mut self, entries: Vec<Entry>, is_compacted: bool) {
        let begin = self.end();
        for (offset, epoch, record) in entries {
            self.skip_to(offset);
            self.entries.push(Some((epoch, record)));
        }
        self.skip_to(self.positions.log_end);
        let is_whole = self.entries.iter().skip(begin - self.start).all(Option::is_some);
        assert!(is_whole || is_compacted, "a log has no gaps");
    }

    fn skip_to(&mut self, offset: Offset) {
        let missing = index(offset).checked_sub(self.end()).expect("a log is read on where it ended");
        self.entries.extend(std::iter::repeat_n(None, missing));
    }

    /// The same replica, after a change in the middle of its log.
    pub(super) fn read_again(&self, entries: Vec<Entry>) -> Self {
        let mut again = Self { positions: self.positions, start: self.start, entries: Vec::new() };
        again.extend(entries, true);
        again
    }
}

pub(super) fn node_of(id: BrokerId) -> usize {
    usize::try_from(id.0).unwrap()
}

pub(super) fn index(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap()
}

pub(super) fn offset(index: usize) -> Offset {
    Offset(i64::try_from(index).unwrap())
}
