//! A leader and a follower with real logs; the test carries the answers from one to the other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::LeaderRecoveryState;
use protocol::produce::CheckedBatch;
use protocol::types::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionId, Timestamp, TopicId, TopicPartition,
};
use storage::faulty::{FaultyDisk, Operation};
use storage::{FilePool, Log, LogConfig, PoolLimits, ReadMode};
use tokio::time::Instant;

use super::access::{
    CommitDue, DeleteRecordsError, FetchError, FetchPosition, FollowerRead, NewLogStart, ProduceError, RequiredAcks,
    ServedBy, Written,
};
use super::follower_state::{LeaderAnswer, Step};
use super::following::{Answered, FetchPlan, Next, Planned, Shortening};
use super::leader_state::{FollowerFetch, ProposalOutcome, RegisteredBroker, RegisteredBrokers};
use super::partition::Partition;
use super::testing;
use super::throttle::ThrottledPartitions;
use super::{AccessError, TopicSettings};
use crate::clock;
use crate::metadata::testing::{cluster, volume};
use crate::metadata::{PartitionImage, Replica};

/// Brokers 0 and 1.
struct Pair([Arc<Partition>; 2]);

/// Led by broker `leader`.
fn metadata(leader: i32, epoch: i32, partition_epoch: i32, isr: &[i32]) -> PartitionImage {
    PartitionImage {
        replicas: (0..2).map(|id| Replica { broker: BrokerId(id), directory: volume(id) }).collect(),
        isr: isr.iter().copied().map(BrokerId).collect(),
        adding: Vec::new(),
        removing: Vec::new(),
        leader: Some(BrokerId(leader)),
        recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    }
}

fn batch(values: &[&str]) -> CheckedBatch {
    let mut batch = BatchBuilder::new(Timestamp(1));
    for value in values {
        batch.push(None, Some(value.as_bytes()));
    }
    batch.build().unwrap()
}

/// The request of follower `id` by this plan.
fn request(id: i32, plan: &FetchPlan) -> (FollowerFetch, FetchPosition) {
    let fetch = FollowerFetch {
        broker: BrokerId(id),
        broker_epoch: BrokerEpoch(100 + i64::from(id)),
        directory: Some(volume(id)),
        offset: plan.offset,
        log_start: plan.log_start,
    };
    let position = FetchPosition {
        served_by: ServedBy::Leader,
        offset: plan.offset,
        leader_epoch: Some(plan.epoch),
        bytes_max: 1 << 20,
    };
    (fetch, position)
}

fn replica(flush_messages: i64) -> Arc<Partition> {
    replica_on(testing::formatted(), flush_messages)
}

fn replica_on(disk: Arc<FaultyDisk>, flush_messages: i64) -> Arc<Partition> {
    let pool = FilePool::new(disk, PoolLimits::default());
    let values = protocol::config::Values::defaults(protocol::config::Scope::Broker);
    let mut settings = TopicSettings::of(&cluster(2), "t", BrokerId(0), &values);
    settings.min_insync_replicas = 2;
    settings.log = LogConfig { flush_messages, ..settings.log };
    let topic = TopicId::default();
    let directory = Path::new(testing::DATA).join("t-0");
    let log = Log::create(&pool, &directory, topic, settings.log.clone(), Offset(0), Timestamp(1)).unwrap();
    let name = TopicPartition { topic: "t".to_owned(), partition: PartitionId(0) };
    let shared = testing::shared();
    let broker = |id| RegisteredBroker { epoch: BrokerEpoch(100 + i64::from(id)), is_active: true };
    shared.brokers.store(Arc::new(RegisteredBrokers((0..2).map(|id| (BrokerId(id), broker(id))).collect())));
    Partition::new(name, topic, log, settings, Arc::default(), &shared)
}

impl Pair {
    /// Led by broker 0, both in sync.
    fn new() -> Self {
        Self::syncing(i64::MAX)
    }

    fn syncing(flush_messages: i64) -> Self {
        let pair = Self([replica(flush_messages), replica(flush_messages)]);
        pair.follow(&metadata(0, 0, 0, &[0, 1]));
        pair
    }

    fn follow(&self, metadata: &PartitionImage) {
        for (id, partition) in (0..).map(BrokerId).zip(&self.0) {
            partition.follow_metadata(metadata, id).unwrap();
        }
    }

    fn write(&self, leader: usize, value: &str) -> Result<Written, ProduceError> {
        self.write_together(leader, &[value])
    }

    /// Writes in one batch.
    fn write_together(&self, leader: usize, values: &[&str]) -> Result<Written, ProduceError> {
        self.0[leader].append_as_leader(&batch(values), RequiredAcks::All, Timestamp(1))
    }

    fn plan(&self, leader: usize) -> Option<FetchPlan> {
        let leader_id = BrokerId(i32::try_from(leader).unwrap());
        match self.0[1 - leader].plan_fetch(leader_id, clock::monotonic()) {
            Planned::Fetch(plan) => Some(plan),
            Planned::Later(_) | Planned::NotNow => None,
        }
    }

    /// One fetch of the follower of `leader`, and its result.
    fn replicate(&self, leader: usize) -> Next {
        let follower = 1 - leader;
        let plan = self.plan(leader).unwrap();
        let (fetch, position) = request(i32::try_from(follower).unwrap(), &plan);
        let answered = match self.0[leader].fetch_as_follower(&fetch, position, plan.last_epoch) {
            Ok(FollowerRead::Readable(readable)) => Answered {
                answer: LeaderAnswer::Agreed,
                records: match readable.located.resolve(ReadMode::Blocking, true).unwrap() {
                    Some(slice) => slice.read().unwrap().into(),
                    None => Bytes::new(),
                },
                high_watermark: readable.high_watermark,
                log_start: readable.log_start,
            },
            Ok(FollowerRead::Diverging(epoch, end)) => Answered::without_records(LeaderAnswer::Diverged { epoch, end }),
            Err(FetchError::OutOfRange(range)) => {
                Answered::without_records(LeaderAnswer::OutOfRange { leader_start: range.log_start })
            }
            Err(error) => panic!("{error}"),
        };
        let next = self.0[follower].take_answer(&plan, answered.clone()).unwrap();
        let step = match next {
            Next::Shorten(step) => step,
            Next::BeginEarlier(offset) => Step::Restart(offset),
            Next::Continue | Next::Pause => return next,
        };
        while self.0[follower].shorten(&plan, step).unwrap() == Shortening::CheckpointFirst {
            self.0[follower].checkpointed().unwrap();
        }
        if let Next::BeginEarlier(offset) = next {
            assert_eq!(self.0[follower].take_answer(&FetchPlan { offset, ..plan }, answered).unwrap(), Next::Continue);
        }
        next
    }

    fn high_watermarks(&self) -> [i64; 2] {
        self.0.each_ref().map(|partition| partition.with_log(|log| log.high_watermark().offset.0).unwrap())
    }

    /// Log start and log end of both.
    fn bounds(&self) -> [(i64, i64); 2] {
        let bounds = |log: &Log| (log.log_start().0, log.log_end().offset.0);
        self.0.each_ref().map(|partition| partition.with_log(bounds).unwrap())
    }

    fn contents(&self) -> [Vec<u8>; 2] {
        self.0.each_ref().map(|partition| {
            let located = partition.with_log(|log| log.locate(log.log_start(), storage::UpTo::LogEnd, 1 << 20));
            let slice = located.unwrap().unwrap().resolve(ReadMode::Blocking, true).unwrap();
            slice.map(|slice| slice.read().unwrap()).unwrap_or_default()
        })
    }
}

fn far_off() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[tokio::test]
async fn a_record_is_acknowledged_when_the_follower_comes_for_the_next() {
    let pair = Pair::new();
    let due = pair.write(0, "a").unwrap().commit_due.unwrap();
    let leader = pair.0[0].clone();
    let acknowledged = tokio::spawn(async move { leader.committed(due, far_off()).await });
    pair.replicate(0);
    assert_eq!(pair.high_watermarks(), [0, 0], "it has asked, and not said that it has the record");
    pair.replicate(0);
    assert_eq!(pair.high_watermarks(), [1, 1]);
    acknowledged.await.unwrap().unwrap();
    let position = FetchPosition {
        served_by: ServedBy::AnyReplica,
        offset: Offset(0),
        leader_epoch: Some(LeaderEpoch(0)),
        bytes_max: 100,
    };
    let nearby = pair.0[1].locate(position).unwrap();
    assert!(nearby.located.resolve(ReadMode::Blocking, true).unwrap().is_some(), "consumers may read it there");
    let leader_only = pair.0[1].locate(FetchPosition { served_by: ServedBy::Leader, ..position });
    assert!(matches!(leader_only, Err(FetchError::Access(AccessError::NotLeader(_)))));
}

#[tokio::test]
async fn what_a_lost_leader_alone_has_gives_way_to_its_successor() {
    let pair = Pair::new();
    for value in ["a", "b"] {
        pair.write(0, value).unwrap();
    }
    pair.replicate(0);
    pair.replicate(0);
    let lost: CommitDue = pair.write(0, "lost").unwrap().commit_due.unwrap();
    let leader = pair.0[0].clone();
    let waits = tokio::spawn(async move { leader.committed(lost, far_off()).await });
    pair.0[1].follow_metadata(&metadata(1, 1, 1, &[0, 1]), BrokerId(1)).unwrap();
    pair.write(1, "c").unwrap();
    pair.write(1, "d").unwrap();
    pair.0[0].follow_metadata(&metadata(1, 1, 1, &[0, 1]), BrokerId(0)).unwrap();
    let refused = waits.await.unwrap();
    assert!(matches!(refused, Err(ProduceError::Access(AccessError::NotLeader(_)))), "{refused:?}");
    assert!(matches!(pair.replicate(1), Next::Shorten(_)));
    assert_eq!(pair.0[0].with_log(|log| log.log_end().offset).unwrap(), Offset(2));
    pair.replicate(1);
    pair.replicate(1);
    assert_eq!(pair.high_watermarks(), [4, 4]);
    let [one, other] = pair.contents();
    assert!(!one.is_empty() && one == other, "the replicas are byte for byte the same");
}

#[tokio::test]
async fn producers_wait_on_where_their_broker_leads_on_in_another_epoch() {
    let pair = Pair::new();
    let due = pair.write(0, "a").unwrap().commit_due.unwrap();
    pair.follow(&metadata(0, 1, 1, &[0, 1]));
    let early = pair.0[0].committed(due, Instant::now()).await;
    assert!(matches!(early, Err(ProduceError::NotCommittedInTime)), "{early:?}");
    pair.replicate(0);
    pair.replicate(0);
    pair.0[0].committed(due, far_off()).await.unwrap();
    let lost = pair.write(0, "lost").unwrap().commit_due.unwrap();
    pair.follow(&metadata(1, 2, 2, &[0, 1]));
    pair.follow(&metadata(0, 3, 3, &[0, 1]));
    let refused = pair.0[0].committed(lost, far_off()).await;
    assert!(matches!(refused, Err(ProduceError::Access(AccessError::NotLeader(_)))), "{refused:?}");
}

#[tokio::test]
async fn producers_are_told_when_too_few_are_in_sync() {
    let pair = Pair::new();
    let due = pair.write(0, "a").unwrap().commit_due.unwrap();
    pair.0[0].follow_metadata(&metadata(0, 0, 1, &[0]), BrokerId(0)).unwrap();
    assert!(matches!(
        pair.write(0, "b"),
        Err(ProduceError::NotEnoughReplicas { isr_count: 1, min_insync_replicas: 2 })
    ));
    let late = pair.0[0].committed(due, Instant::now()).await;
    assert!(matches!(late, Err(ProduceError::NotEnoughReplicasAfterAppend { .. })), "{late:?}");
    pair.0[0].follow_metadata(&metadata(0, 0, 2, &[0, 1]), BrokerId(0)).unwrap();
    let late = pair.0[0].committed(due, Instant::now()).await;
    assert!(matches!(late, Err(ProduceError::NotCommittedInTime)), "{late:?}");
}

#[test]
fn a_follower_that_has_caught_up_is_proposed_and_counts() {
    let pair = Pair::new();
    pair.follow(&metadata(0, 0, 1, &[0]));
    pair.replicate(0);
    let [(partition, proposal)] = pair.0[0].shared.proposals.take_now().try_into().unwrap();
    assert_eq!(proposal.isr.iter().map(|(broker, _)| broker.0).collect::<Vec<_>>(), [0, 1]);
    assert!(partition.still_proposes(&proposal));
    let isr = vec![BrokerId(0), BrokerId(1)];
    let outcome = ProposalOutcome::Committed { leader_epoch: LeaderEpoch(0), partition_epoch: PartitionEpoch(2), isr };
    assert_eq!(partition.resolve(&proposal, outcome).map(|change| change.joined), Some(1));
    assert!(pair.write(0, "a").is_err(), "the metadata does not say so yet");
    pair.follow(&metadata(0, 0, 2, &[0, 1]));
    assert!(pair.write(0, "a").is_ok());
}

#[test]
fn a_follower_whose_disk_fails_ends_with_its_process() {
    let refused = || std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    for operation in [Operation::Write, Operation::List] {
        let disk = testing::formatted();
        let pair = Pair([replica(i64::MAX), replica_on(disk.clone(), i64::MAX)]);
        pair.follow(&metadata(0, 0, 0, &[0, 1]));
        pair.write(0, "a").unwrap();
        let [leader, follower] = &pair.0;
        let records = pair.contents()[0].clone().into();
        let answer = LeaderAnswer::Agreed;
        let answered = Answered { answer, records, high_watermark: Offset(0), log_start: Offset(0) };
        let plan = pair.plan(0).unwrap();
        disk.fail(operation, 0, refused());
        if operation == Operation::Write {
            follower.take_answer(&plan, answered).unwrap_err();
        } else {
            follower.shorten(&plan, Step::Restart(Offset(5))).unwrap_err();
        }
        let has_failed = |partition: &Partition| partition.shared.failures.first().is_some();
        assert!(has_failed(follower) && !has_failed(leader), "{operation:?}");
    }
}

#[test]
fn records_that_are_to_be_on_disk_count_when_they_are() {
    let pair = Pair::syncing(1);
    pair.write(0, "a").unwrap();
    pair.replicate(0);
    assert!(pair.plan(0).is_none(), "its offset would say that it has the record on disk");
    pair.0[1].flush().unwrap();
    pair.replicate(0);
    assert_eq!(pair.high_watermarks(), [0, 0], "the leader's own is not on disk");
    pair.0[0].flush().unwrap();
    assert_eq!(pair.high_watermarks(), [1, 0]);
    pair.replicate(0);
    assert_eq!(pair.high_watermarks(), [1, 1]);
}

#[test]
fn a_follower_reads_on_after_an_answer_that_it_had_room_for_only_in_part() {
    let mut written_in_part = 0;
    for after in 0.. {
        let disk = testing::formatted();
        let pair = Pair([replica(1), replica_on(disk.clone(), 1)]);
        pair.follow(&metadata(0, 0, 0, &[0, 1]));
        for value in ["a", "b"] {
            pair.write(0, value).unwrap();
        }
        let follower = &pair.0[1];
        let small_segments = |log: &mut Log| log.set_config(LogConfig { segment_bytes: 100, ..log.config().clone() });
        follower.with_log_mut(small_segments).unwrap();
        let records = pair.contents()[0].clone().into();
        let answer = LeaderAnswer::Agreed;
        let answered = Answered { answer, records, high_watermark: Offset(0), log_start: Offset(0) };
        disk.fail(Operation::Open, after, std::io::ErrorKind::StorageFull);
        if follower.take_answer(&pair.plan(0).unwrap(), answered).is_ok() {
            break;
        }
        if follower.with_log(Log::unflushed_bytes).unwrap() != 0 {
            written_in_part += 1;
            assert_eq!((follower.shared.flushes.queued(), follower.unflushed_bytes() != 0), (1, true), "{after}");
            follower.flush().unwrap();
        }
        assert_eq!(pair.plan(0).map(|plan| plan.offset), Some(Offset(pair.bounds()[1].1)), "{after}");
    }
    assert!(0 < written_in_part);
}

#[test]
fn a_follower_has_no_more_than_it_asked_for_where_compaction_has_left_nothing() {
    let pair = Pair::new();
    pair.write(0, "a").unwrap();
    pair.replicate(0);
    pair.replicate(0);
    pair.follow(&metadata(0, 1, 1, &[0, 1]));
    for value in ["b", "c"] {
        pair.write(0, value).unwrap();
    }
    let plan = pair.plan(0).unwrap();
    assert_eq!((plan.offset, plan.last_epoch), (Offset(1), Some(LeaderEpoch(0))));
    let (fetch, position) = request(1, &plan);
    let beyond = FetchPosition { offset: Offset(2), ..position };
    let read = pair.0[0].fetch_as_follower(&fetch, beyond, plan.last_epoch).unwrap();
    let FollowerRead::Readable(readable) = read else { panic!("they have not parted") };
    let slice = readable.located.resolve(ReadMode::Blocking, true).unwrap().unwrap();
    assert_eq!((slice.start.offset, pair.high_watermarks()), (Offset(2), [1, 1]));
}

#[test]
fn a_follower_behind_the_leaders_log_start_begins_there() {
    let pair = Pair::new();
    for value in ["a", "b", "c"] {
        pair.write(0, value).unwrap();
    }
    pair.0[0].follow_metadata(&metadata(0, 0, 1, &[0]), BrokerId(0)).unwrap();
    pair.0[0]
        .with_log_mut(|log| {
            log.set_high_watermark(log.log_end());
            log.advance_log_start(Offset(3)).unwrap();
        })
        .unwrap();
    assert!(matches!(pair.replicate(0), Next::Shorten(_)));
    pair.replicate(0);
    assert_eq!(pair.bounds()[1], (3, 3));
}

#[test]
fn a_log_that_begins_within_a_batch_is_replicated_whole() {
    let mut pair = Pair::new();
    pair.write_together(0, &["a", "b", "c"]).unwrap();
    pair.replicate(0);
    pair.replicate(0);
    pair.0[0].delete_records(NewLogStart::At(Offset(2)), Timestamp(1)).unwrap();
    pair.0[1] = replica(i64::MAX);
    pair.0[1].follow_metadata(&metadata(0, 0, 0, &[0, 1]), BrokerId(1)).unwrap();
    assert_eq!(pair.replicate(0), Next::Shorten(Step::Restart(Offset(2))));
    assert_eq!(pair.replicate(0), Next::BeginEarlier(Offset(0)));
    assert_eq!(pair.bounds(), [(2, 3); 2]);
    assert_eq!(pair.contents()[0], pair.contents()[1]);
}

/// From an earlier leader it has other batches, and all of them are deleted.
#[test]
fn a_log_that_ends_within_a_batch_begins_anew_with_it_where_all_before_is_deleted() {
    let mut pair = Pair::new();
    for value in ["a", "b"] {
        pair.write(0, value).unwrap();
    }
    pair.replicate(0);
    pair.replicate(0);
    let former = std::mem::replace(&mut pair.0, [replica(i64::MAX), replica(i64::MAX)]);
    pair.follow(&metadata(0, 1, 0, &[0, 1]));
    pair.write_together(0, &["a", "b", "c"]).unwrap();
    pair.replicate(0);
    pair.replicate(0);
    pair.0[0].delete_records(NewLogStart::At(Offset(2)), Timestamp(1)).unwrap();
    [_, pair.0[1]] = former;
    pair.follow(&metadata(0, 1, 0, &[0, 1]));
    assert_eq!(pair.replicate(0), Next::BeginEarlier(Offset(0)));
    assert_eq!(pair.bounds(), [(2, 3); 2]);
}

#[tokio::test]
async fn records_are_deleted_once_every_replica_that_is_up_begins_after_them() {
    let pair = Pair::new();
    for value in ["a", "b", "c"] {
        pair.write(0, value).unwrap();
    }
    pair.replicate(0);
    pair.replicate(0);
    let delete = |offset| pair.0[0].delete_records(NewLogStart::At(Offset(offset)), Timestamp(1)).unwrap().0;
    assert_eq!(delete(2), Offset(2));
    let early = pair.0[0].deleted(Offset(2), Instant::now()).await;
    assert!(matches!(early, Err(DeleteRecordsError::NotDeletedInTime { low_watermark: Offset(0), .. })), "{early:?}");
    let leader = pair.0[0].clone();
    let waits = tokio::spawn(async move { leader.deleted(Offset(2), far_off()).await });
    pair.replicate(0);
    assert_eq!(pair.0[0].low_watermark().unwrap(), Offset(0), "it has heard of it, and not said that it has done it");
    pair.replicate(0);
    assert_eq!((waits.await.unwrap().unwrap(), delete(3)), (Offset(2), Offset(3)));
    let mut brokers = RegisteredBrokers::clone(&pair.0[0].shared.brokers.load());
    brokers.0.get_mut(&BrokerId(1)).unwrap().is_active = false;
    pair.0[0].shared.brokers.store(Arc::new(brokers));
    assert_eq!(pair.0[0].deleted(Offset(3), Instant::now()).await.unwrap(), Offset(3), "who is away leads nothing");
}

#[test]
fn a_throttle_holds_back_who_is_not_in_sync_and_nobody_else() {
    let pair = Pair::new();
    for partition in &pair.0 {
        let settings = TopicSettings::clone(&partition.settings());
        let (throttled_leaders, throttled_followers) = (ThrottledPartitions::All, ThrottledPartitions::All);
        partition.set_settings(TopicSettings { throttled_leaders, throttled_followers, ..settings }).unwrap();
    }
    let throttle = &pair.0[1].shared.throttles.follower;
    throttle.set_rate(1 << 20);
    pair.write(0, "a").unwrap();
    pair.replicate(0);
    assert!(pair.plan(0).is_some(), "producers wait for it");
    pair.follow(&metadata(0, 0, 1, &[0]));
    assert!(pair.plan(0).is_some(), "nothing was taken that counts");
    throttle.taken(1 << 30, clock::monotonic());
    assert!(pair.plan(0).is_none());
    pair.follow(&metadata(0, 0, 2, &[0, 1]));
    assert!(pair.plan(0).is_some(), "producers wait for it again");
    pair.follow(&metadata(0, 0, 3, &[0]));
    throttle.set_rate(i64::MAX);
    let plan = pair.plan(0).unwrap();
    let (fetch, position) = request(1, &plan);
    let is_throttled = || match pair.0[0].fetch_as_follower(&fetch, position, plan.last_epoch).unwrap() {
        FollowerRead::Readable(readable) => readable.is_throttled,
        FollowerRead::Diverging(..) => panic!("the logs agree"),
    };
    assert!(is_throttled());
    pair.follow(&metadata(0, 0, 4, &[0, 1]));
    assert!(!is_throttled());
}
