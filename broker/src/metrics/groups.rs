//! Counters of the group coordinators.

use std::sync::atomic::AtomicU64;

use super::{LatencyHistogram, add, get};

#[derive(Debug, Default)]
pub(crate) struct GroupMetrics {
    rebalances: AtomicU64,
    offset_commits: AtomicU64,
    offset_deletions: AtomicU64,
    records_skipped: AtomicU64,
    pub(crate) load_time: LatencyHistogram,
}

/// Values at a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GroupNumbers {
    pub(crate) rebalances: u64,
    pub(crate) offset_commits: u64,
    pub(crate) offset_deletions: u64,
    pub(crate) records_skipped: u64,
}

impl GroupMetrics {
    pub(crate) fn rebalanced(&self, generations: u64) {
        add(&self.rebalances, generations);
    }

    pub(crate) fn offset_committed(&self) {
        add(&self.offset_commits, 1);
    }

    pub(crate) fn offset_deleted(&self) {
        add(&self.offset_deletions, 1);
    }

    pub(crate) fn record_skipped(&self) {
        add(&self.records_skipped, 1);
    }

    pub(crate) fn read(&self) -> GroupNumbers {
        GroupNumbers {
            rebalances: get(&self.rebalances),
            offset_commits: get(&self.offset_commits),
            offset_deletions: get(&self.offset_deletions),
            records_skipped: get(&self.records_skipped),
        }
    }
}
