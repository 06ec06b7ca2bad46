//! Bugs that a simulation plants, each to prove that it would be found. Without the feature `planted-bugs` none can be
//! planted and the questions cost nothing.

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
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// In this thread, until the next one takes its place.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
