//! A shard over a log in memory, with a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::coordinator_records::{CoordinatorRecord, GenerationId};
use protocol::produce::CheckedBatch;
use protocol::records;
use protocol::types::{Offset, PartitionId, Timestamp, TopicId};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use uuid::Uuid;

use super::config::GroupConfig;
use super::error::GroupError;
use super::log::LogError;
use super::member::{Client, GroupId, MemberId, Protocol};
use super::request::{
    CommitRequest, GroupRequest, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, MemberClaim, Moment,
    OffsetToCommit, Results, SyncRequest, Synced,
};
use super::shard::{Shard, ShardLog};
use crate::metrics::GroupMetrics;

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_mins(1);

pub(super) type Waiting<T> = oneshot::Receiver<Result<T, GroupError>>;

#[derive(Debug)]
pub(super) struct FakeLog {
    pub(super) records: Vec<CoordinatorRecord>,
    /// The error with which appends are refused.
    pub(super) refusal: Option<LogError>,
    pub(super) batch_bytes_max: usize,
    pub(super) batches: usize,
    pub(super) age_now: Timestamp,
}

impl ShardLog for FakeLog {
    fn age_now(&self) -> Timestamp {
        self.age_now
    }

    fn append(&mut self, batch: &CheckedBatch, _now: Timestamp) -> Result<Offset, LogError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        assert!(batch.bytes.len() <= self.batch_bytes_max);
        self.batches += 1;
        self.records.extend(opened(batch));
        Ok(self.end())
    }

    fn batch_bytes_max(&self) -> Result<usize, LogError> {
        match &self.refusal {
            Some(LogError::NotLeader) => Err(LogError::NotLeader),
            _ => Ok(self.batch_bytes_max),
        }
    }
}

fn opened(batch: &CheckedBatch) -> Vec<CoordinatorRecord> {
    let opened = records::walk(&batch.bytes, 0).unwrap();
    let records = opened.iter().map(Result::unwrap);
    records.map(|record| CoordinatorRecord::decode(record.key, record.value).unwrap()).collect()
}

impl FakeLog {
    pub(super) fn end(&self) -> Offset {
        Offset(i64::try_from(self.records.len()).unwrap())
    }
}

pub(super) struct Bench {
    pub(super) shard: Shard,
    pub(super) log: FakeLog,
    pub(super) now: Moment,
    pub(super) config: Arc<GroupConfig>,
    /// Everything written is committed at once.
    pub(super) commits: bool,
    ids: u128,
}

pub(super) fn config() -> GroupConfig {
    GroupConfig {
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        initial_rebalance_delay: Duration::from_secs(3),
        group_size_max: 1000,
        offset_metadata_bytes_max: 64,
        offsets_retention: Duration::from_hours(1),
        retention_check_interval: Duration::from_mins(10),
        commit_timeout: Duration::from_secs(5),
    }
}

impl Bench {
    pub(super) fn new(config: GroupConfig) -> Self {
        let config = Arc::new(config);
        let log = FakeLog {
            records: Vec::new(),
            refusal: None,
            batch_bytes_max: 1 << 20,
            batches: 0,
            age_now: Timestamp(1_000_000),
        };
        let now = Moment { elapsed: Duration::ZERO, wall: Timestamp(1_000_000) };
        let shard = Shard::new(config.clone(), Arc::new(GroupMetrics::default()));
        let mut bench = Self { shard, log, now, config, commits: true, ids: 0 };
        bench.shard.loaded(Offset(0), now, &mut bench.log);
        bench
    }

    /// Another broker takes over, with what is in the log.
    pub(super) fn fail_over(&mut self) {
        self.shard = Shard::new(self.config.clone(), Arc::new(GroupMetrics::default()));
        self.log.records.iter().for_each(|record| self.shard.replay(record.clone()));
        self.shard.loaded(self.log.end(), self.now, &mut self.log);
        self.settle();
    }

    pub(super) fn ask<T>(
        &mut self,
        group: &str,
        request: impl FnOnce(super::answer::Reply<T>) -> GroupRequest,
    ) -> Waiting<T> {
        let (reply, waiting) = oneshot::channel();
        self.handle(group, request(reply));
        waiting
    }

    pub(super) fn handle(&mut self, group: &str, request: GroupRequest) {
        self.shard.handle(&GroupId(group.into()), request, self.now, &mut self.log);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        if self.commits {
            self.shard.committed(self.log.end());
        }
    }

    /// Time passes, and everything due on the way is done.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.elapsed + time;
        loop {
            let due = self.shard.next_deadline().clamp(self.now.elapsed, end);
            let step = due.checked_sub(self.now.elapsed).unwrap();
            self.now.elapsed = due;
            let step_ms = i64::try_from(step.as_millis()).unwrap();
            self.now.wall.0 += step_ms;
            self.log.age_now.0 += step_ms;
            let is_due = self.shard.next_deadline() <= due;
            self.shard.wake(self.now, &mut self.log);
            self.settle();
            if !is_due && due == end {
                return;
            }
        }
    }

    pub(super) fn join(&mut self, group: &str, request: JoinRequest) -> Waiting<Joined> {
        self.ids += 1;
        let request = JoinRequest { fresh_id: Uuid::from_u128(self.ids), ..request };
        self.ask(group, |reply| GroupRequest::Join(request, reply))
    }

    pub(super) fn sync(&mut self, group: &str, joined: &Joined, assignments: &[(&MemberId, &str)]) -> Waiting<Synced> {
        let assignments = assignments.iter();
        let request = SyncRequest {
            member: claim(&joined.member),
            generation: joined.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: assignments.map(|(id, text)| ((*id).clone(), Bytes::from(text.to_string()))).collect(),
        };
        self.ask(group, |reply| GroupRequest::Sync(request, reply))
    }

    pub(super) fn heartbeat(
        &mut self,
        group: &str,
        member: MemberClaim,
        generation: GenerationId,
    ) -> Result<(), GroupError> {
        let request = HeartbeatRequest { member, generation };
        told(&mut self.ask(group, |reply| GroupRequest::Heartbeat(request, reply)))
    }

    pub(super) fn leave(&mut self, group: &str, members: Vec<MemberClaim>) -> Results {
        let request = LeaveRequest { members };
        told(&mut self.ask(group, |reply| GroupRequest::Leave(request, reply))).unwrap()
    }

    pub(super) fn commit(&mut self, group: &str, request: CommitRequest) -> Waiting<Results> {
        self.ask(group, |reply| GroupRequest::CommitOffsets(request, reply))
    }

    /// The committed offset of a partition of topic `t`.
    pub(super) fn offset(&mut self, group: &str, partition: i32) -> Option<i64> {
        let fetched = told(&mut self.ask(group, |reply| GroupRequest::FetchOffsets(None, reply))).unwrap();
        let partitions = fetched.into_iter().filter(|topic| topic.topic == "t").flat_map(|topic| topic.partitions);
        let mut partitions = partitions.filter(|(id, _)| id.0 == partition);
        partitions.next().and_then(|(_, offset)| Some(offset?.offset.0))
    }

    /// A stable group of dynamic members; the first of them is the leader.
    pub(super) fn stable(&mut self, group: &str, count: usize) -> Vec<Joined> {
        let mut waiting: Vec<_> = (0..count).map(|_| self.join(group, request("c"))).collect();
        self.pass(Duration::from_secs(7));
        let joined: Vec<_> = waiting.iter_mut().map(|waiting| told(waiting).unwrap()).collect();
        let mut synced: Vec<_> = joined.iter().filter(|joined| joined.member != joined.leader).collect();
        synced.extend(joined.iter().filter(|joined| joined.member == joined.leader));
        let assignments: Vec<_> = joined.iter().map(|joined| (&joined.member, joined.member.0.as_str())).collect();
        let mut waiting: Vec<_> = synced.iter().map(|joined| self.sync(group, joined, &assignments)).collect();
        for (joined, waiting) in synced.iter().zip(&mut waiting) {
            assert_eq!(told(waiting).unwrap().assignment, joined.member.0.as_bytes());
        }
        joined
    }
}

/// The answer, which must have arrived.
pub(super) fn told<T>(waiting: &mut Waiting<T>) -> Result<T, GroupError> {
    let Ok(answer) = waiting.try_recv() else { panic!("not answered") };
    answer
}

pub(super) fn waits<T>(waiting: &mut Waiting<T>) -> bool {
    matches!(waiting.try_recv(), Err(TryRecvError::Empty))
}

pub(super) fn claim(id: &MemberId) -> MemberClaim {
    MemberClaim { id: id.clone(), instance: None }
}

pub(super) fn static_claim(id: &MemberId, instance: &str) -> MemberClaim {
    MemberClaim { id: id.clone(), instance: Some(instance.to_owned()) }
}

/// The request of an old client that joins at once.
pub(super) fn request(client: &str) -> JoinRequest {
    JoinRequest {
        member: claim(&MemberId::default()),
        client: Client { id: client.to_owned(), host: "/h".to_owned() },
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        fresh_id: Uuid::nil(),
        id_required: false,
        can_skip_assignment: false,
    }
}

pub(super) fn static_request(instance: &str) -> JoinRequest {
    JoinRequest { member: static_claim(&MemberId::default(), instance), ..request("c") }
}

pub(super) fn again(id: &MemberId) -> JoinRequest {
    JoinRequest { member: claim(id), ..request("c") }
}

/// Each subscribed to topic `t`.
pub(super) fn protocols(names: &[&str]) -> Vec<Protocol> {
    let metadata = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xFF, 0xFF, 0xFF, 0xFF]);
    names.iter().map(|name| Protocol { name: (*name).to_owned(), metadata: metadata.clone() }).collect()
}

pub(super) fn offset(partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: "t".to_owned(),
        topic_id: TopicId(Uuid::from_u128(1)),
        partition: PartitionId(partition),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
    }
}

/// A commit from outside the group.
pub(super) fn commit_of(offsets: Vec<OffsetToCommit>) -> CommitRequest {
    CommitRequest { member: claim(&MemberId::default()), generation: GenerationId(-1), offsets, retention: None }
}
