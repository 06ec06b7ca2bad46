//! How full the volume is. Checked periodically; in between, appended bytes are subtracted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use storage::Reserve;
use storage::directory::LogDirectory;
use tracing::{info, warn};

use crate::config::DiskReserves;

/// Free bytes that are not available to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpaceLimits {
    /// With less, producers are told to retry.
    pub(crate) soft: u64,
    /// With less, no partitions are created either.
    pub(crate) hard: u64,
    /// Size of the reserve file.
    pub(crate) file: u64,
}

impl SpaceLimits {
    /// As configured, or shares of a volume with this many bytes.
    pub(crate) fn of_volume(reserves: DiskReserves, total: u64) -> Self {
        let share = |percent: u64, bytes_max: u64| (total / 100 * percent).min(bytes_max);
        Self {
            soft: reserves.soft.unwrap_or_else(|| share(5, 1 << 30)),
            hard: reserves.hard.unwrap_or_else(|| share(2, 256 << 20)),
            file: reserves.file.unwrap_or_else(|| share(1, 16 << 20)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct DiskSpace {
    limits: SpaceLimits,
    reserve: Arc<Reserve>,
    total: AtomicU64,
    available: AtomicU64,
    was_low: AtomicBool,
    looking: Mutex<()>,
}

impl DiskSpace {
    pub(crate) fn new(limits: SpaceLimits, reserve: Arc<Reserve>, space: storage::DiskSpace) -> Self {
        let (total, available) = (AtomicU64::new(space.total_bytes), AtomicU64::new(space.usable_bytes));
        Self { limits, reserve, total, available, was_low: AtomicBool::new(false), looking: Mutex::new(()) }
    }

    pub(crate) fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn available_bytes(&self) -> u64 {
        self.available.load(Ordering::Relaxed)
    }

    /// Whether producers must retry later.
    pub(crate) fn is_low(&self) -> bool {
        self.available_bytes() < self.limits.soft
    }

    /// Whether no partition may be created.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.available_bytes() < self.limits.hard
    }

    pub(super) fn appended(&self, bytes: u64) {
        // If two subtract at once one of them may be lost: the next check corrects it.
        self.available.store(self.available_bytes().saturating_sub(bytes), Ordering::Relaxed);
    }

    /// A write found no space: that holds until the next check.
    pub(super) fn ran_out(&self) {
        self.available.store(0, Ordering::Relaxed);
    }

    /// Checks the volume. The reserve is taken again once there is more than enough for it.
    pub(crate) fn look(&self, directory: &LogDirectory) {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        match directory.space() {
            Ok(storage::DiskSpace { total_bytes: total, usable_bytes: available }) => {
                self.total.store(total, Ordering::Relaxed);
                self.available.store(available, Ordering::Relaxed);
            }
            Err(error) => return warn!(%error, "cannot read the free space of the volume"),
        }
        let is_low = self.is_low();
        if is_low != self.was_low.swap(is_low, Ordering::Relaxed) {
            let (available, soft) = (self.available_bytes(), self.limits.soft);
            if is_low {
                warn!(available, soft, "disk nearly full: producers are told to retry");
            } else {
                info!(available, soft, "disk has room again");
            }
        }
        let enough = self.limits.soft.saturating_add(self.reserve.bytes());
        if !self.reserve.is_held() && enough <= self.available_bytes() {
            match self.reserve.take() {
                Ok(()) => self.appended(self.reserve.bytes()),
                Err(error) => warn!(%error, "cannot hold disk space in reserve"),
            }
        }
    }
}
