//! A machine, beside what the simulation of the quorum has of it: its volumes, and the broker's part of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId, LeaderEpoch, Offset};
use storage::faulty::FaultyDisk;

use super::controllers::Controller;
use super::messages::Client;
use crate::metadata::Image;
use crate::replica::simulated::{Key, Positions, SimulatedReplicas};
use crate::replica::{IsrProposal, Written};

pub(super) struct Machine {
    pub(super) id: BrokerId,
    /// The volume that is mounted.
    pub(super) directory: DirectoryId,
    pub(super) disks: BTreeMap<DirectoryId, Arc<FaultyDisk>>,
    /// Of the quorum's node, when it was looked at last.
    pub(super) life: u64,
    /// What its wall clock says beyond the truth.
    pub(super) wall_ahead_ms: i64,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) incarnation: IncarnationId,
    pub(super) replicas: SimulatedReplicas,
    /// Committed, and followed here.
    pub(super) image: Image,
    /// Whether it has been told what is committed, and opened its logs then.
    pub(super) is_loaded: bool,
    /// It takes connections of clients and followers since it was unfenced for the first time.
    pub(super) serves: bool,
    pub(super) session: Session,
    /// What is asked of leaders, until when an answer counts.
    pub(super) fetching: BTreeMap<Key, (u64, u64)>,
    pub(super) proposals: Vec<(Key, IsrProposal)>,
    pub(super) proposing: Option<Proposing>,
    pub(super) syncing: BTreeSet<Key>,
    pub(super) unsettled: Vec<Unsettled>,
    /// By client and connection: which of its messages comes next.
    pub(super) connections: BTreeMap<(Client, u64), u64>,
    pub(super) controller: Controller,
    /// The logs as they were when they were looked at last.
    pub(super) copies: BTreeMap<Key, Copied>,
}

/// With the controller.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) epoch: Option<BrokerEpoch>,
    pub(super) previous_epoch: Option<BrokerEpoch>,
    /// What is asked, until when an answer counts.
    pub(super) asking: Option<(u64, u64)>,
    pub(super) heartbeat_due: u64,
    pub(super) review_due: u64,
    /// Told to stop.
    pub(super) stops: bool,
}

/// In-sync sets that the controller is asked for.
pub(super) struct Proposing {
    pub(super) request: u64,
    /// Until then an answer counts.
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

/// A log: in memory, to be compared.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) positions: Positions,
    start: usize,
    entries: Vec<(LeaderEpoch, u64)>,
}

impl Process {
    /// Whether the controller's registration is of this very process.
    pub(super) fn is_registered(&self, image: &Image, id: BrokerId) -> bool {
        image.brokers.get(&id).is_some_and(|broker| broker.incarnation == self.incarnation)
    }

    /// Of this process, once the metadata has it.
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

    pub(super) fn get(&self, offset: usize) -> Option<(LeaderEpoch, u64)> {
        self.entries.get(offset.checked_sub(self.start)?).copied()
    }

    pub(super) fn has(&self, value: u64) -> bool {
        self.entries.iter().any(|(_, held)| *held == value)
    }

    /// What lies before the log now, and behind its end, is gone. Returns what was behind.
    pub(super) fn cut(&mut self, positions: &Positions) -> Vec<(LeaderEpoch, u64)> {
        let kept = index(positions.log_end).saturating_sub(self.start).min(self.entries.len());
        let behind = self.entries.split_off(kept);
        let start = index(positions.log_start);
        let gone = start.checked_sub(self.start).unwrap_or(usize::MAX);
        self.entries.drain(..gone.min(self.entries.len()));
        self.start = start;
        behind
    }

    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = (Offset, LeaderEpoch, u64)>) {
        for (offset, epoch, value) in entries {
            assert_eq!(index(offset), self.end(), "a log has no gaps");
            self.entries.push((epoch, value));
        }
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
