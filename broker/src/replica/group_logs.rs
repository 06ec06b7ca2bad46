//! `__consumer_offsets`, as the coordinators access it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::produce::CheckedBatch;
use protocol::types::{Offset, Timestamp};
use storage::{Log, ReadMode, ResolveError, UpTo};

use super::access::{AccessError, ProduceError};
use super::manager::ReplicaManager;
use super::partition::Partition;
use super::waiters::Waiter;
use crate::coordinator::{GroupLogs, LogError, LogRead, Notice, OFFSETS_TOPIC, Term};
use crate::metadata::Image;

#[derive(Debug)]
pub(crate) struct OffsetsLogs {
    replicas: Arc<ReplicaManager>,
    image: Arc<ArcSwap<Image>>,
    metadata_waiter: Arc<Waiter>,
    commit_waiter: Arc<Waiter>,
}

impl OffsetsLogs {
    pub(crate) fn new(replicas: Arc<ReplicaManager>, image: Arc<ArcSwap<Image>>) -> Self {
        Self { replicas, image, metadata_waiter: Arc::default(), commit_waiter: Arc::default() }
    }

    fn partition(&self, term: Term) -> Result<Arc<Partition>, LogError> {
        self.replicas.partition(term.topic_id, term.partition).ok_or(LogError::NotLeader)
    }

    fn with_log<T>(&self, term: Term, read: impl FnOnce(&Log) -> T) -> Result<T, LogError> {
        let partition = self.partition(term)?;
        Ok(partition.with_leading_log(Some(term.epoch), |log, _| read(log))?)
    }
}

impl GroupLogs for OffsetsLogs {
    fn led(&self) -> Vec<Term> {
        let image = self.image.load();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else { return Vec::new() };
        let led = topic.partitions().filter_map(|(partition, _)| {
            let hosted = self.replicas.partition(topic.id, partition)?;
            let epoch = hosted.with_leading_log(None, |_, epoch| epoch).ok()?;
            Some(Term { topic_id: topic.id, partition, epoch })
        });
        led.collect()
    }

    fn append(&self, term: Term, batch: &CheckedBatch, now: Timestamp) -> Result<Offset, LogError> {
        let written = self.partition(term)?.append_in_epoch(batch, term.epoch, now)?;
        Ok(written.appended.base_offset.advance(batch.header.records_count.into()))
    }

    fn age_now(&self) -> Timestamp {
        self.replicas.age_now()
    }

    fn batch_bytes_max(&self, term: Term) -> Result<usize, LogError> {
        Ok(self.partition(term)?.settings().rules.message_bytes_max)
    }

    fn high_watermark(&self, term: Term) -> Result<Offset, LogError> {
        self.with_log(term, |log| log.high_watermark().offset)
    }

    fn range(&self, term: Term) -> Result<(Offset, Offset), LogError> {
        self.with_log(term, |log| (log.log_start(), log.log_end().offset))
    }

    fn read(&self, term: Term, from: Offset, bytes_max: u32) -> Result<LogRead, LogError> {
        let located = self.with_log(term, |log| log.locate(from, UpTo::LogEnd, bytes_max))?;
        let located = located.map_err(|error| LogError::Storage(error.to_string()))?;
        let slice = match located.resolve(ReadMode::Blocking, true) {
            Ok(Some(slice)) => slice,
            Ok(None) => return Ok(LogRead::Broken("the log has no batch up to its end".to_owned())),
            Err(ResolveError::Gap { next }) => return Ok(LogRead::Gap(next)),
            Err(error @ ResolveError::Corrupt { .. }) => return Ok(LogRead::Broken(error.to_string())),
            Err(error) => return Err(LogError::Storage(error.to_string())),
        };
        let bytes = slice.read().map_err(|error| LogError::Storage(error.to_string()))?;
        Ok(LogRead::Batches(bytes.into()))
    }

    fn watch_metadata(&self) {
        self.replicas.metadata_waiters.register(&self.metadata_waiter);
    }

    fn metadata_changed(&self) -> Notice<'_> {
        Box::pin(self.metadata_waiter.woken())
    }

    fn watch_commits(&self, term: Term) {
        if let Ok(partition) = self.partition(term) {
            partition.register(&self.commit_waiter);
        }
    }

    fn committed(&self) -> Notice<'_> {
        Box::pin(self.commit_waiter.woken())
    }
}

impl From<AccessError> for LogError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NotLeader(_)
            | AccessError::FencedLeaderEpoch { .. }
            | AccessError::UnknownLeaderEpoch { .. }
            | AccessError::Deleted(_) => Self::NotLeader,
            AccessError::Offline(_) => Self::Storage(error.to_string()),
        }
    }
}

impl From<ProduceError> for LogError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Access(error) => error.into(),
            ProduceError::NotEnoughReplicas { .. } => Self::NotEnoughReplicas,
            ProduceError::DiskFull { .. }
            | ProduceError::NotEnoughReplicasAfterAppend { .. }
            | ProduceError::NotCommittedInTime
            | ProduceError::NotSyncedInTime
            | ProduceError::Append(_) => Self::Storage(error.to_string()),
        }
    }
}
