//! Offsets of the group: committed, deleted, expired.

use std::collections::BTreeSet;

use protocol::coordinator_records::{CommittedOffset, CoordinatorRecord};
use protocol::types::{PartitionId, Timestamp};

use super::super::answer::Decision;
use super::super::config::GroupConfig;
use super::super::error::GroupError;
use super::super::request::{CommitRequest, Moment, OffsetToCommit, Results};
use super::{Group, Phase};

impl Group {
    /// The records, and the result for each offset.
    pub(in super::super) fn commit(
        &mut self,
        request: CommitRequest,
        config: &GroupConfig,
        now: Moment,
    ) -> Decision<Results> {
        self.check_commit(&request)?;
        // A member that commits is alive.
        if matches!(self.phase, Phase::Preparing { .. } | Phase::Stable) {
            self.begin_session(&request.member.id, None, now);
        }
        let expire_timestamp = request.retention.map(|retention| later(now.wall, retention));
        let (mut records, mut results) = (Vec::with_capacity(request.offsets.len()), Vec::new());
        for offset in request.offsets {
            let (bytes, bytes_max) = (offset.metadata.len(), config.offset_metadata_bytes_max);
            if bytes_max < bytes {
                results.push(Err(GroupError::MetadataTooLarge { bytes, bytes_max }));
                continue;
            }
            results.push(Ok(()));
            records.push(self.offset_record(offset, now.wall, expire_timestamp));
        }
        Ok((records, results))
    }

    /// A consumer that assigns its partitions itself may commit as long as the group has no members.
    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        let is_outsider = request.generation.0 < 0;
        if is_outsider && matches!(self.phase, Phase::Empty) {
            return Ok(());
        }
        if is_outsider && request.member.id.is_none() && request.member.instance.is_none() {
            return Err(GroupError::UnknownMember(request.member.id.clone()));
        }
        self.check_exists()?;
        self.check_member(&request.member)?;
        self.check_generation(request.generation)?;
        // It knows this generation, but not its assignment yet.
        if matches!(self.phase, Phase::Completing) { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }

    fn offset_record(
        &self,
        offset: OffsetToCommit,
        now: Timestamp,
        expire_timestamp: Option<Timestamp>,
    ) -> CoordinatorRecord {
        let value = CommittedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            commit_timestamp: now,
            expire_timestamp,
            topic_id: offset.topic_id,
        };
        CoordinatorRecord::OffsetCommit {
            group: self.id.to_string(),
            topic: offset.topic,
            partition: offset.partition,
            value: Some(value),
        }
    }

    /// Offsets of topics that its members subscribe to are not deleted.
    pub(in super::super) fn delete_offsets(&self, wanted: &[(String, PartitionId)]) -> Decision<Results> {
        self.check_exists()?;
        let has_members = !matches!(self.phase, Phase::Empty);
        let subscriptions = if has_members { self.subscriptions() } else { Some(BTreeSet::new()) };
        if has_members && self.protocol_type() != super::CONSUMER {
            return Err(GroupError::NotEmpty);
        }
        let is_subscribed = |topic: &String| subscriptions.as_ref().is_none_or(|topics| topics.contains(topic));
        // Each once, however often it is named.
        let mut found = BTreeSet::new();
        let results = wanted.iter().map(|(topic, partition)| {
            if is_subscribed(topic) {
                return Err(GroupError::Subscribed(topic.clone()));
            }
            found.extend(self.offsets.get(topic, *partition).map(|_| (topic, *partition)));
            Ok(())
        });
        let results = results.collect();
        let records = found.into_iter().map(|(topic, partition)| deletion(&self.id.0, topic, partition)).collect();
        Ok((records, results))
    }

    /// The records that delete expired offsets. Offsets of topics that members subscribe to are kept; others for the
    /// retention time since the group became empty or, if it has members or never had any, since they were committed.
    pub(in super::super) fn expire(&self, config: &GroupConfig, now: Timestamp) -> Vec<CoordinatorRecord> {
        let is_empty = matches!(self.phase, Phase::Empty);
        let kept_since = match &self.protocol_type {
            Some(_) if is_empty => self.phase_began,
            Some(_) if !matches!(self.phase, Phase::Stable) => return Vec::new(),
            _ => None,
        };
        let subscriptions = match (is_empty, self.subscriptions()) {
            (true, _) => BTreeSet::new(),
            (false, Some(topics)) => topics,
            (false, None) => return Vec::new(),
        };
        let is_over = |topic: &str, offset: &CommittedOffset| {
            let retained = later(kept_since.unwrap_or(offset.commit_timestamp), config.offsets_retention);
            let until = offset.expire_timestamp.unwrap_or(retained);
            until <= now && !subscriptions.contains(topic)
        };
        let mut records = self.offsets.deletions(&self.id, is_over);
        if is_empty && self.is_recorded && records.len() == self.offsets.len() && self.pending.is_empty() {
            records.push(CoordinatorRecord::GroupMetadata { group: self.id.to_string(), value: None });
        }
        records
    }
}

pub(in super::super) fn deletion(group: &str, topic: &str, partition: PartitionId) -> CoordinatorRecord {
    CoordinatorRecord::OffsetCommit { group: group.to_owned(), topic: topic.to_owned(), partition, value: None }
}

fn later(time: Timestamp, duration: std::time::Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
}
