//! The coordinator thread over logs in memory: what it loads, drops, and makes of what it reads.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

use bytes::Bytes;
use protocol::batch::{BatchHeader, CRC_START};
use protocol::batch_builder::BatchBuilder;
use protocol::coordinator_records::{CommittedOffset, CoordinatorRecord};
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, PartitionId, Timestamp};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::super::OFFSETS_TOPIC;
use super::super::error::{GroupError, Unavailable};
use super::super::handle::coordinator_partition;
use super::super::log::{LogRead, Notice};
use super::super::testing::{commit_of, config, offset};
use super::*;
use crate::metadata::testing::{add_topic, cluster};

const PATIENCE: Duration = Duration::from_mins(1);
const TOPIC: TopicId = TopicId(uuid::Uuid::from_u128(5));

/// One partition's log: batches with their base offsets.
#[derive(Debug, Default)]
struct FakePartition {
    epoch: Option<LeaderEpoch>,
    batches: Vec<Bytes>,
    end: i64,
    high_watermark: i64,
    /// The high watermark is being watched.
    watched: bool,
    /// The high watermark does not advance.
    commits_late: bool,
    /// Where no batch can be decoded.
    broken: Range<i64>,
    /// The next append panics once it is done, and so does the next read.
    panics: [bool; 2],
    /// Reads wait until this is dropped.
    reading: Option<std::sync::mpsc::Receiver<()>>,
}

#[derive(Debug, Clone, Default)]
struct FakeLogs {
    partitions: Arc<Mutex<BTreeMap<PartitionId, FakePartition>>>,
    /// How often the led partitions were queried.
    looks: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    committed: Arc<Notify>,
}

impl FakeLogs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, FakePartition>> {
        self.partitions.lock().unwrap()
    }

    fn of<T>(&self, term: Term, read: impl FnOnce(&mut FakePartition) -> T) -> Result<T, LogError> {
        let mut partitions = self.lock();
        let partition = partitions.get_mut(&term.partition).filter(|partition| partition.epoch == Some(term.epoch));
        partition.map(read).ok_or(LogError::NotLeader)
    }

    fn change<T>(&self, partition: PartitionId, change: impl FnOnce(&mut FakePartition) -> T) -> T {
        let mut partitions = self.lock();
        let partition = partitions.entry(partition).or_default();
        let changed = change(partition);
        self.changed.notify_one();
        if std::mem::take(&mut partition.watched) {
            self.committed.notify_one();
        }
        changed
    }

    /// Returns when the thread has seen the current metadata.
    async fn metadata_seen(&self) {
        // With the second look the first one is complete.
        for _ in 0..2 {
            let before = self.looks.load(Ordering::SeqCst);
            self.changed.notify_one();
            while self.looks.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl FakePartition {
    fn append_record(&mut self, group: &str, offset: i64) {
        let (key, value) = record(group, offset).encode().unwrap();
        self.append(&batch(&[(&key, value.as_deref())]));
        self.high_watermark = self.end;
    }

    fn append(&mut self, batch: &CheckedBatch) -> Offset {
        let mut bytes = batch.bytes.to_vec();
        bytes[..8].copy_from_slice(&self.end.to_be_bytes());
        self.batches.push(bytes.into());
        self.end += i64::from(batch.header.records_count);
        Offset(self.end)
    }
}

impl GroupLogs for FakeLogs {
    fn led(&self) -> Vec<Term> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let partitions = self.lock();
        let led = partitions.iter().filter_map(|(partition, state)| {
            Some(Term { topic_id: TOPIC, partition: *partition, epoch: state.epoch? })
        });
        led.collect()
    }

    fn append(&self, term: Term, batch: &CheckedBatch, _now: Timestamp) -> Result<Offset, LogError> {
        let (end, panics) = self.of(term, |partition| {
            let end = partition.append(batch);
            if !partition.commits_late {
                partition.high_watermark = end.0;
            }
            (end, std::mem::take(&mut partition.panics[0]))
        })?;
        assert!(!panics, "on purpose");
        Ok(end)
    }

    fn age_now(&self) -> Timestamp {
        clock::wall()
    }

    fn batch_bytes_max(&self, _term: Term) -> Result<usize, LogError> {
        Ok(1 << 20)
    }

    fn high_watermark(&self, term: Term) -> Result<Offset, LogError> {
        self.of(term, |partition| Offset(partition.high_watermark))
    }

    fn range(&self, term: Term) -> Result<(Offset, Offset), LogError> {
        self.of(term, |partition| (Offset(0), Offset(partition.end)))
    }

    fn read(&self, term: Term, from: Offset, _bytes_max: u32) -> Result<LogRead, LogError> {
        let take = |partition: &mut FakePartition| (partition.reading.take(), std::mem::take(&mut partition.panics[1]));
        let (reading, panics) = self.of(term, take)?;
        if let Some(reading) = reading {
            let _held_back = reading.recv();
        }
        assert!(!panics, "on purpose");
        self.of(term, |partition| {
            if partition.broken.contains(&from.0) {
                return LogRead::Broken("no batch".to_owned());
            }
            let begins = |batch: &&Bytes| from <= BatchHeader::decode(batch.first_chunk().unwrap()).last_offset();
            let batches: Vec<_> =
                partition.batches.iter().filter(begins).flat_map(|batch| batch.iter().copied()).collect();
            // The last one cut off, as in a bounded read.
            let length = if from.0 == 0 { batches.len() - 1 } else { batches.len() };
            LogRead::Batches(Bytes::from(batches).slice(..length))
        })
    }

    fn watch_metadata(&self) {}

    fn metadata_changed(&self) -> Notice<'_> {
        Box::pin(self.changed.notified())
    }

    fn watch_commits(&self, term: Term) {
        let _not_led = self.of(term, |partition| partition.watched = true);
    }

    fn committed(&self) -> Notice<'_> {
        Box::pin(self.committed.notified())
    }
}

/// With another topic, `t`.
fn image() -> Image {
    let mut image = cluster(1);
    add_topic(&mut image, OFFSETS_TOPIC, &[0]);
    add_topic(&mut image, "t", &[0]);
    image
}

fn start(logs: &FakeLogs) -> (CoordinatorHandle, CoordinatorThread, Arc<GroupMetrics>) {
    let image = Arc::new(ArcSwap::from_pointee(image()));
    start_with(logs, image, config())
}

fn start_with(
    logs: &FakeLogs,
    image: Arc<ArcSwap<Image>>,
    config: GroupConfig,
) -> (CoordinatorHandle, CoordinatorThread, Arc<GroupMetrics>) {
    let metrics = Arc::new(GroupMetrics::default());
    let logs = Arc::new(logs.clone());
    let (handle, thread) =
        CoordinatorThread::spawn(logs, config, metrics.clone(), image, &Failures::default()).unwrap();
    (handle, thread, metrics)
}

/// Partition 0 is led, with an offset of group `g`, and is being loaded until the returned sender is dropped.
async fn begin_loading(logs: &FakeLogs, handle: &CoordinatorHandle) -> Sender<()> {
    let (go_on, reading) = std::sync::mpsc::channel();
    logs.change(PartitionId(0), |partition| {
        partition.append_record("g", 3);
        partition.append_record("g", 3);
        partition.epoch = Some(LeaderEpoch(1));
        partition.reading = Some(reading);
    });
    while handle.fetch_offsets("g", None).await != Err(GroupError::Unavailable(Unavailable::Loading)) {}
    go_on
}

/// Asks until the coordinator has loaded its log.
async fn fetch(handle: &CoordinatorHandle, group: &str) -> Vec<i64> {
    loop {
        match handle.fetch_offsets(group, None).await {
            Ok(topics) => {
                let offsets = topics.into_iter().flat_map(|topic| topic.partitions);
                return offsets.map(|(_, offset)| offset.unwrap().offset.0).collect();
            }
            Err(GroupError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn record(group: &str, offset: i64) -> CoordinatorRecord {
    let value = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        commit_timestamp: clock::wall(),
        expire_timestamp: None,
        topic_id: TopicId::default(),
    };
    CoordinatorRecord::OffsetCommit {
        group: group.to_owned(),
        topic: "t".to_owned(),
        partition: PartitionId(0),
        value: Some(value),
    }
}

fn batch(records: &[(&[u8], Option<&[u8]>)]) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Timestamp(1));
    for (key, value) in records {
        builder.push(Some(key), *value);
    }
    builder.build().unwrap()
}

#[tokio::test]
async fn what_is_broken_is_skipped_and_counted_and_the_rest_is_loaded() {
    let logs = FakeLogs::default();
    let (key, value) = record("before", 3).encode().unwrap();
    let (later_key, later_value) = record("after", 4).encode().unwrap();
    let mut broken = batch(&[(&key, Some(b"x"))]);
    let mut bytes = broken.bytes.to_vec();
    bytes[CRC_START + 20] ^= 1;
    broken.bytes = bytes.into();
    logs.change(PartitionId(0), |partition| {
        let unknown: &[u8] = &[0, 9, 0, 0];
        partition.append(&batch(&[(&key, value.as_deref()), (unknown, None), (&later_key, Some(&[0, 9]))]));
        partition.append(&broken);
        partition.append(&batch(&[(&later_key, later_value.as_deref())]));
        partition.high_watermark = partition.end;
        partition.epoch = Some(LeaderEpoch(0));
    });
    let (handle, thread, metrics) = start(&logs);
    assert_eq!((fetch(&handle, "before").await, fetch(&handle, "after").await), (vec![3], vec![4]));
    assert_eq!(metrics.read().records_skipped, 3);
    assert_eq!(metrics.load_time.read().count(), 1);
    thread.stop();
}

#[tokio::test]
async fn behind_a_broken_length_it_goes_on_where_the_log_knows_the_next_batch() {
    const LENGTH: Range<usize> = 8..12;
    // Where no batch can be decoded, the wrong length, what is lost and what is counted: a wrong length that is
    // another batch's loses that batch as well. Two records to a batch, of which an index knows the second.
    for (broken, length, lost, skipped) in
        [(20..37, i32::MAX, 20..36, 1), (20..22, 0, 20..22, 1), (20..60, 70, 20..60, 2)]
    {
        let logs = FakeLogs::default();
        logs.change(PartitionId(0), |partition| {
            for number in (0..60).step_by(2) {
                let records = [number, number + 1].map(|number| record(&format!("group-{number}"), number).encode());
                let records = records.map(Result::unwrap);
                partition.append(&batch(&records.each_ref().map(|(key, value)| (key.as_slice(), value.as_deref()))));
            }
            let mut bytes = partition.batches[10].to_vec();
            bytes[LENGTH].copy_from_slice(&length.to_be_bytes());
            partition.batches[10] = bytes.into();
            partition.high_watermark = partition.end;
            partition.broken = broken.clone();
            partition.epoch = Some(LeaderEpoch(0));
        });
        let (handle, thread, metrics) = start(&logs);
        for number in 0..60 {
            let expected = if lost.contains(&number) { vec![] } else { vec![number] };
            assert_eq!(fetch(&handle, &format!("group-{number}")).await, expected, "{number}, broken {broken:?}");
        }
        assert_eq!(metrics.read().records_skipped, skipped);
        thread.stop();
    }
}

#[tokio::test]
async fn a_partition_is_taken_up_and_given_up_with_its_leadership() {
    let logs = FakeLogs::default();
    let (handle, thread, _) = start(&logs);
    let elsewhere = Err(GroupError::Unavailable(Unavailable::NotCoordinator));
    assert_eq!(handle.fetch_offsets("g", None).await, elsewhere);
    assert_eq!(coordinator_partition("g", 1), Some(PartitionId(0)));
    let go_on = begin_loading(&logs, &handle).await;
    assert_eq!(handle.list().await, Err(GroupError::Unavailable(Unavailable::Loading)));
    drop(go_on);
    assert_eq!(fetch(&handle, "g").await, [3]);
    assert!(handle.commit_offsets("g", commit_of(vec![offset(0, 4)])).await.is_ok());
    assert_eq!(handle.list().await.unwrap().len(), 1);

    // Another broker has led and written meanwhile: what is in memory is stale.
    logs.change(PartitionId(0), |partition| {
        partition.append_record("g", 9);
        partition.epoch = Some(LeaderEpoch(3));
    });
    while fetch(&handle, "g").await != [9] {}
    logs.change(PartitionId(0), |partition| partition.epoch = None);
    while handle.fetch_offsets("g", None).await != elsewhere {}
    assert_eq!(handle.list().await, Ok(Vec::new()));
    thread.stop();
}

#[tokio::test]
async fn an_answer_waits_for_the_high_watermark() {
    let logs = FakeLogs::default();
    logs.change(PartitionId(0), |partition| {
        partition.epoch = Some(LeaderEpoch(1));
        partition.commits_late = true;
    });
    let (handle, thread, _) = start(&logs);
    assert!(fetch(&handle, "g").await.is_empty());
    let mut commit = pin!(handle.commit_offsets("g", commit_of(vec![offset(0, 4)])));
    let at_once = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await;
    assert!(at_once.is_pending());
    logs.metadata_seen().await;
    logs.change(PartitionId(0), |partition| partition.high_watermark = partition.end);
    assert_eq!(timeout(PATIENCE, commit).await.unwrap(), Ok(vec![Ok(())]));
    thread.stop();
}

#[tokio::test]
async fn what_is_due_without_a_request_is_done() {
    let logs = FakeLogs::default();
    logs.change(PartitionId(0), |partition| partition.epoch = Some(LeaderEpoch(1)));
    let config = GroupConfig { initial_rebalance_delay: Duration::from_millis(1), ..config() };
    let (handle, thread, _) = start_with(&logs, Arc::new(ArcSwap::from_pointee(image())), config);
    assert!(fetch(&handle, "g").await.is_empty());
    let joined = handle.join("g", super::super::testing::request("c"));
    assert_eq!(timeout(PATIENCE, joined).await.unwrap().unwrap().members.len(), 1);
    thread.stop();
}

#[tokio::test]
async fn who_waits_when_the_thread_stops_is_told() {
    let logs = FakeLogs::default();
    logs.change(PartitionId(0), |partition| partition.epoch = Some(LeaderEpoch(1)));
    let (handle, thread, _) = start(&logs);
    assert!(fetch(&handle, "g").await.is_empty());
    let (asked, mut answer) = oneshot::channel();
    let waiting = handle.clone();
    let task = tokio::spawn(async move {
        let joined = waiting.join("g", super::super::testing::request("c")).await;
        let _gone = asked.send(joined);
    });
    while handle.list().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(answer.try_recv().is_err());
    thread.stop();
    assert_eq!(answer.await.unwrap(), Err(GroupError::Unavailable(Unavailable::NotCoordinator)));
    task.await.unwrap();
}

#[tokio::test]
async fn what_a_panic_left_half_changed_is_loaded_anew() {
    let logs = FakeLogs::default();
    logs.change(PartitionId(0), |partition| partition.epoch = Some(LeaderEpoch(1)));
    let (handle, thread, _) = start(&logs);
    assert!(fetch(&handle, "g").await.is_empty());
    let commit = |number| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.commit_offsets("g", commit_of(vec![offset(0, number)])).await })
    };
    commit(4).await.unwrap().unwrap();
    logs.change(PartitionId(0), |partition| partition.panics = [true, true]);
    commit(5).await.unwrap_err();
    assert_eq!(fetch(&handle, "g").await, [5], "it is in the log, and was not replayed");
    commit(6).await.unwrap().unwrap();
    assert_eq!(fetch(&handle, "g").await, [6]);
    assert_eq!(logs.change(PartitionId(0), |partition| partition.panics), [false, false], "both have happened");
    thread.stop();
}

#[tokio::test]
async fn offsets_of_a_topic_that_is_deleted_while_they_are_loaded_are_gone() {
    let logs = FakeLogs::default();
    let image = Arc::new(ArcSwap::from_pointee(image()));
    let (handle, thread, _) = start_with(&logs, image.clone(), config());
    let go_on = begin_loading(&logs, &handle).await;
    let mut without = Image::clone(&image.load());
    without.topic_ids.remove("t");
    image.store(Arc::new(without));
    logs.metadata_seen().await;
    drop(go_on);
    while !fetch(&handle, "g").await.is_empty() {}
    thread.stop();
}

#[tokio::test]
async fn positions_are_told_up_to_a_number_of_them() {
    let logs = FakeLogs::default();
    logs.change(PartitionId(0), |partition| partition.epoch = Some(LeaderEpoch(1)));
    let (handle, thread, _) = start(&logs);
    assert!(fetch(&handle, "g").await.is_empty());
    for group in ["g", "h"] {
        let commit = commit_of((0..3).map(|partition| offset(partition, 7)).collect());
        assert!(handle.commit_offsets(group, commit).await.is_ok());
    }
    let all = handle.positions(10);
    assert_eq!((all.found.len(), all.left_out), (6, 0));
    assert!(all.found.iter().all(|position| position.topic == "t" && position.offset == Offset(7)));
    let some = handle.positions(4);
    assert_eq!((some.found.len(), some.left_out), (4, 2));
    thread.stop();
}
