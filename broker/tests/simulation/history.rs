//! What clients saw, in the order in which they saw it. Checked at the end for the errors that Jepsen's tests of
//! Kafka define.

use std::collections::BTreeMap;

use protocol::types::Offset;

use super::messages::Client;
use crate::replica::simulated::{Key, Record};

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) sends: Vec<Send>,
    pub(super) polls: Vec<Poll>,
    /// Producers that a leader should have known.
    pub(super) forgotten: Vec<Forgotten>,
    /// Everything that can be read in the end, with the first offset.
    pub(super) last: BTreeMap<Key, Vec<(Offset, Record)>>,
}

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Send {
    pub(super) client: Client,
    pub(super) key: Key,
    pub(super) offset: Offset,
    /// A producer's records have ascending numbers.
    pub(super) number: u64,
    pub(super) record: Record,
    /// Losses that the metadata had reported before.
    pub(super) generation: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) client: Client,
    pub(super) key: Key,
    /// The consumer's position.
    pub(super) from: Offset,
    pub(super) records: Vec<(Offset, Record)>,
    pub(super) generation: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Forgotten {
    pub(super) client: Client,
    pub(super) key: Key,
    pub(super) generation: usize,
}

impl History {
    /// Every record that was seen, with its offset and generation.
    pub(super) fn seen(&self) -> impl Iterator<Item = (Key, usize, Offset, Record)> {
        let sent = self.sends.iter().map(|send| (send.key, send.generation, send.offset, send.record));
        let polled = self
            .polls
            .iter()
            .flat_map(|poll| poll.records.iter().map(|(offset, record)| (poll.key, poll.generation, *offset, *record)));
        sent.chain(polled)
    }
}
