//! Bugs that tests of this package plant, or with the feature `planted-bugs` a simulation, each to prove that it
//! would be found. Otherwise none can be planted and the checks cost nothing.

/// A safety rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public only for the simulation"))]
pub enum Bug {
    /// The clean-shutdown file is still there at the start after the next.
    CleanShutdownMarkKept,
    /// Only the last batch of a producer is recognised as a retry.
    LastBatchOnly,
    /// The recovery point advances before the sync.
    RecoveryPointBeforeSync,
    /// Uncommitted records supersede committed ones.
    UncommittedCompacted,
    /// A producer's remembered batches are dropped when their records are superseded.
    RememberedBatchCompacted,
    /// A compacted segment replaces others before it is on disk.
    CleanedNotSynced,
    /// A start does not finish a swap that a crash interrupted.
    SwapNotFinished,
    /// Only records that one pass has seen are superseded, not earlier ones.
    OnlyNewSuperseded,
}

#[cfg(any(test, feature = "planted-bugs"))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants the bug in this thread, until the next call replaces it.
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public only for the simulation"))]
#[cfg(any(test, feature = "planted-bugs"))]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(any(test, feature = "planted-bugs"))]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(any(test, feature = "planted-bugs")))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
