//! Raft, with what carries out its actions: the thread that writes, the links to other nodes, and the callers that
//! wait for answers.
//!
//! Actions are carried out in order. A change of the election state must be on disk before those after it: so no vote
//! is given, requested or counted that a power cut could revoke.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::metadata_records::control::ControlRecord;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset};
use raft::{
    Action, Answer, Event, FetchResponse, FetchSnapshotResponse, Moment, Raft, Refusal, Request, SnapshotId, Token,
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use super::control_records::{quorum_of, to_log};
use super::fetched::{appendable, response_of};
use super::io_thread::{Purpose, Report, Task};
use super::links::{Links, Reply};
use super::tail::Tail;
use crate::clock;
use crate::controller::metadata_log::{EncodeError, encode_control};
use crate::metadata::Image;
use crate::peer::QuorumAnswer;

/// Bytes read at a time for replay.
const REPLAY_BYTES: u32 = 1 << 20;

#[derive(Debug)]
pub(in crate::controller) struct Node {
    raft: Raft,
    tasks: mpsc::Sender<Task>,
    links: Links,
    tail: Tail,
    /// Each with the bytes that came with its event.
    actions: VecDeque<(Action, Bytes)>,
    /// The election state is being written to disk.
    is_persisting: bool,
    calls: HashMap<Token, Call>,
    tokens: u64,
    /// The image of a fetched snapshot, until the log is restarted at its end.
    installed: Option<(SnapshotId, Box<Image>)>,
    happenings: Vec<Happening>,
    /// The log end on disk at the last report.
    persisted: Offset,
}

/// A request of another node or an administrator that waits for its answer.
#[derive(Debug)]
pub(in crate::controller) struct Call {
    pub(in crate::controller) request: Request,
    /// Most bytes of records or of a snapshot in the answer.
    pub(in crate::controller) bytes_max: usize,
    pub(in crate::controller) reply: oneshot::Sender<QuorumAnswer>,
}

/// Events for the control thread.
#[derive(Debug)]
pub(in crate::controller) enum Happening {
    HighWatermark(Offset),
    /// The quorum itself has appended records.
    ControlAppended {
        records: Vec<ControlRecord>,
        end_offset: Offset,
    },
    /// What [`Node::read`] could not return at once.
    ReadForReplay(Bytes),
    /// The log restarts with this image.
    Restarted(Box<Image>),
    Activated(LeaderEpoch),
    Resigned,
    /// The epoch, the leader or the voters may have changed.
    LeaderChanged,
    Short(bool),
    Failed(String),
}

/// The records come from a node that no longer leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::controller) struct NotLeading;

impl Node {
    /// Raft's first actions are carried out with the first event.
    pub(in crate::controller) fn new(
        config: raft::Config,
        restored: raft::Restored,
        tasks: mpsc::Sender<Task>,
        links: Links,
    ) -> Self {
        let persisted = restored.log.end_offset;
        let (raft, actions) = Raft::start(config, restored, moment());
        // The image already has what is in the snapshot; how much more is committed only the quorum can tell.
        let news = actions.into_iter().filter(|action| !matches!(action, Action::HighWatermark(_)));
        Self {
            raft,
            tasks,
            links,
            tail: Tail::default(),
            actions: news.map(|action| (action, Bytes::new())).collect(),
            is_persisting: false,
            calls: HashMap::new(),
            tokens: 0,
            installed: None,
            happenings: Vec::new(),
            persisted,
        }
    }

    pub(in crate::controller) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The log end on disk.
    pub(in crate::controller) fn persisted(&self) -> Offset {
        self.persisted
    }

    /// Whether no request to another node is outstanding, except for fetches.
    pub(in crate::controller) fn is_quiet(&self) -> bool {
        self.links.are_quiet()
    }

    /// When [`Event::Timer`] is due, on [`clock::monotonic`].
    pub(in crate::controller) fn next_timer(&self) -> Option<Duration> {
        self.raft.next_timer()
    }

    pub(in crate::controller) async fn step(&mut self, event: Event) -> Vec<Happening> {
        self.step_with(event, &Bytes::new()).await
    }

    pub(in crate::controller) async fn call(&mut self, call: Call) -> Vec<Happening> {
        self.tokens += 1;
        let token = Token(self.tokens);
        let request = call.request.clone();
        self.calls.insert(token, call);
        self.step(Event::Request { token, request }).await
    }

    pub(in crate::controller) async fn replied(&mut self, reply: Reply) -> Vec<Happening> {
        let Reply { id, result } = reply;
        self.links.answered(id);
        let failure = match result {
            Ok(answer) => match response_of(answer) {
                Ok((response, bytes)) => {
                    let mut happenings = self.step_with(Event::Response { id, response }, &bytes).await;
                    // A new leader may not know the high watermark yet; then neither does this node.
                    if self.raft.has_heard_commits() {
                        happenings.push(Happening::HighWatermark(self.raft.high_watermark()));
                    }
                    return happenings;
                }
                Err(error) => {
                    warn!(%error, "received damaged records from another node");
                    raft::SendFailure::Unusable
                }
            },
            Err(error) => error.failure(),
        };
        self.step(Event::RequestFailed { id, failure }).await
    }

    pub(in crate::controller) async fn reported(&mut self, report: Report) -> Vec<Happening> {
        let event = match report {
            Report::Persisted { end_offset, generation } => {
                self.persisted = end_offset;
                Event::Persisted { end_offset, generation }
            }
            Report::SnapshotFinished { id, image } => {
                let quorum = quorum_of(&image);
                self.installed = Some((id, image));
                Event::SnapshotFinished { id, quorum }
            }
            Report::SnapshotDamaged(id) => Event::SnapshotDamaged { id },
            Report::LogStart(offset) => Event::LogStartAdvanced { offset },
            Report::StateWritten => {
                self.is_persisting = false;
                return self.carry_on().await;
            }
            Report::Read { bytes, purpose: Purpose::Replay } => return vec![Happening::ReadForReplay(bytes)],
            Report::Read { bytes, purpose: Purpose::Answer { token, response } } => {
                self.answer(token, QuorumAnswer::Fetch { response: *response, records: bytes });
                return Vec::new();
            }
            Report::SnapshotRead { piece, token, response } => {
                self.answer(token, snapshot_answer(*response, piece));
                return Vec::new();
            }
            Report::Short(is_short) => return vec![Happening::Short(is_short)],
            Report::Failed(reason) => return vec![Happening::Failed(reason)],
        };
        self.step(event).await
    }

    /// Appends as the active controller of an epoch. Returns the log end.
    pub(in crate::controller) async fn append(
        &mut self,
        epoch: LeaderEpoch,
        batches: &[CheckedBatch],
    ) -> Result<(Offset, Vec<Happening>), NotLeading> {
        let leading = self.raft.leading().filter(|leading| leading.epoch == epoch && leading.is_activated);
        // Nothing can be appended while actions wait: it would precede theirs in the log.
        let leading = leading.filter(|_| self.actions.is_empty());
        let mut end_offset = leading.ok_or(NotLeading)?.base_offset;
        for batch in batches {
            end_offset = self.write(batch, end_offset, epoch).await;
        }
        Ok((end_offset, self.step(Event::Appended { end_offset }).await))
    }

    /// A range of the log, if it is in memory. `None`: [`Happening::ReadForReplay`] follows.
    pub(in crate::controller) async fn read(&mut self, range: Range<Offset>) -> Option<Bytes> {
        let found = self.tail.read(&range, REPLAY_BYTES as usize);
        if found.is_none() {
            self.hand_over(Task::Read { range, bytes_max: REPLAY_BYTES, purpose: Purpose::Replay }).await;
        }
        found
    }

    /// A snapshot that this node has taken is on disk.
    pub(in crate::controller) async fn snapshot_written(&mut self, id: SnapshotId, length: u64) -> Vec<Happening> {
        let happenings = self.step(Event::SnapshotWritten { id }).await;
        self.hand_over(Task::AddSnapshot { id, length }).await;
        self.clean().await;
        happenings
    }

    /// Applies the retention of metadata.
    pub(in crate::controller) async fn clean(&self) {
        self.hand_over(Task::Clean { log_start_max: self.raft.log_start_max() }).await;
    }

    async fn step_with(&mut self, event: Event, bytes: &Bytes) -> Vec<Happening> {
        let actions = self.raft.step(event, moment());
        self.actions.extend(actions.into_iter().map(|action| (action, bytes.clone())));
        self.carry_on().await
    }

    async fn carry_on(&mut self) -> Vec<Happening> {
        while !self.is_persisting
            && let Some((action, bytes)) = self.actions.pop_front()
        {
            self.carry_out(action, &bytes).await;
        }
        std::mem::take(&mut self.happenings)
    }

    async fn carry_out(&mut self, action: Action, bytes: &Bytes) {
        match action {
            Action::PersistElection(state) => {
                self.is_persisting = true;
                self.hand_over(Task::WriteState(state)).await;
            }
            Action::AppendControl { base_offset, epoch, records } => {
                self.append_control(base_offset, epoch, &records).await;
            }
            Action::AppendFetched { base_offset, end_offset } => {
                self.append_fetched(base_offset..end_offset, bytes).await;
            }
            Action::Truncate { end_offset, generation } => {
                self.tail.truncate(end_offset);
                self.hand_over(Task::Truncate { end_offset, generation }).await;
            }
            Action::WriteSnapshot { id, position } => {
                self.hand_over(Task::CollectSnapshot { id, position, bytes: bytes.clone() }).await;
            }
            Action::FinishSnapshot { id } => self.hand_over(Task::FinishSnapshot(id)).await,
            Action::RestartLog { id, generation } => {
                self.tail.clear();
                self.hand_over(Task::RestartLog { id, generation }).await;
                let installed = self.installed.take().filter(|(known, _)| *known == id);
                self.happenings.extend(installed.map(|(_, image)| Happening::Restarted(image)));
            }
            Action::Send { id, to, request } => self.links.send(id, to, request),
            Action::Answer { token, answer } => self.give(token, answer).await,
            Action::HighWatermark(offset) => self.happenings.push(Happening::HighWatermark(offset)),
            Action::LeaderChanged(_) => self.happenings.push(Happening::LeaderChanged),
            Action::Activated { epoch } => self.happenings.push(Happening::Activated(epoch)),
            Action::Resigned { .. } => self.happenings.push(Happening::Resigned),
            Action::Report(report) => warn!(%report, "quorum nodes disagree"),
            Action::Fail(failure) => self.happenings.push(Happening::Failed(failure.to_string())),
        }
    }

    async fn append_control(&mut self, base_offset: Offset, epoch: LeaderEpoch, records: &[raft::ControlRecord]) {
        let records: Vec<_> = records.iter().map(to_log).collect();
        let end_offset = match encode_control(&records, clock::wall()) {
            Ok(batch) => self.write(&batch, base_offset, epoch).await,
            Err(error) => return self.happenings.push(Happening::Failed(unwritable(&error))),
        };
        self.happenings.push(Happening::ControlAppended { records, end_offset });
    }

    async fn append_fetched(&mut self, offsets: Range<Offset>, bytes: &Bytes) {
        let batches = appendable(bytes, &offsets);
        for (offsets, batch) in &batches {
            self.tail.push(offsets.clone(), batch.clone());
        }
        for (_, batch) in batches {
            self.hand_over(Task::Append(batch)).await;
        }
    }

    /// Writes a batch. Returns the log end.
    async fn write(&mut self, batch: &CheckedBatch, base_offset: Offset, epoch: LeaderEpoch) -> Offset {
        let header = BatchHeader { base_offset, leader_epoch: epoch, ..batch.header };
        let records = batch.bytes.get(HEADER_LENGTH..).unwrap_or_default();
        let bytes = Bytes::from([&header.encode(), records].concat());
        self.tail.push(base_offset..header.next_offset(), bytes.clone());
        self.hand_over(Task::Append(bytes)).await;
        header.next_offset()
    }

    async fn give(&mut self, token: Token, answer: Answer) {
        let bytes_max = self.calls.get(&token).map_or(0, |call| call.bytes_max);
        let answer = match answer {
            Answer::Vote(response) => QuorumAnswer::Vote(response),
            Answer::BeginQuorumEpoch(response) => QuorumAnswer::BeginQuorumEpoch(response),
            Answer::EndQuorumEpoch(response) => QuorumAnswer::EndQuorumEpoch(response),
            Answer::AddVoter(response) | Answer::RemoveVoter(response) | Answer::UpdateVoter(response) => {
                QuorumAnswer::VoterChange(response)
            }
            Answer::Fetch { response, records } => match self.tail.read(&records, bytes_max) {
                Some(records) => QuorumAnswer::Fetch { response, records },
                None => return self.read_for(token, response, records, bytes_max).await,
            },
            Answer::FetchSnapshot(response) if response.error.is_none() => {
                let (id, position) = (response.id, response.position);
                let response = Box::new(response);
                return self.hand_over(Task::ReadSnapshot { id, position, bytes_max, token, response }).await;
            }
            Answer::FetchSnapshot(response) => snapshot_answer(response, Some((Bytes::new(), 0))),
        };
        self.answer(token, answer);
    }

    async fn read_for(&mut self, token: Token, response: FetchResponse, records: Range<Offset>, bytes_max: usize) {
        let purpose = Purpose::Answer { token, response: Box::new(response) };
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        self.hand_over(Task::Read { range: records, bytes_max, purpose }).await;
    }

    /// The caller may be gone.
    fn answer(&mut self, token: Token, answer: QuorumAnswer) {
        if let Some(call) = self.calls.remove(&token) {
            let _gone = call.reply.send(answer);
        }
    }

    /// If the thread has failed it has reported that.
    async fn hand_over(&self, task: Task) {
        let _failed = self.tasks.send(task).await;
    }
}

fn moment() -> Moment {
    Moment { now: clock::monotonic(), random: Uuid::new_v4().as_u64_pair().0 }
}

fn unwritable(error: &EncodeError) -> String {
    format!("the quorum's own records cannot be written: {error}")
}

fn snapshot_answer(response: FetchSnapshotResponse, piece: Option<(Bytes, u64)>) -> QuorumAnswer {
    let found = piece.map(|(bytes, size)| (bytes, i64::try_from(size).unwrap_or(i64::MAX)));
    let outside = |size: i64| !(0..size).contains(&response.position);
    let error = match (&response.error, &found) {
        (Some(error), _) => Some(*error),
        (None, None) => Some(Refusal::SnapshotNotFound),
        (None, Some((_, size))) => outside(*size).then_some(Refusal::PositionOutOfRange),
    };
    let (bytes, size) = found.unwrap_or_default();
    QuorumAnswer::FetchSnapshot { response: FetchSnapshotResponse { error, ..response }, size, bytes }
}

#[cfg(test)]
#[path = "node_test.rs"]
mod tests;
