//! A broker's work for clients.

use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset};
use storage::{AppendError, ProducerError};

use super::cluster::Cluster;
use super::machine::Unsettled;
use super::messages::{Client, Event, Polled, Produced};
use crate::replica::simulated::{Key, first_record};
use crate::replica::{FetchError, ProduceError, ServedBy};

/// How long a producer's batch may wait for the replicas.
const COMMIT_MAX: u64 = 120_000;

impl Cluster {
    pub(super) fn produce(
        &mut self,
        node: usize,
        (client, request): (Client, u64),
        (connection, number): (u64, u64),
        key: Key,
        batch: &CheckedBatch,
    ) {
        let (now, id) = (self.now(), self.machines[node].id);
        let Some(process) = self.process(node) else { return };
        if !process.begins_to_serve(id) {
            return;
        }
        // If a message is lost, all later ones on its connection are lost, too.
        let expected = process.connections.entry((client, connection)).or_default();
        if number != *expected {
            return;
        }
        *expected += 1;
        let epoch = process.replicas.positions(key).and_then(|positions| positions.leads);
        let written = process.replicas.produce(key, batch);
        self.look(node);
        self.propose(node);
        match (written, epoch) {
            (Ok(written), Some(epoch)) => {
                let deadline = now + COMMIT_MAX;
                let unsettled = Unsettled { key, client, request, written, epoch, deadline };
                self.process(node).unwrap().unsettled.push(unsettled);
                self.settle(node);
            }
            (
                Err(ProduceError::Append(AppendError::Producer(ProducerError::OutOfOrderSequence { .. }))),
                Some(epoch),
            ) => {
                let first = first_record(batch);
                let copy = self.machines[node].process.as_ref().and_then(|process| process.copies.get(&key));
                let has_it = copy.is_some_and(|copy| copy.has(first));
                self.tell_producer(node, client, request, Produced::OutOfOrder { epoch, has_it });
            }
            _ => self.tell_producer(node, client, request, Produced::Refused),
        }
    }

    /// Answers producers as soon as the outcome of their batches is known.
    pub(super) fn settle(&mut self, node: usize) {
        let now = self.now();
        let Some(process) = self.process(node) else { return };
        let (mut outcomes, replicas) = (Vec::new(), &process.replicas);
        process.unsettled.retain(|waiting| {
            let outcome = match replicas.settled(waiting.key, &waiting.written) {
                Some(Ok(())) => {
                    Produced::Acknowledged { base: waiting.written.appended.base_offset, epoch: waiting.epoch }
                }
                Some(Err(_)) => Produced::Refused,
                None if waiting.deadline <= now => Produced::Refused,
                None => return true,
            };
            outcomes.push((waiting.client, waiting.request, outcome));
            false
        });
        for (client, request, outcome) in outcomes {
            self.tell_producer(node, client, request, outcome);
        }
    }

    fn tell_producer(&mut self, node: usize, client: Client, request: u64, outcome: Produced) {
        let to = self.machines.len() + client;
        self.send(node, to, Event::Produced { client, request, outcome });
    }

    pub(super) fn poll(
        &mut self,
        node: usize,
        (client, request): (Client, u64),
        key: Key,
        offset: Offset,
        epoch: Option<LeaderEpoch>,
    ) {
        let id = self.machines[node].id;
        let Some(process) = self.process(node) else { return };
        if !process.begins_to_serve(id) {
            return;
        }
        let is_of_leader = process.replicas.positions(key).is_some_and(|positions| positions.leads.is_some());
        let outcome = match process.replicas.poll(key, offset, epoch, ServedBy::AnyReplica) {
            Ok(portion) => Polled::Read { portion, is_of_leader },
            Err(FetchError::OutOfRange(range)) => {
                Polled::OutOfRange { log_start: range.log_start, log_end: range.log_end }
            }
            Err(_) => Polled::Refused,
        };
        let to = self.machines.len() + client;
        self.send_loosely(node, to, Event::Polled { client, request, epoch, outcome });
    }
}
