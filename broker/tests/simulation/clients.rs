//! Clients: for each partition an idempotent producer that waits for all replicas, with a few batches in flight, and
//! a consumer that continues where it was.

use std::collections::VecDeque;

use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::batch_builder::BatchBuilder;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::cluster::Cluster;
use super::history::{Forgotten, Poll, Send};
use super::machine::node_of;
use super::messages::{Client, Event, Polled, Produced};
use super::topics;
use crate::replica::simulated::Key;

/// As many as Kafka's clients have, and leaders remember.
const IN_FLIGHT_MAX: usize = 5;
const ANSWER_MAX: u64 = 150_000;
const PRODUCE_EVERY: u64 = 12_000;
const POLL_EVERY: u64 = 15_000;
const BACKOFF: u64 = 10_000;

pub(super) struct Clients {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    last_number: u64,
    /// Nothing new is sent.
    pub(super) is_over: bool,
}

/// The node that a client takes for the leader.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Belief {
    pub(super) node: Option<usize>,
    pub(super) epoch: Option<LeaderEpoch>,
}

struct Producer {
    key: Key,
    epoch: i16,
    next_sequence: i32,
    /// Oldest first.
    in_flight: VecDeque<Batch>,
    belief: Belief,
    connection: u64,
    sent: u64,
    /// Nothing is sent before, because something was refused.
    resumes_at: u64,
}

struct Batch {
    sequence: i32,
    numbers: Vec<u64>,
    /// The request in flight, its deadline, and whether everything before it was acknowledged when it was sent.
    request: Option<(u64, u64, bool)>,
    is_acknowledged: bool,
}

struct Consumer {
    key: Key,
    position: Offset,
    belief: Belief,
    request: Option<(u64, u64)>,
}

impl Clients {
    pub(super) fn new() -> Self {
        let producer = |key| Producer {
            key,
            epoch: 0,
            next_sequence: 0,
            in_flight: VecDeque::new(),
            belief: Belief::default(),
            connection: 0,
            sent: 0,
            resumes_at: 0,
        };
        let consumer = |key| Consumer { key, position: Offset(0), belief: Belief::default(), request: None };
        let keys = topics::keys();
        let producers = keys.iter().copied().map(producer).collect();
        Self { producers, consumers: keys.into_iter().map(consumer).collect(), last_number: 0, is_over: false }
    }

    pub(super) fn count(&self) -> usize {
        self.producers.len() + self.consumers.len()
    }

    pub(super) fn unacknowledged(&self, key: Key) -> usize {
        let of_key = self.producers.iter().filter(|producer| producer.key == key);
        of_key.map(|producer| producer.in_flight.len()).sum()
    }

    /// The position of the partition's consumer.
    pub(super) fn position(&self, key: Key) -> Option<Offset> {
        self.consumers.iter().find(|consumer| consumer.key == key).map(|consumer| consumer.position)
    }

    fn consumer_at(&mut self, client: Client) -> &mut Consumer {
        let first = self.producers.len();
        &mut self.consumers[client - first]
    }
}

impl Cluster {
    /// Producers have the first numbers, consumers the following ones.
    pub(super) fn start_clients(&mut self) {
        for client in 0..self.clients.count() {
            self.after(0, Event::Client(client));
        }
        self.after(0, Event::Members);
    }

    pub(super) fn go_on(&mut self, client: Client) {
        if client < self.clients.producers.len() {
            let wait = self.random().between(PRODUCE_EVERY / 2, 2 * PRODUCE_EVERY);
            self.after(wait, Event::Client(client));
            self.give_up_late(client);
            self.write(client);
            self.send_batches(client);
        } else {
            let wait = self.random().between(POLL_EVERY / 2, 2 * POLL_EVERY);
            self.after(wait, Event::Client(client));
            self.read(client);
        }
    }

    /// In the network, clients come after the machines.
    pub(super) fn place(&self, client: Client) -> usize {
        self.machines.len() + client
    }

    /// Asks some node for the leader.
    pub(super) fn look_up(&mut self, key: Key) -> Belief {
        let nodes = self.machines.len();
        let asked = self.random().index(nodes);
        let process = self.machines[asked].process.as_ref().filter(|process| process.serves);
        let topic = process.and_then(|process| process.image.topics.get(&key.0));
        let partition = topic.and_then(|topic| topic.partition(key.1));
        partition.map_or_else(Belief::default, |partition| Belief {
            node: partition.leader.map(node_of),
            epoch: Some(partition.leader_epoch),
        })
    }

    fn write(&mut self, client: Client) {
        let count = self.random().between(1, 3);
        let clients = &mut self.clients;
        let producer = &mut clients.producers[client];
        if clients.is_over || IN_FLIGHT_MAX <= producer.in_flight.len() {
            return;
        }
        let first = clients.last_number + 1;
        clients.last_number += count;
        let batch = Batch {
            sequence: producer.next_sequence,
            numbers: (first..first + count).collect(),
            request: None,
            is_acknowledged: false,
        };
        producer.next_sequence += i32::try_from(count).unwrap();
        producer.in_flight.push_back(batch);
    }

    /// On one connection, in order.
    fn send_batches(&mut self, client: Client) {
        let (now, wall, key) = (self.now(), self.wall(), self.clients.producers[client].key);
        if now < self.clients.producers[client].resumes_at {
            return;
        }
        if self.clients.producers[client].belief.node.is_none() {
            self.clients.producers[client].belief = self.look_up(key);
        }
        let Some(to) = self.clients.producers[client].belief.node else { return };
        let from = self.place(client);
        for at in 0..self.clients.producers[client].in_flight.len() {
            let request = self.number();
            let producer = &mut self.clients.producers[client];
            let is_next = producer.in_flight.iter().take(at).all(|earlier| earlier.is_acknowledged);
            let (epoch, connection) = (producer.epoch, (producer.connection, producer.sent));
            let batch = &mut producer.in_flight[at];
            if batch.request.is_some() || batch.is_acknowledged {
                continue;
            }
            batch.request = Some((request, now + ANSWER_MAX, is_next));
            let batch = sealed(client, (key, epoch), batch, wall);
            producer.sent += 1;
            self.send(from, to, Event::Produce { to, client, connection, request, key, batch });
        }
    }

    fn give_up_late(&mut self, client: Client) {
        let now = self.now();
        let is_late = |batch: &Batch| batch.request.is_some_and(|(_, until, _)| until <= now);
        if self.clients.producers[client].in_flight.iter().any(is_late) {
            self.reconnect(client);
        }
    }

    /// Everything unacknowledged is sent again, to whichever node then leads.
    fn reconnect(&mut self, client: Client) {
        let now = self.now();
        let producer = &mut self.clients.producers[client];
        producer.in_flight.iter_mut().for_each(|batch| batch.request = None);
        (producer.connection, producer.sent) = (producer.connection + 1, 0);
        (producer.belief, producer.resumes_at) = (Belief::default(), now + BACKOFF);
    }

    pub(super) fn produced(&mut self, client: Client, request: u64, outcome: Produced) {
        let producer = &mut self.clients.producers[client];
        let key = producer.key;
        let is_asked = |batch: &Batch| batch.request.is_some_and(|(asked, ..)| asked == request);
        let Some(at) = producer.in_flight.iter().position(is_asked) else { return };
        match outcome {
            Produced::Acknowledged { base, epoch } => self.acknowledged(client, at, (base, epoch)),
            Produced::OutOfOrder { epoch, has_it } => {
                let batch = &producer.in_flight[at];
                let was_next = batch.request.is_some_and(|(_, _, is_next)| is_next);
                // A node that no longer leads may be right: others have the earlier batches.
                let topic = self.committed.topics.get(&key.0);
                let current = topic.and_then(|topic| topic.partition(key.1)).map(|state| state.leader_epoch);
                if Some(epoch) == current {
                    let generation = self.truths.of(key).map_or(0, |truth| truth.generation(epoch));
                    // From an unknown producer any batch is accepted: then those that were refused before it come too
                    // late.
                    if has_it || (was_next && 0 < batch.sequence) {
                        self.history.forgotten.push(Forgotten { client, key, generation });
                    }
                    if was_next {
                        self.begin_epoch(client);
                    }
                }
                self.reconnect(client);
            }
            Produced::Refused => self.reconnect(client),
        }
    }

    /// The outcome of the batches in flight is unknown: they are not sent again.
    fn begin_epoch(&mut self, client: Client) {
        let producer = &mut self.clients.producers[client];
        producer.epoch += 1;
        producer.next_sequence = 0;
        producer.in_flight.clear();
    }

    fn acknowledged(&mut self, client: Client, at: usize, (base, epoch): (Offset, LeaderEpoch)) {
        let producer = &mut self.clients.producers[client];
        let key = producer.key;
        let generation = self.truths.of(key).map_or(0, |truth| truth.generation(epoch));
        let batch = &mut producer.in_flight[at];
        batch.is_acknowledged = true;
        for (delta, number) in (0..).zip(&batch.numbers) {
            let (offset, record) = (base.advance(delta), topics::record(key, *number, delta == 0));
            self.history.sends.push(Send { client, key, offset, number: *number, record, generation });
        }
        while producer.in_flight.pop_front_if(|batch| batch.is_acknowledged).is_some() {}
    }

    fn read(&mut self, client: Client) {
        let (now, key) = (self.now(), self.clients.consumer_at(client).key);
        if self.clients.consumer_at(client).request.is_some_and(|(_, until)| now < until) {
            return;
        }
        if self.clients.consumer_at(client).belief.node.is_none() {
            let belief = self.look_up(key);
            self.clients.consumer_at(client).belief = belief;
        }
        // Now and then from a follower.
        let is_astray = self.random().chance(100);
        let other = self.world.random.index(self.machines.len());
        let request = self.number();
        let consumer = self.clients.consumer_at(client);
        let (offset, epoch) = (consumer.position, consumer.belief.epoch);
        let Some(to) = consumer.belief.node.map(|node| if is_astray { other } else { node }) else { return };
        consumer.request = Some((request, now + ANSWER_MAX));
        let from = self.place(client);
        self.send_loosely(from, to, Event::Poll { to, client, request, key, offset, epoch });
    }

    pub(super) fn polled(&mut self, client: Client, request: u64, epoch: Option<LeaderEpoch>, outcome: Polled) {
        let consumer = self.clients.consumer_at(client);
        if consumer.request.is_none_or(|(asked, _)| asked != request) {
            return;
        }
        consumer.request = None;
        let (key, from) = (consumer.key, consumer.position);
        let has_lost = self.truths.of(key).is_some_and(|truth| !truth.unclean.is_empty());
        match outcome {
            Polled::Read { is_of_leader: false, .. } if has_lost => {}
            Polled::Read { portion, .. } => {
                let records: Vec<_> = portion.entries.iter().map(|(offset, _, record)| (*offset, *record)).collect();
                consumer.position = from.max(portion.next);
                let epoch = epoch.unwrap_or_default();
                let generation = self.truths.of(key).map_or(0, |truth| truth.generation(epoch));
                if !records.is_empty() {
                    self.history.polls.push(Poll { client, key, from, records, generation });
                }
            }
            Polled::OutOfRange { log_start, .. } if from < log_start => consumer.position = log_start,
            // Records lost by a reported loss, or a follower that does not have them yet.
            Polled::OutOfRange { log_end, .. } => {
                consumer.belief = Belief::default();
                if has_lost {
                    self.clients.consumer_at(client).position = log_end;
                }
            }
            Polled::Refused => consumer.belief = Belief::default(),
        }
    }
}

/// As sent by a client.
fn sealed(client: Client, (key, epoch): (Key, i16), batch: &Batch, now: Timestamp) -> CheckedBatch {
    let mut builder = BatchBuilder::new(now);
    for (at, number) in batch.numbers.iter().enumerate() {
        topics::push(&mut builder, key, *number, at == 0);
    }
    let built = builder.build().unwrap();
    let mut header = BatchHeader {
        producer_id: ProducerId(i64::try_from(client).unwrap()),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: batch.sequence,
        ..built.header
    };
    let mut bytes = built.bytes.to_vec();
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    CheckedBatch { header, bytes: bytes.into() }
}
