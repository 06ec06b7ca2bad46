//! The replicas of a broker without its threads and sockets: a simulation of the cluster does step by step what the
//! loader, the fetchers, the flusher and the ISR requests do. Everything it calls is production code.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use protocol::batch::BatchHeader;
use protocol::config::Values;
use protocol::produce::CheckedBatch;
use protocol::records;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionId, TopicId};
use storage::directory::{ExpectedOwner, Formatting, LogDirectory};
use storage::faulty::FaultyDisk;
use storage::{
    CompactionError, Disk, FetchedBatches, FilePool, Located, Log, MetaProperties, OutOfRange, PoolLimits, ReadMode,
    Reserve, UpTo,
};

use super::access::{
    AccessError, FetchError, FetchPosition, FollowerRead, NewLogStart, ProduceError, RequiredAcks, ServedBy, Written,
};
use super::answers::follow_answer;
use super::cleaner::Stop;
use super::cleaning::Cleaning;
use super::follower_state::LeaderAnswer;
use super::following::{Answered, FetchPlan, Planned};
use super::group_logs::OffsetsLogs;
use super::leader_state::{FollowerFetch, IsrProposal, ProposalOutcome};
use super::loader::{Checkpoints, LoadProgress};
use super::manager::ReplicaManager;
use super::partition::{Partition, Role};
use super::space::DiskSpace;
use super::testing::{DATA, NO_LIMITS};
use crate::clock;
use crate::failure::Failures;
use crate::metadata::Image;

pub(crate) type Key = (TopicId, PartitionId);

/// A record with its offset and leader epoch.
pub(crate) type Entry = (Offset, LeaderEpoch, Record);

/// The content of a record, as numbers that identify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    pub(crate) key: Option<u64>,
    /// `None` is a tombstone.
    pub(crate) value: Option<u64>,
}

impl Record {
    pub(crate) fn of(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let number = |bytes: &[u8]| {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            hasher.finish()
        };
        Self { key: key.map(number), value: value.map(number) }
    }
}

/// What a consumer read, and its next offset.
#[derive(Debug, Clone)]
pub(crate) struct Portion {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next: Offset,
}

const FETCH_BYTES: u32 = 600;
const BACKOFF_MAX: Duration = Duration::from_millis(100);

/// A broker's replicas, for as long as its process lives.
#[derive(Debug)]
pub(crate) struct SimulatedReplicas {
    manager: Arc<ReplicaManager>,
    checkpoints: Checkpoints,
    /// The epoch left by a clean stop.
    pub(crate) previous_epoch: Option<BrokerEpoch>,
}

/// A follower's request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: Key,
    plan: FetchPlan,
    directory: DirectoryId,
}

/// The leader's answer to it.
#[derive(Debug, Clone)]
pub(crate) struct Told(Answered);

/// The positions of a replica at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) leads: Option<LeaderEpoch>,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) recovery_point: Offset,
}

/// Gives an empty disk the identity of a volume.
pub(crate) fn format(disk: &Arc<FaultyDisk>, properties: &MetaProperties) {
    let disk: Arc<dyn Disk> = disk.clone();
    Formatting::begin(&disk, Path::new(DATA)).unwrap().finish(properties).unwrap();
}

impl SimulatedReplicas {
    pub(crate) fn open(disk: &Arc<FaultyDisk>, id: BrokerId, values: Values) -> Self {
        let disk: Arc<dyn Disk> = disk.clone();
        let owner = ExpectedOwner { cluster_id: None, node_id: id };
        let directory = LogDirectory::open(&disk, Path::new(DATA), &owner).unwrap();
        let checkpoints = Checkpoints::read(&directory);
        let previous_epoch = directory.clean_shutdown().and_then(|clean| clean.broker_epoch);
        let reserve = Arc::new(Reserve::open(disk.clone(), directory.path(), NO_LIMITS.file));
        let space = DiskSpace::new(NO_LIMITS, reserve, directory.space().unwrap());
        let pool = FilePool::new(disk, PoolLimits::default());
        let manager = ReplicaManager::new(id, pool, Arc::new(directory), values, space, Failures::default());
        Self { manager: Arc::new(manager), checkpoints, previous_epoch }
    }

    /// `__consumer_offsets`, as its coordinators access it.
    pub(crate) fn group_logs(&self, image: Arc<ArcSwap<Image>>) -> Arc<OffsetsLogs> {
        Arc::new(OffsetsLogs::new(self.manager.clone(), image))
    }

    /// Removes what was set aside at once: its name does not follow from the seed.
    pub(crate) fn load(&self, image: &Image) {
        self.manager.load(image, &self.checkpoints, &LoadProgress::new()).unwrap();
        self.check_open();
        self.clear_away();
    }

    /// No crash may leave a log that cannot be opened.
    fn check_open(&self) {
        let offline = self.manager.offline();
        assert!(offline.is_empty(), "{offline:?}");
    }

    /// Follows the metadata from one image to the next.
    pub(crate) fn apply(&self, before: &Image, after: &Image) {
        let ids = before.topics.keys().chain(after.topics.keys().filter(|id| !before.topics.contains_key(*id)));
        let changed = |id: &&TopicId| before.topics.get(*id) != after.topics.get(*id);
        let mut topics: Vec<_> = ids.filter(changed).copied().collect();
        topics.sort_unstable();
        self.manager.follow(after, &topics);
        self.manager.published();
        self.check_open();
        self.clear_away();
    }

    /// The failure of the data directory; no disk here causes one.
    pub(crate) fn failure(&self) -> Option<String> {
        self.manager.shared.failures.first().map(|failure| failure.to_string())
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.manager.partitions.load().keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// `None`: there is no such replica here, or its log cannot be opened.
    pub(crate) fn positions(&self, key: Key) -> Option<Positions> {
        let partition = self.manager.partition(key.0, key.1)?;
        let state = partition.state().ok()?;
        Some(Positions {
            leads: if let Role::Leader(leader) = &state.role { Some(leader.epoch) } else { None },
            log_start: state.log.log_start(),
            log_end: state.log.log_end().offset,
            high_watermark: state.log.high_watermark().offset,
            recovery_point: state.log.recovery_point(),
        })
    }

    /// Everything in the log from the offset on.
    pub(crate) fn read_log(&self, key: Key, from: Offset) -> Vec<Entry> {
        let Some(partition) = self.manager.partition(key.0, key.1) else { return Vec::new() };
        let (mut entries, mut next) = (Vec::new(), from);
        loop {
            let located = partition.with_log(|log| log.locate(next, UpTo::LogEnd, u32::MAX >> 1)).unwrap().unwrap();
            let portion = decode(read(&located), next);
            if portion.next == next {
                return entries;
            }
            next = portion.next;
            entries.extend(portion.entries.into_iter().filter(|(offset, ..)| from <= *offset));
        }
    }

    pub(crate) fn produce(&self, key: Key, batch: &CheckedBatch) -> Result<Written, ProduceError> {
        self.leading(key)?.append_as_leader(batch, RequiredAcks::All, clock::wall())
    }

    /// `None`: not yet.
    pub(crate) fn settled(&self, key: Key, written: &Written) -> Option<Result<(), ProduceError>> {
        let settle = || -> Result<Option<()>, ProduceError> {
            let partition = self.leading(key)?;
            let recovery_point = partition.with_log(Log::recovery_point)?;
            let is_synced = written.sync_due.is_none_or(|end| end <= recovery_point);
            let Some(due) = written.commit_due else { return Ok(is_synced.then_some(())) };
            let (is_committed, isr) = partition.commit_state(due)?;
            if is_committed && is_synced { isr.map(Some) } else { Ok(None) }
        };
        settle().transpose()
    }

    pub(crate) fn poll(
        &self,
        key: Key,
        offset: Offset,
        leader_epoch: Option<LeaderEpoch>,
        served_by: ServedBy,
    ) -> Result<Portion, FetchError> {
        let position = FetchPosition { served_by, offset, leader_epoch, bytes_max: FETCH_BYTES };
        let readable = self.leading(key)?.locate(position)?;
        let mut portion = decode(read(&readable.located), offset);
        portion.entries.retain(|(at, ..)| offset <= *at);
        Ok(portion)
    }

    /// Runs the cleaner over a partition. `false`: there was nothing to do.
    pub(crate) fn compact(&self, key: Key) -> bool {
        let Some(partition) = self.manager.partition(key.0, key.1) else { return false };
        let (stop, now) = (Stop::default(), self.manager.age_now());
        match Cleaning::new(&self.manager, &stop).compact(&partition, now) {
            Ok(()) => true,
            Err(CompactionError::Stopped) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Deletes up to the offset, if this broker leads.
    pub(crate) fn delete_records(&self, key: Key, offset: Offset) {
        let Some(partition) = self.manager.partition(key.0, key.1) else { return };
        if let Ok((_, Some(deletion))) = partition.delete_records(NewLogStart::At(offset), clock::wall()) {
            deletion.run().unwrap();
        }
    }

    /// The fetches that this broker would send now, with their leaders.
    pub(crate) fn plan_fetches(&self) -> Vec<(BrokerId, Asked)> {
        let (now, directory) = (clock::monotonic(), self.manager.directory_id);
        let followed = &self.manager.shared.followed;
        let by_leader = followed.leaders().into_iter().map(|leader| (leader, followed.of(leader)));
        let plan = |leader: BrokerId, partition: &Arc<Partition>| match partition.plan_fetch(leader, now) {
            Planned::Fetch(plan) => Some((leader, Asked { key: key_of(partition), plan, directory })),
            Planned::Later(_) | Planned::NotNow => None,
        };
        by_leader.flat_map(|(leader, all)| all.into_iter().filter_map(move |one| plan(leader, &one))).collect()
    }

    /// The leader's answer, and whether it would be sent at once.
    pub(crate) fn answer(&self, asked: &Asked, (broker, broker_epoch): (BrokerId, BrokerEpoch)) -> (Told, bool) {
        let Asked { key, plan, directory } = asked;
        let (offset, log_start, directory) = (plan.offset, plan.log_start, Some(*directory));
        let fetch = FollowerFetch { broker, broker_epoch, directory, offset, log_start };
        let leader_epoch = Some(plan.epoch);
        let position = FetchPosition { served_by: ServedBy::Leader, offset, leader_epoch, bytes_max: FETCH_BYTES };
        let read_by = |partition: Arc<Partition>| partition.fetch_as_follower(&fetch, position, plan.last_epoch);
        let without = |answer| (Told(Answered::without_records(answer)), true);
        match self.leading(*key).map_err(FetchError::from).and_then(read_by) {
            Ok(FollowerRead::Readable(readable)) => {
                let (high_watermark, log_start) = (readable.high_watermark, readable.log_start);
                let records = read(&readable.located);
                let is_news = !records.is_empty() || plan.high_watermark < high_watermark;
                (Told(Answered { answer: LeaderAnswer::Agreed, records, high_watermark, log_start }), is_news)
            }
            Ok(FollowerRead::Diverging(epoch, end)) => without(LeaderAnswer::Diverged { epoch, end }),
            Err(FetchError::OutOfRange(OutOfRange { log_start, .. })) => {
                without(LeaderAnswer::OutOfRange { leader_start: log_start })
            }
            Err(FetchError::Access(AccessError::FencedLeaderEpoch { .. })) => without(LeaderAnswer::Fenced),
            Err(_) => without(LeaderAnswer::Failed),
        }
    }

    pub(crate) fn follow(&self, asked: &Asked, Told(answered): Told) {
        if let Some(partition) = self.manager.partition(asked.key.0, asked.key.1) {
            follow_answer(&self.manager, &partition, &asked.plan, answered, BACKOFF_MAX);
        }
    }

    /// Checks which followers are late.
    pub(crate) fn review(&self) {
        for partition in self.keys().into_iter().filter_map(|key| self.manager.partition(key.0, key.1)) {
            if partition.leads() {
                partition.review_followers();
            }
        }
    }

    /// Proposals of leaders here since the last call.
    pub(crate) fn take_proposals(&self) -> Vec<(Key, IsrProposal)> {
        let taken = self.manager.shared.proposals.take_now().into_iter();
        let mut proposals: Vec<_> = taken.map(|(partition, proposal)| (key_of(&partition), proposal)).collect();
        proposals.sort_by_key(|(key, _)| *key);
        proposals
    }

    pub(crate) fn still_proposes(&self, key: Key, proposal: &IsrProposal) -> bool {
        self.manager.partition(key.0, key.1).is_some_and(|partition| partition.still_proposes(proposal))
    }

    pub(crate) fn resolve(&self, key: Key, proposal: &IsrProposal, outcome: ProposalOutcome) {
        if let Some(partition) = self.manager.partition(key.0, key.1) {
            partition.resolve(proposal, outcome);
        }
    }

    pub(crate) fn flush(&self, key: Key) {
        if let Some(partition) = self.manager.partition(key.0, key.1) {
            partition.flush().unwrap();
        }
    }

    pub(crate) fn write_checkpoints(&self) {
        self.manager.write_checkpoints().unwrap();
    }

    /// A clean stop, with its marker file.
    pub(crate) fn close(&self, epoch: BrokerEpoch) {
        for partition in self.keys().into_iter().filter_map(|key| self.manager.partition(key.0, key.1)) {
            partition.with_log_mut(|log| log.close_clean(clock::wall())).unwrap().unwrap();
        }
        self.manager.write_checkpoints().unwrap();
        self.manager.directory.write_clean_shutdown(epoch).unwrap();
    }

    fn leading(&self, key: Key) -> Result<Arc<Partition>, AccessError> {
        let name = || protocol::types::TopicPartition { topic: key.0.to_string(), partition: key.1 };
        self.manager.partition(key.0, key.1).ok_or_else(|| AccessError::NotLeader(name()))
    }

    /// Removes the directories of partitions that are no longer here.
    fn clear_away(&self) {
        self.manager.directory.sync().unwrap();
        for (name, path) in self.manager.directory.partitions().unwrap() {
            if name.state != storage::DirectoryState::Live {
                self.manager.directory.remove(&path).unwrap();
            }
        }
    }
}

impl Drop for SimulatedReplicas {
    /// Breaks the reference cycle between partitions and what they share.
    fn drop(&mut self) {
        let shared = &self.manager.shared;
        for partition in self.manager.all() {
            shared.followed.set(&partition, None);
        }
        shared.proposals.take_now();
        shared.flushes.take_dirty();
        shared.flushes.stop();
        while shared.flushes.next_urgent().is_some() {}
    }
}

fn key_of(partition: &Partition) -> Key {
    (partition.topic_id, partition.name.partition)
}

fn read(located: &Located) -> Bytes {
    let slice = located.resolve(ReadMode::Blocking, true).unwrap();
    slice.map(|slice| slice.read().unwrap().into()).unwrap_or_default()
}

pub(crate) fn first_record(batch: &CheckedBatch) -> Record {
    decode(batch.bytes.clone(), Offset(0)).entries[0].2
}

/// The records from an offset on.
fn decode(bytes: Bytes, from: Offset) -> Portion {
    let batches = FetchedBatches::check_compacted(bytes).unwrap();
    let mut entries = Vec::new();
    for (header, batch) in batches.batches() {
        for record in &records::walk(&batch, 0).unwrap() {
            let record = record.unwrap();
            let offset = header.base_offset.advance(record.offset_delta.into());
            entries.push((offset, header.leader_epoch, Record::of(record.key, record.value)));
        }
    }
    Portion { entries, next: batches.headers().last().map_or(from, BatchHeader::next_offset) }
}
