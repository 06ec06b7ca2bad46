//! Bugs that simulations plant, each to prove that it would be found. Outside of tests none can be planted, and the
//! check costs nothing.

/// A safety rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A leader commits without the replicas that it has just proposed for the ISR.
    NoMaximalIsr,
    /// A new leader assumes that its followers still have what they had under the last leader.
    FormerLeadershipCounts,
    /// The high watermark moves with fewer than `min.insync.replicas` in sync.
    CommitBelowMinIsr,
    /// Followers join the ISR before they have all that is committed.
    JoinBelowHighWatermark,
    /// A replica counts as in sync whichever process of its broker it belongs to (against KIP-903).
    NoBrokerEpochInAlterPartition,
    /// A broker whose process crashed stays in the ELR.
    UncleanBrokerStaysInElr,
    /// The ELR is not cleared when enough replicas are in sync again.
    ElrNotCleared,
    /// Another volume under the same broker id counts as the one that it replaces (against KIP-858).
    OtherVolumeIsTheSame,
    /// A follower truncates to its high watermark, not to where the logs diverge (against KIP-101).
    TruncationToHighWatermark,
    /// A follower acknowledges records that must be on disk before they are.
    AcknowledgementBeforeSync,
    /// Loading of groups stops at a gap that compaction has left.
    LoadEndsAtGap,
    /// Records age by the wall clock, however it is set.
    AgesByWallClock,
    /// Node addresses are resolved only once.
    NamesResolvedOnce,
    /// The partitions of a new topic are created before those of the deleted topic of the same name are gone.
    CreationBeforeDeletion,
    /// A follower truncates below the offset that its compaction has relied on.
    CutIntoCompacted,
    /// A coordinator answers as soon as it has appended.
    AnswerBeforeCommit,
    /// A coordinator treats everything that it has loaded as committed.
    LoadedTakenForCommitted,
    /// A coordinator loads up to the high watermark it knows, not up to the log end that it leads with.
    LoadedToHighWatermark,
    /// SyncGroup of an earlier generation gets the assignment of this one.
    SyncOfEarlierGeneration,
    GenerationNotCounted,
    /// Two members may join a group under the same static member id (`group.instance.id`).
    ReplacedMemberNotFenced,
    SilenceUnnoticed,
    /// A coordinator's timers never fire: it acts on requests only.
    NoAlarm,
    DepartureUnnoticed,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants the bug in this thread, until the next call replaces it.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
