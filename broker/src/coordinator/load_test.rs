use std::sync::Arc;

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::coordinator_records::CommittedOffset;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, PartitionId, Timestamp, TopicId};

use super::super::log::Notice;
use super::super::testing::{Bench, config};
use super::*;
use crate::bugs::{self, Bug};

const TERM: Term =
    Term { topic_id: TopicId(uuid::Uuid::from_u128(5)), partition: PartitionId(0), epoch: LeaderEpoch(0) };

/// A log of 12 records of which compaction has left one record each at 3 and at 8.
#[derive(Debug)]
struct Compacted;

impl GroupLogs for Compacted {
    fn led(&self) -> Vec<Term> {
        vec![TERM]
    }

    fn append(&self, _: Term, _: &CheckedBatch, _: Timestamp) -> Result<Offset, LogError> {
        Err(LogError::NotLeader)
    }

    fn batch_bytes_max(&self, _: Term) -> Result<usize, LogError> {
        Ok(0)
    }

    fn high_watermark(&self, _: Term) -> Result<Offset, LogError> {
        Ok(Offset(12))
    }

    fn range(&self, _: Term) -> Result<(Offset, Offset), LogError> {
        Ok((Offset(0), Offset(12)))
    }

    fn read(&self, _: Term, from: Offset, _: u32) -> Result<LogRead, LogError> {
        Ok(match from.0 {
            3 | 8 => LogRead::Batches(committed_at(from.0)),
            0..3 => LogRead::Gap(Offset(3)),
            4..8 => LogRead::Gap(Offset(8)),
            _ => LogRead::Gap(Offset(12)),
        })
    }

    fn age_now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn watch_metadata(&self) {}

    fn metadata_changed(&self) -> Notice<'_> {
        Box::pin(std::future::pending())
    }

    fn watch_commits(&self, _: Term) {}

    fn committed(&self) -> Notice<'_> {
        Box::pin(std::future::pending())
    }
}

/// A batch of one record: the group `group-<at>` has committed the offset of the batch.
fn committed_at(at: i64) -> Bytes {
    let value = CommittedOffset {
        offset: Offset(at),
        leader_epoch: None,
        metadata: String::new(),
        commit_timestamp: Timestamp(1_000_000),
        expire_timestamp: None,
        topic_id: TopicId::default(),
    };
    let (group, topic, partition) = (format!("group-{at}"), "t".to_owned(), PartitionId(0));
    let record = CoordinatorRecord::OffsetCommit { group, topic, partition, value: Some(value) };
    let (key, value) = record.encode().unwrap();
    let mut builder = BatchBuilder::new(Timestamp(1));
    builder.push(Some(&key), value.as_deref());
    let mut bytes = builder.build().unwrap().bytes.to_vec();
    bytes[..8].copy_from_slice(&at.to_be_bytes());
    bytes.into()
}

/// The offsets loaded for both groups.
fn loaded() -> (Offset, [Option<i64>; 2]) {
    let mut bench = Bench::new(config());
    let metrics = Arc::new(GroupMetrics::default());
    let end = load(&Compacted, TERM, &mut bench.shard, &metrics).unwrap();
    (end, ["group-3", "group-8"].map(|group| bench.offset(group, 0)))
}

#[test]
fn what_compaction_has_left_is_loaded_up_to_the_end() {
    assert_eq!(loaded(), (Offset(12), [Some(3), Some(8)]));
    bugs::plant(Some(Bug::LoadEndsAtGap));
    let found = loaded() != (Offset(12), [Some(3), Some(8)]);
    bugs::plant(None);
    assert!(found);
}
