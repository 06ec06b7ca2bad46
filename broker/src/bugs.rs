//! Bugs that simulations plant, each to prove that it would be found. Where nothing is tested none can be planted, and
//! the question costs nothing.

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A leader commits without those whom it has just proposed for the ISR.
    NoMaximalIsr,
    /// A new leader takes it that its followers have what they had under the last one.
    FormerLeadershipCounts,
    /// The high watermark moves with fewer than `min.insync.replicas` in sync.
    CommitBelowMinIsr,
    /// Followers join the ISR before they have all that is committed.
    JoinBelowHighWatermark,
    /// Who was in sync counts, whichever of its processes it is now (KIP-903).
    NoBrokerEpochInAlterPartition,
    /// Whose process broke off keeps its place among those that may lead.
    UncleanBrokerStaysInElr,
    /// With enough in sync again, those eligible before stay so.
    ElrNotCleared,
    /// Another volume under an old number counts as the one that it replaces (KIP-858).
    OtherVolumeIsTheSame,
    /// A follower goes back to its high watermark, not to where the logs part (KIP-101).
    TruncationToHighWatermark,
    /// A follower acknowledges what is to be on disk before it is.
    AcknowledgementBeforeSync,
    /// Groups are loaded up to where compaction has left a gap.
    LoadEndsAtGap,
    /// Records grow old by the wall clock, however it is set.
    AgesByWallClock,
    /// Nodes are looked for where they were at first.
    NamesResolvedOnce,
    /// The partitions of a new topic are made before those of the topic that had its name are gone.
    CreationBeforeDeletion,
    /// A follower goes back to before what its compaction has relied on.
    CutIntoCompacted,
    /// A coordinator answers as soon as it has written.
    AnswerBeforeCommit,
    /// A coordinator takes all that it has read for committed.
    LoadedTakenForCommitted,
    /// A coordinator reads what is committed, as far as it knows, not all that it leads with.
    LoadedToHighWatermark,
    /// Members of an earlier generation are told what they have in this one.
    SyncOfEarlierGeneration,
    GenerationNotCounted,
    /// Two may be in a group under the name of one static member.
    ReplacedMemberNotFenced,
    SilenceUnnoticed,
    /// A coordinator does nothing without being asked.
    NoAlarm,
    DepartureUnnoticed,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// In this thread, until the next one takes its place.
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
