//! The groups of one partition of `__consumer_offsets`. The records of an event are written and replayed, and the
//! answer is sent as soon as they are committed.

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use protocol::batch_builder::BatchBuilder;
use protocol::coordinator_records::{CommittedOffset, CoordinatorRecord};
use protocol::metadata_records::StringTooLong;
use protocol::produce::CheckedBatch;
use protocol::types::{Offset, Timestamp, TopicId};

use super::answer::{Answer, Decision, Reply, Turn, tell};
use super::config::GroupConfig;
use super::counts::GroupCounts;
use super::error::Unavailable;
use super::group::Group;
use super::log::LogError;
use super::member::GroupId;
use super::request::{GroupRequest, ListedGroup, Moment, Position, Positions};
use crate::bugs::{self, Bug};
use crate::metrics::GroupMetrics;

/// Most bytes of a record in a batch besides key and value.
const RECORD_OVERHEAD_BYTES: usize = 23;

/// The shard's own partition.
pub(super) trait ShardLog {
    /// The time by which offsets age.
    fn age_now(&self) -> Timestamp;
    /// Returns the new log end.
    fn append(&mut self, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError>;
    fn batch_bytes_max(&self) -> Result<usize, LogError>;
}

pub(super) struct Shard {
    config: Arc<GroupConfig>,
    metrics: Arc<GroupMetrics>,
    groups: HashMap<GroupId, Group>,
    /// When to look at which group: each is in it at most once, at its earliest deadline.
    alarms: BTreeSet<(Duration, GroupId)>,
    next_expiry: Duration,
    held: Vec<Held>,
    /// Log end after the last record that was replayed.
    written: Offset,
    committed: Offset,
    counts: GroupCounts,
}

/// An answer that waits for the high watermark, kept in the order of deadlines.
struct Held {
    after: Offset,
    deadline: Duration,
    answer: Answer,
}

impl Shard {
    pub(super) fn new(config: Arc<GroupConfig>, metrics: Arc<GroupMetrics>) -> Self {
        Self {
            config,
            metrics,
            groups: HashMap::new(),
            alarms: BTreeSet::new(),
            next_expiry: Duration::ZERO,
            held: Vec::new(),
            written: Offset(0),
            committed: Offset(0),
            counts: GroupCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> GroupCounts {
        self.counts
    }

    pub(super) fn waits_for_commit(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn handle(&mut self, id: &GroupId, request: GroupRequest, now: Moment, log: &mut dyn ShardLog) {
        if let GroupRequest::Join(join, _) = &request {
            let none = Group::new(id.clone());
            let group = self.groups.get(id).unwrap_or(&none);
            let checked = match log.batch_bytes_max() {
                Ok(bytes_max) => group.check_size(join, bytes_max),
                Err(error) => Err(Unavailable::from(error).into()),
            };
            if let Err(error) = checked {
                return request.refuse(error);
            }
        }
        self.with_group(id, now, log, |group, config, turn| handle(group, request, config, now, turn));
    }

    pub(super) fn list(&mut self, reply: Reply<Vec<ListedGroup>>, now: Moment) {
        let listed = self.groups.values().map(|group| ListedGroup {
            id: group.id().to_string(),
            protocol_type: group.protocol_type().to_owned(),
            state: group.state(),
        });
        let listed = listed.collect();
        let mut turn = Turn::default();
        turn.answer(reply, listed);
        self.hold(turn.answers, self.written, now);
    }

    /// Adds its groups' positions, until there are so many.
    pub(super) fn add_positions(&self, positions: &mut Positions, at_most: usize) {
        let before = positions.found.len();
        let committed = self.groups.values().flat_map(|group| group.offsets.iter().map(move |of| (group.id(), of)));
        let position = |(group, (topic, partition, committed)): (&GroupId, (&str, _, &CommittedOffset))| Position {
            group: group.clone(),
            topic: topic.to_owned(),
            topic_id: committed.topic_id,
            partition,
            offset: committed.offset,
        };
        positions.found.extend(committed.take(at_most.saturating_sub(before)).map(position));
        positions.left_out += self.counts.offsets.saturating_sub(positions.found.len() - before);
    }

    /// Deletes the offsets of a deleted topic, but not those of another topic that has its name by now.
    pub(super) fn topic_deleted(&mut self, (topic, gone): (&str, TopicId), now: Moment, log: &mut dyn ShardLog) {
        let concerned = self.groups.values().filter(|group| group.offsets.has_topic(topic));
        let concerned: Vec<_> = concerned.map(|group| group.id().clone()).collect();
        let is_gone =
            |of: &str, offset: &CommittedOffset| of == topic && [gone, TopicId::default()].contains(&offset.topic_id);
        for id in concerned {
            self.with_group(&id, now, log, |group, _, turn| {
                turn.records = group.offsets.deletions(group.id(), is_gone);
            });
        }
    }

    /// The only place where records change the state.
    pub(super) fn replay(&mut self, record: CoordinatorRecord) {
        let name = record.group();
        let id = self.groups.get_key_value(name).map_or_else(|| GroupId(name.into()), |(id, _)| id.clone());
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group::new(id));
        match record {
            CoordinatorRecord::OffsetCommit { topic, partition, value, .. } => {
                group.offsets.replay(topic, partition, value);
            }
            CoordinatorRecord::GroupMetadata { value, .. } => group.replay(value),
        }
    }

    /// The log has been loaded up to `end`.
    pub(super) fn loaded(&mut self, end: Offset, now: Moment, log: &mut dyn ShardLog) {
        self.written = end;
        self.next_expiry = now.elapsed + self.config.retention_check_interval;
        let all = self.groups.values().map(GroupCounts::of);
        self.counts = all.fold(GroupCounts::default(), GroupCounts::plus);
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            // How much of it is uncommitted is unknown: all of it may be.
            let written = if bugs::is_planted(Bug::LoadedTakenForCommitted) { Offset(0) } else { end };
            self.with_group(&id, now, log, |group, config, turn| {
                group.written = written;
                group.loaded(config, now, turn);
            });
        }
    }

    /// Everything before `high_watermark` is committed: sends the answers that waited for it.
    pub(super) fn committed(&mut self, high_watermark: Offset) {
        self.committed = self.committed.max(high_watermark);
        let committed = self.committed;
        for held in self.held.extract_if(.., |held| held.after <= committed) {
            (held.answer)(Ok(()));
        }
    }

    /// When [`Self::wake`] is due.
    pub(super) fn next_deadline(&self) -> Duration {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let held = self.held.first().map(|held| held.deadline);
        [alarm, held].into_iter().flatten().fold(self.next_expiry, Duration::min)
    }

    pub(super) fn wake(&mut self, now: Moment, log: &mut dyn ShardLog) {
        while let Some((at, _)) = self.alarms.first()
            && *at <= now.elapsed
        {
            let Some((_, id)) = self.alarms.pop_first() else { break };
            if let Some(group) = self.groups.get_mut(&id) {
                group.alarm = None;
            }
            self.with_group(&id, now, log, |group, config, turn| group.wake(config, now, turn));
        }
        for late in self.held.extract_if(.., |held| held.deadline <= now.elapsed) {
            (late.answer)(Err(Unavailable::NotCommittedInTime));
        }
        if self.next_expiry <= now.elapsed {
            self.next_expiry = now.elapsed + self.config.retention_check_interval;
            self.expire(now, log);
        }
    }

    fn expire(&mut self, now: Moment, log: &mut dyn ShardLog) {
        let age_now = log.age_now();
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with_group(&id, now, log, |group, config, turn| turn.records = group.expire(config, age_now));
        }
    }

    /// Handles one event of one group, from the decision to the answers.
    fn with_group(
        &mut self,
        id: &GroupId,
        now: Moment,
        log: &mut dyn ShardLog,
        decide: impl FnOnce(&mut Group, &GroupConfig, &mut Turn),
    ) {
        let mut turn = Turn::default();
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone()));
        let (former_alarm, former_counts) = (group.alarm, GroupCounts::of(group));
        decide(group, &self.config, &mut turn);
        self.metrics.rebalanced(std::mem::take(&mut group.generations_begun));
        let Turn { records, answers } = turn;
        let (group, written) = if records.is_empty() {
            (group, Ok(()))
        } else {
            let written = self.write(id, records, now, log);
            let Some(group) = self.groups.get_mut(id) else { return };
            (group, written)
        };
        let (after, is_void) = (group.written, group.is_void());
        let alarm = group.wake_at.filter(|_| !is_void && !bugs::is_planted(Bug::NoAlarm));
        group.alarm = alarm;
        self.counts = self.counts.plus(GroupCounts::of(group)).minus(former_counts);
        if is_void {
            self.groups.remove(id);
        }
        self.set_alarm(id, former_alarm, alarm);
        match written {
            Ok(()) => self.hold(answers, after, now),
            Err(error) => answers.into_iter().for_each(|answer| answer(Err(error.clone().into()))),
        }
    }

    fn set_alarm(&mut self, id: &GroupId, former: Option<Duration>, alarm: Option<Duration>) {
        if former == alarm {
            return;
        }
        if let Some(former) = former {
            self.alarms.remove(&(former, id.clone()));
        }
        self.alarms.extend(alarm.map(|at| (at, id.clone())));
    }

    /// Appends, then replays. If the records need several batches and one is refused, those before it stay.
    fn write(
        &mut self,
        id: &GroupId,
        records: Vec<CoordinatorRecord>,
        now: Moment,
        log: &mut dyn ShardLog,
    ) -> Result<(), LogError> {
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (batch, written) = next_batch(&mut records, log.batch_bytes_max()?, now.wall)?;
            self.written = log.append(&batch, now.wall)?;
            for record in written {
                self.count_offset(&record);
                self.replay(record);
            }
            if let Some(group) = self.groups.get_mut(id) {
                group.written = self.written;
            }
        }
        Ok(())
    }

    fn count_offset(&self, record: &CoordinatorRecord) {
        match record {
            CoordinatorRecord::OffsetCommit { value: Some(_), .. } => self.metrics.offset_committed(),
            CoordinatorRecord::OffsetCommit { value: None, .. } => self.metrics.offset_deleted(),
            CoordinatorRecord::GroupMetadata { .. } => {}
        }
    }

    fn hold(&mut self, answers: Vec<Answer>, after: Offset, now: Moment) {
        let deadline = now.elapsed + self.config.commit_timeout;
        for answer in answers {
            if after <= self.committed || bugs::is_planted(Bug::AnswerBeforeCommit) {
                answer(Ok(()));
            } else {
                self.held.push(Held { after, deadline, answer });
            }
        }
    }
}

fn handle(group: &mut Group, request: GroupRequest, config: &GroupConfig, now: Moment, turn: &mut Turn) {
    match request {
        GroupRequest::Join(request, reply) => group.join(request, reply, config, now, turn),
        GroupRequest::Sync(request, reply) => group.sync(request, reply, now, turn),
        GroupRequest::Heartbeat(request, reply) => tell(reply, group.heartbeat(&request, now)),
        GroupRequest::Leave(request, reply) => {
            let left = group.leave(&request.members, config, now, turn);
            turn.answer(reply, left);
        }
        GroupRequest::CommitOffsets(request, reply) => decided(reply, group.commit(request, config, now), turn),
        GroupRequest::FetchOffsets(wanted, reply) => {
            let fetched = wanted.map_or_else(|| group.offsets.fetch_all(), |wanted| group.offsets.fetch(wanted));
            turn.answer(reply, fetched);
        }
        GroupRequest::DeleteOffsets(wanted, reply) => decided(reply, group.delete_offsets(&wanted), turn),
        GroupRequest::Describe(reply) => {
            decided(reply, group.describe().map(|described| (Vec::new(), described)), turn);
        }
        GroupRequest::Delete(reply) => decided(reply, group.delete().map(|records| (records, ())), turn),
    }
}

fn decided<T: Send + 'static>(reply: Reply<T>, decided: Decision<T>, turn: &mut Turn) {
    match decided {
        Ok((records, value)) => {
            turn.records.extend(records);
            turn.answer(reply, value);
        }
        Err(error) => tell(reply, Err(error)),
    }
}

/// As many of the records as fit one batch, at least one.
fn next_batch(
    records: &mut Peekable<IntoIter<CoordinatorRecord>>,
    bytes_max: usize,
    now: Timestamp,
) -> Result<(CheckedBatch, Vec<CoordinatorRecord>), LogError> {
    let mut builder = BatchBuilder::new(now);
    let mut taken = Vec::new();
    while let Some(record) = records.peek() {
        let too_long = |error: StringTooLong| LogError::TooLarge { bytes: error.length, bytes_max };
        let (key, value) = record.encode().map_err(too_long)?;
        let length = key.len() + value.as_ref().map_or(0, Vec::len) + RECORD_OVERHEAD_BYTES;
        if !taken.is_empty() && bytes_max < builder.length() + length {
            break;
        }
        builder.push(Some(&key), value.as_deref());
        taken.extend(records.next());
    }
    let bytes = builder.length();
    if bytes_max < bytes {
        return Err(LogError::TooLarge { bytes, bytes_max });
    }
    let batch = builder.build().map_err(|error| LogError::Storage(error.to_string()))?;
    Ok((batch, taken))
}

#[cfg(test)]
#[path = "shard_test.rs"]
mod tests;
