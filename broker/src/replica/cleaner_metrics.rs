//! Metrics of the cleaner.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub(crate) struct CleanerMetrics {
    max_dirty_percent: AtomicU64,
    max_delay_s: AtomicU64,
    uncleanable_partitions: AtomicUsize,
    uncleanable_bytes: AtomicU64,
    looked_ms: AtomicU64,
    recopy_percent: AtomicU64,
    passes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// Values at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CleanerNumbers {
    pub(crate) max_dirty_percent: u64,
    pub(crate) max_delay_s: u64,
    pub(crate) uncleanable_partitions: usize,
    pub(crate) uncleanable_bytes: u64,
    pub(crate) since_look_ms: u64,
    pub(crate) recopy_percent: u64,
    pub(crate) passes: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

/// The result of a look at all compacted partitions.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Look {
    pub(super) max_dirty_ratio: f64,
    pub(super) max_delay_ms: i64,
    pub(super) uncleanable_partitions: usize,
    pub(super) uncleanable_bytes: u64,
}

impl CleanerMetrics {
    pub(super) fn looked(&self, look: &Look, monotonic_ms: u64) {
        self.max_dirty_percent.store(percent(look.max_dirty_ratio), Ordering::Relaxed);
        self.max_delay_s.store(u64::try_from(look.max_delay_ms / 1000).unwrap_or(0), Ordering::Relaxed);
        self.uncleanable_partitions.store(look.uncleanable_partitions, Ordering::Relaxed);
        self.uncleanable_bytes.store(look.uncleanable_bytes, Ordering::Relaxed);
        self.looked_ms.store(monotonic_ms, Ordering::Relaxed);
    }

    pub(super) fn used(&self, read: u64, written: u64) {
        self.bytes_read.fetch_add(read, Ordering::Relaxed);
        self.bytes_written.fetch_add(written, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
    pub(super) fn cleaned(&self, bytes_before: u64, bytes_after: u64) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.recopy_percent.store(percent(bytes_after as f64 / bytes_before.max(1) as f64), Ordering::Relaxed);
    }

    pub(crate) fn read(&self, monotonic_ms: u64) -> CleanerNumbers {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        CleanerNumbers {
            max_dirty_percent: of(&self.max_dirty_percent),
            max_delay_s: of(&self.max_delay_s),
            uncleanable_partitions: self.uncleanable_partitions.load(Ordering::Relaxed),
            uncleanable_bytes: of(&self.uncleanable_bytes),
            since_look_ms: monotonic_ms.saturating_sub(of(&self.looked_ms)),
            recopy_percent: of(&self.recopy_percent),
            passes: of(&self.passes),
            bytes_read: of(&self.bytes_read),
            bytes_written: of(&self.bytes_written),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is no large number")]
fn percent(ratio: f64) -> u64 {
    (ratio * 100.0) as u64
}
