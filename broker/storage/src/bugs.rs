//! Bugs that tests plant, those of this package or with the feature `planted-bugs` a simulation, each to prove that it
//! would be found. Otherwise none can be planted and the questions cost nothing.

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public only for the simulation"))]
pub enum Bug {
    /// The mark of a clean stop is there at the start after the next, too.
    CleanShutdownMarkKept,
    /// Of a producer's batches only the last is known again.
    LastBatchOnly,
    /// What recovery takes for synced is not.
    RecoveryPointBeforeSync,
    /// What is not committed supersedes what is.
    UncommittedCompacted,
    /// Of a producer's last batches nothing is left when their records are superseded.
    RememberedBatchCompacted,
    /// A compacted segment takes the place of others before it is on disk.
    CleanedNotSynced,
    /// A start does not finish the swap that a crash has interrupted.
    SwapNotFinished,
    /// Only what one pass has seen is superseded, not what was there before.
    OnlyNewSuperseded,
}

#[cfg(any(test, feature = "planted-bugs"))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// In this thread, until the next one takes its place.
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
