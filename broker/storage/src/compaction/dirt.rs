//! What there is to compact in a log.

use std::sync::Arc;

use protocol::types::{Offset, Timestamp};

use super::{Compaction, CompactionRules};
use crate::bugs::{self, Bug};
use crate::closed_segment::ClosedSegment;
use crate::log::Log;

/// How much of a log there is to compact.
#[derive(Debug)]
pub struct Dirt {
    clean_bytes: u64,
    dirty_bytes: u64,
    oldest: Option<Arc<ClosedSegment>>,
}

impl Dirt {
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes
    }

    /// The share of new bytes in what a pass would read.
    #[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
    pub fn ratio(&self) -> f64 {
        let all = self.clean_bytes.saturating_add(self.dirty_bytes);
        if all == 0 { 0.0 } else { self.dirty_bytes as f64 / all as f64 }
    }

    /// By how much `max.compaction.lag.ms` is exceeded for the oldest of it. May wait for the disk.
    pub fn overdue_ms(&self, rules: &CompactionRules, now: Timestamp) -> i64 {
        let Some(began) = self.oldest.as_ref().and_then(|segment| segment.began()) else { return 0 };
        now.0.saturating_sub(began.0).saturating_sub(rules.lag_ms_max).max(0)
    }
}

impl Log {
    /// Everything before it has been compacted.
    pub fn first_dirty(&self) -> Offset {
        self.first_dirty.max(self.start_offset).min(self.end_offset)
    }

    /// Compaction has removed records before this offset only because of later records before this offset. It moves
    /// before a pass replaces its first segment, [`Self::first_dirty`] after the last. If the log ends before it, a
    /// crash has interrupted a [`Self::restart_at`].
    pub fn compacted_end(&self) -> Offset {
        self.compacted_end
    }

    pub fn dirt(&self, rules: &CompactionRules, now: Timestamp) -> Dirt {
        let first_dirty = self.first_dirty();
        let cleanable = self.closed.get(..self.cleanable_count(rules, now)).unwrap_or_default();
        let (clean, dirty) = cleanable.split_at(cleanable.partition_point(|segment| segment.end <= first_dirty));
        let bytes =
            |segments: &[Arc<ClosedSegment>]| segments.iter().map(|segment| segment.size).fold(0, u64::saturating_add);
        Dirt { clean_bytes: bytes(clean), dirty_bytes: bytes(dirty), oldest: dirty.first().cloned() }
    }

    /// `None`: there is nothing that may be compacted.
    pub fn start_compaction(&self, rules: &CompactionRules, now: Timestamp) -> Option<Compaction> {
        let first_dirty = self.first_dirty();
        let segments = self.closed.get(..self.cleanable_count(rules, now))?;
        segments.last().filter(|last| first_dirty < last.end && !self.is_offline())?;
        Some(Compaction {
            pool: self.pool.clone(),
            directory: self.directory.clone(),
            abandoned: self.abandoned.clone(),
            config: self.config.clone(),
            rules: *rules,
            now,
            first_dirty,
            segments: segments.to_vec(),
            remembered_from: self.producers.remembered_from(),
        })
    }

    /// How many closed segments are committed, on disk, without an open transaction, and old enough.
    fn cleanable_count(&self, rules: &CompactionRules, now: Timestamp) -> usize {
        let stable = self.producers.first_open_offset().unwrap_or(self.end_offset);
        let committed = if bugs::is_planted(Bug::UncommittedCompacted) { stable } else { self.high_watermark.offset };
        let end = committed.min(self.recovery_point()).min(stable);
        let first_dirty = self.first_dirty();
        let is_young = |segment: &ClosedSegment| {
            0 < rules.lag_ms_min
                && first_dirty < segment.end
                && now.0.saturating_sub(rules.lag_ms_min) < segment.modified().unwrap_or(now).0
        };
        self.closed.iter().take_while(|segment| segment.end <= end && !is_young(segment)).count()
    }
}
