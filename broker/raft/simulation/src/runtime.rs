//! The part of a broker that carries out the engine's actions: writes, sends, answers.

use std::rc::Rc;

use protocol::types::{LeaderEpoch, Offset};
use raft::{
    Action, Answer, BatchSummary, ControlRecord, Destination, Event, Failure, FetchContent, Refusal, Request,
    RequestId, Response, SendFailure, SnapshotId, Token,
};

use crate::facts::Fact;
use crate::node::{Node, Payload};
use crate::volume::{Entry, Snapshot, offset, position};
use crate::world::{Asked, Happening, Waiting, World};

/// Size of every snapshot, and of the piece in one response.
const SNAPSHOT_SIZE: i64 = 3;
const SNAPSHOT_CHUNK: i64 = 2;

impl World {
    /// Carries out actions up to the next write that all others wait for.
    pub fn carry_out(&mut self, index: usize) {
        while !self.nodes[index].is_persisting {
            let Some((action, payload)) = self.nodes[index].todo.pop_front() else { break };
            self.do_one(index, action, payload);
        }
    }

    fn do_one(&mut self, index: usize, action: Action, payload: Payload) {
        let incarnation = self.nodes[index].incarnation;
        match action {
            Action::PersistElection(state) => {
                let wait = self.disk_latency(index);
                let node = &mut self.nodes[index];
                node.volume.election_unsynced = Some(state);
                node.is_persisting = true;
                self.after(wait, Happening::ElectionDurable { node: index, incarnation });
            }
            Action::AppendControl { base_offset, epoch, records } => {
                self.append_control(index, base_offset, epoch, records);
            }
            Action::AppendFetched { base_offset, end_offset } => {
                let Payload::Records(entries) = payload else { panic!("nothing was fetched") };
                let entries = entries[..offset(end_offset) - offset(base_offset)].to_vec();
                self.write(index, base_offset, &entries);
            }
            Action::Truncate { end_offset, generation } => {
                self.nodes[index].generation = generation;
                self.nodes[index].volume.truncate(offset(end_offset));
                self.see(&Fact::Truncated { node: index, end: offset(end_offset) });
                self.sync(index);
            }
            Action::WriteSnapshot { id, position } => self.write_snapshot(index, id, position),
            Action::FinishSnapshot { id } => self.finish_snapshot(index, id, &payload),
            Action::RestartLog { id, generation } => {
                self.nodes[index].generation = generation;
                let Payload::Snapshot(snapshot) = payload else { panic!("no snapshot was fetched") };
                assert_eq!(snapshot.id, id);
                self.nodes[index].volume.restart((*snapshot).clone());
                self.see(&Fact::Restored { node: index, chain: snapshot.chain });
                self.sync(index);
            }
            Action::Send { id, to, request } => self.send(index, id, &to, &request),
            Action::Answer { token, answer } => self.answer(index, token, answer),
            Action::HighWatermark(end) => self.see(&Fact::HighWatermark { node: index, end: offset(end) }),
            Action::Resigned { .. } => self.see(&Fact::Resigned { node: index }),
            Action::Report(report) => self.see(&Fact::Reported { node: index, report: &report }),
            Action::Fail(failure) => self.fail_for_good(index, failure),
            Action::LeaderChanged(_) | Action::Activated { .. } => {}
        }
    }

    /// A node gives up only if its volume has lost something.
    fn fail_for_good(&mut self, index: usize, failure: Failure) {
        if !self.nodes[index].went_back {
            self.violation.get_or_insert_with(|| format!("node {index} gives up: {failure}"));
        }
        self.nodes[index].failure = Some(failure);
    }

    fn append_control(&mut self, index: usize, base: Offset, epoch: LeaderEpoch, records: Vec<ControlRecord>) {
        if let Some(ControlRecord::LeaderChange { granting_voters, .. }) = records.first() {
            self.see(&Fact::Leads { node: index, epoch, base: offset(base), granting: granting_voters });
        }
        let mut entries: Vec<Entry> = Vec::new();
        for record in records {
            let value = self.random.draw();
            let before = entries.last().map(|entry| entry.chain);
            entries.push(self.nodes[index].volume.next_entry(value, epoch, before, Some(record)));
        }
        let last = entries.len() - 1;
        entries[..last].iter_mut().for_each(|entry| entry.ends_batch = false);
        self.write(index, base, &entries);
    }

    /// The active controller has decided something.
    pub fn append(&mut self, index: usize) {
        self.append_batch(index, 1);
    }

    /// As many records in one batch. Returns the values of each; none if the node does not lead.
    pub fn append_batch(&mut self, index: usize, records: usize) -> Vec<u64> {
        let Some(leading) = self.nodes[index].raft.as_ref().and_then(raft::Raft::leading) else { return Vec::new() };
        let mut entries: Vec<Entry> = Vec::new();
        for at in 1..=records {
            let value = self.random.draw();
            let before = entries.last().map(|entry| entry.chain);
            let entry = self.nodes[index].volume.next_entry(value, leading.epoch, before, None);
            entries.push(Entry { ends_batch: at == records, ..entry });
        }
        self.write(index, leading.base_offset, &entries);
        let end_offset = leading.base_offset.advance(i64::try_from(records).unwrap());
        self.step(index, Event::Appended { end_offset }, &Payload::Nothing);
        entries.into_iter().map(|entry| entry.chain).collect()
    }

    fn write(&mut self, index: usize, base: Offset, entries: &[Entry]) {
        let first = offset(base);
        assert_eq!(first, self.nodes[index].volume.log.end(), "the engine's log is the runtime's");
        self.nodes[index].volume.append(entries.to_vec());
        for (at, entry) in (first..).zip(entries) {
            self.see(&Fact::Appended { node: index, offset: at, entry });
        }
        self.sync(index);
    }

    fn sync(&mut self, index: usize) {
        let wait = self.disk_latency(index);
        let node = &self.nodes[index];
        let generation = node.generation;
        let (incarnation, changes, end) = (node.incarnation, node.volume.changes(), node.volume.log.end());
        self.after(wait, Happening::Synced { node: index, incarnation, changes, end, generation });
    }

    fn disk_latency(&mut self, index: usize) -> u64 {
        let most = if self.nodes[index].is_slow_disk { 80_000 } else { 3000 };
        let is_overtaken = self.nodes[index].is_leading() && self.random.chance(self.schedule.slow_sync_permille);
        self.random.between(200, if is_overtaken { 1_000_000 } else { most })
    }

    fn write_snapshot(&mut self, index: usize, id: SnapshotId, position: i64) {
        let node = &mut self.nodes[index];
        let begun = if position == 0 { Some((id, 0)) } else { node.partial };
        assert_eq!(begun, Some((id, position)), "bytes of a snapshot come in their order");
        node.partial = Some((id, (position + SNAPSHOT_CHUNK).min(SNAPSHOT_SIZE)));
    }

    fn finish_snapshot(&mut self, index: usize, id: SnapshotId, payload: &Payload) {
        let node = &mut self.nodes[index];
        assert_eq!(node.partial.take(), Some((id, SNAPSHOT_SIZE)), "all bytes of the snapshot are there");
        let Payload::Snapshot(snapshot) = payload else { panic!("no snapshot was fetched") };
        let (snapshot, incarnation) = (Box::new((**snapshot).clone()), node.incarnation);
        let is_damaged = self.random.chance(100);
        let wait = self.disk_latency(index);
        self.after(wait, Happening::SnapshotChecked { node: index, incarnation, snapshot, is_damaged });
    }

    fn send(&mut self, from: usize, id: RequestId, to: &Destination, request: &Request) {
        if matches!(request, Request::Fetch(fetch) if !fetch.wait_max.is_zero()) {
            self.nodes[from].fetch = Some((id, self.nodes[from].clock.local(self.now)));
        }
        let asked = Asked { from, incarnation: self.nodes[from].incarnation, id };
        // Once faults have ended even an old address leads to the node.
        let is_found = |node: &Node| node.address() == to.address || (self.is_healed && node.has_host(&to.address));
        let Some(target) = self.nodes.iter().position(is_found) else {
            return self.fail(asked, from, SendFailure::Refused);
        };
        if self.network.is_cut(from, target) || self.network.loses(&mut self.random) {
            return;
        }
        let copies = if self.network.doubles(&mut self.random) { 2 } else { 1 };
        for _ in 0..copies {
            let wait = self.network.latency(&mut self.random);
            self.after(wait, Happening::Request { to: target, asked, request: request.clone() });
        }
    }

    /// The machine answers, even if no process does.
    pub fn fail(&mut self, asked: Asked, at: usize, failure: SendFailure) {
        if self.network.is_cut(at, asked.from) || !self.nodes[at].has_power {
            return;
        }
        let wait = self.network.latency(&mut self.random);
        let event = Event::RequestFailed { id: asked.id, failure };
        let Asked { from, incarnation, .. } = asked;
        self.after(wait, Happening::Outcome { to: from, incarnation, event, payload: Payload::Nothing });
    }

    pub fn receive(&mut self, to: usize, asked: Asked, request: Request) {
        if !self.nodes[to].has_power {
            return;
        }
        if self.nodes[to].raft.is_none() {
            return self.fail(asked, to, SendFailure::Refused);
        }
        let is_pre_vote = matches!(&request, Request::Vote(vote) if vote.pre_vote);
        let token = self.new_token(to, Some(asked), is_pre_vote);
        self.step(to, Event::Request { token, request }, &Payload::Nothing);
    }

    pub fn new_token(&mut self, at: usize, asked: Option<Asked>, is_pre_vote: bool) -> Token {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.tokens.insert(token, Waiting { at, asked, is_pre_vote });
        token
    }

    fn answer(&mut self, index: usize, token: Token, answer: Answer) {
        let Waiting { at, asked, is_pre_vote } = self.tokens.remove(&token).expect("a request is answered once");
        assert_eq!(at, index, "a node answers its own requests");
        if let Answer::Vote(response) = &answer {
            self.see(&Fact::Voted { node: index, is_pre_vote, response });
        }
        let Some(asked) = asked else { return };
        let Some((response, payload)) = self.response_to(index, answer) else { return };
        if self.network.is_cut(index, asked.from) || self.network.loses(&mut self.random) {
            return;
        }
        let copies = if self.network.doubles(&mut self.random) { 2 } else { 1 };
        for _ in 0..copies {
            let wait = self.network.latency(&mut self.random);
            let event = Event::Response { id: asked.id, response: response.clone() };
            let (to, incarnation) = (asked.from, asked.incarnation);
            self.after(wait, Happening::Outcome { to, incarnation, event, payload: payload.clone() });
        }
    }

    fn response_to(&self, index: usize, answer: Answer) -> Option<(Response, Payload)> {
        let volume = &self.nodes[index].volume;
        Some(match answer {
            Answer::Vote(response) => (Response::Vote(response), Payload::Nothing),
            Answer::BeginQuorumEpoch(response) => (Response::BeginQuorumEpoch(response), Payload::Nothing),
            Answer::EndQuorumEpoch(response) => (Response::EndQuorumEpoch(response), Payload::Nothing),
            Answer::Fetch { response, records } => {
                let from = offset(records.start);
                let to = offset(records.end).min(from + self.schedule.records_per_fetch_max);
                let to = volume.log.batch_end(to);
                assert!(response.content == FetchContent::Records || from == to);
                let entries = volume.log.read(from, to);
                assert_eq!(entries.len(), to - from, "the leader has what it says it has");
                let batches = summaries(from, &entries);
                (Response::Fetch { response, batches }, Payload::Records(entries.into()))
            }
            Answer::FetchSnapshot(mut response) => {
                let found = volume.snapshot.clone().filter(|snapshot| snapshot.id == response.id);
                let length = SNAPSHOT_CHUNK.min(SNAPSHOT_SIZE - response.position).max(0);
                match found {
                    Some(found) if response.error.is_none() => {
                        let response = Response::FetchSnapshot { response, size: SNAPSHOT_SIZE, length };
                        (response, Payload::Snapshot(Rc::new(found)))
                    }
                    _ => {
                        response.error = response.error.or(Some(Refusal::SnapshotNotFound));
                        (Response::FetchSnapshot { response, size: 0, length: 0 }, Payload::Nothing)
                    }
                }
            }
            Answer::UpdateVoter(response) => (Response::UpdateVoter(response), Payload::Nothing),
            Answer::AddVoter(_) | Answer::RemoveVoter(_) => return None,
        })
    }

    /// Takes a snapshot up to a committed record.
    pub fn take_snapshot(&mut self, index: usize) {
        let Some(raft) = &self.nodes[index].raft else { return };
        let latest = raft.log_start_max();
        let end = raft.high_watermark();
        if end <= latest || !self.nodes[index].todo.is_empty() {
            return;
        }
        let end = self.random.index(offset(end) - offset(latest)) + offset(latest) + 1;
        let end = position(self.nodes[index].volume.log.batch_end(end));
        let raft = self.nodes[index].raft.as_ref().unwrap();
        let (Some(epoch), Some(quorum)) = (raft.epoch_before(end), raft.quorum_at(end).cloned()) else {
            panic!("the epoch and the voters of committed records behind the latest snapshot are known")
        };
        let chain = self.nodes[index].volume.log.chain_before(offset(end)).unwrap();
        let id = SnapshotId { end_offset: end, epoch };
        self.nodes[index].volume.write_snapshot(Snapshot { id, quorum, chain });
        self.step(index, Event::SnapshotWritten { id }, &Payload::Nothing);
        if self.random.chance(700) && self.nodes[index].raft.is_some() {
            self.nodes[index].volume.advance_start(offset(end));
            self.step(index, Event::LogStartAdvanced { offset: end }, &Payload::Nothing);
        }
    }
}

/// A batch for each run of records of one epoch.
fn summaries(first: usize, entries: &[Entry]) -> Vec<BatchSummary> {
    let mut batches: Vec<BatchSummary> = Vec::new();
    for (at, entry) in (first..).zip(entries) {
        if batches.last().is_none_or(|batch| batch.epoch != entry.epoch) {
            let base_offset = position(at);
            batches.push(BatchSummary { base_offset, epoch: entry.epoch, count: 0, control: Vec::new() });
        }
        let batch = batches.last_mut().unwrap();
        batch.count += 1;
        batch.control.extend(entry.control.clone().map(|record| (position(at), record)));
    }
    batches
}
