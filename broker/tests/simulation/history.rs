//! What clients saw, in the order in which they saw it. Judged in the end, with the errors that Jepsen's tests of Kafka
//! know.

use std::collections::BTreeMap;

use protocol::types::Offset;

use super::messages::Client;
use crate::replica::simulated::{Key, Record};

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) sends: Vec<Send>,
    pub(super) polls: Vec<Poll>,
    /// Producers that a leader did not know as it should.
    pub(super) forgotten: Vec<Forgotten>,
    /// Everything that can be read in the end, and the offset where it begins.
    pub(super) last: BTreeMap<Key, Vec<(Offset, Record)>>,
}

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Send {
    pub(super) client: Client,
    pub(super) key: Key,
    pub(super) offset: Offset,
    /// What a producer sends has growing numbers.
    pub(super) number: u64,
    pub(super) record: Record,
    /// How many losses the metadata had reported before.
    pub(super) generation: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) client: Client,
    pub(super) key: Key,
    /// Where the consumer wanted to read on.
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
    /// Every record that somebody saw, and its offset: by generation.
    pub(super) fn seen(&self) -> impl Iterator<Item = (Key, usize, Offset, Record)> {
        let sent = self.sends.iter().map(|send| (send.key, send.generation, send.offset, send.record));
        let polled = self
            .polls
            .iter()
            .flat_map(|poll| poll.records.iter().map(|(offset, record)| (poll.key, poll.generation, *offset, *record)));
        sent.chain(polled)
    }
}
