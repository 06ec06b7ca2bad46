//! Which records of a batch stay when a log is compacted:
//!
//! - those at or beyond the end of the key map, about which nothing is known yet
//! - before that the last record of each key; records without a key never
//! - of these, tombstones only for a time: the first pass that keeps one marks its batch with a delete horizon, and a
//!   pass after that drops it (KIP-534). So a consumer that reads the whole log within that time sees the deletion.
//!   The horizon is no earlier than if the deletion had been marked when it was written, however late the clock is.
//!
//! A transaction's records may have been aborted. They are not in the map, so they are dropped only if a record
//! outside of any transaction follows with the same key; tombstones stay until then. End markers always stay.
//!
//! An empty batch is dropped unless its header is still needed: it may be one of its producer's remembered ones,
//! which a follower that reads the log later must know like the leader, or the last of the segment, which must end
//! where the next one begins.

use std::collections::HashMap;

use protocol::batch::BatchHeader;
use protocol::produce::CheckedBatch;
use protocol::records::{Records, rewrite, without_records};
use protocol::types::{Offset, ProducerId, Timestamp};

use super::key_map::KeyMap;
use super::last_offsets::LastOffsets;
use crate::bugs::{self, Bug};
use crate::scanner::BatchDefect;

#[derive(Debug)]
pub(super) struct RecordFilter<'a> {
    pub(super) map: &'a KeyMap,
    pub(super) lasts: LastOffsets,
    /// End of the oldest remembered batch of each producer.
    pub(super) remembered_from: &'a HashMap<ProducerId, Offset>,
    /// `delete.retention.ms`
    pub(super) delete_retention_ms: i64,
    pub(super) now: Timestamp,
}

/// The outcome for a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    Unchanged,
    /// With fewer records, or none at all.
    Changed(CheckedBatch),
    Gone,
}

impl RecordFilter<'_> {
    /// `is_last`: the last batch of the segment that is written.
    pub(super) fn apply(&self, records: &Records<'_>, is_last: bool) -> Result<Outcome, BatchDefect> {
        let header = records.header();
        if header.attributes.is_control() {
            return Ok(Outcome::Unchanged);
        }
        let is_certain = !header.attributes.is_transactional();
        let mut kept = Vec::new();
        let mut marks_deletion = false;
        let mut count: usize = 0;
        for record in records {
            let record = record.map_err(|_| BatchDefect::Records)?;
            count = count.saturating_add(1);
            let offset = header.base_offset.advance(record.offset_delta.into());
            if self.keeps(header, offset, record.key, record.value) {
                marks_deletion |= is_certain && record.value.is_none() && offset < self.map.end;
                kept.push(record);
            }
        }
        if kept.is_empty() {
            let is_needed = is_last || self.is_remembered(header);
            return Ok(match (is_needed, count) {
                (false, _) => Outcome::Gone,
                (true, 0) => Outcome::Unchanged,
                (true, _) => Outcome::Changed(without_records(header).map_err(|_| BatchDefect::Records)?),
            });
        }
        let horizon = (marks_deletion && header.delete_horizon().is_none())
            .then(|| Timestamp(self.now.max(header.max_timestamp).0.saturating_add(self.delete_retention_ms)));
        if kept.len() == count && horizon.is_none() {
            return Ok(Outcome::Unchanged);
        }
        rewrite(header, &kept, horizon).map(Outcome::Changed).map_err(|_| BatchDefect::Records)
    }

    fn keeps(&self, header: &BatchHeader, offset: Offset, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        if self.map.end <= offset {
            return true;
        }
        let Some(key) = key else { return false };
        let is_certain = !header.attributes.is_transactional();
        let known = if is_certain { self.lasts.contains(offset) } else { None };
        if known.is_none() && bugs::is_planted(Bug::OnlyNewSuperseded) {
            return true;
        }
        let is_last = known.unwrap_or_else(|| self.map.offsets.get(key).is_none_or(|last| last <= offset));
        let is_expired = || is_certain && header.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        is_last && (value.is_some() || !is_expired())
    }

    fn is_remembered(&self, header: &BatchHeader) -> bool {
        let oldest = self.remembered_from.get(&header.producer_id);
        oldest.is_some_and(|oldest| *oldest <= header.last_offset()) && !bugs::is_planted(Bug::RememberedBatchCompacted)
    }
}
