//! Bugs that the simulation plants, each to prove that it would be found. Without the feature `planted-bugs` none can
//! be planted and the checks cost nothing.

/// A safety rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public only for the simulation"))]
pub enum Bug {
    VoteNotPersisted,
    VoteWithoutLogComparison,
    VoteTwiceInAnEpoch,
    VoteOfForeignDirectory,
    AcknowledgementOfForeignDirectory,
    AcknowledgementBeforePersisted,
    PersistedOfEarlierGeneration,
    CommitOfPriorEpochByCounting,
    HighWatermarkGoesBack,
    TruncationKeepsVoters,
    TruncationToHighWatermark,
    VoterChangeBeforeCommit,
    TwoVoterChanges,
    NewVoterNotCaughtUp,
    NoCheckQuorum,
    PreVoteIgnoresLiveLeader,
    VolumeMayGoBack,
}

/// At most one bug at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PlantedBug {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl PlantedBug {
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn plant(&mut self, bug: Bug) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the question is the same with and without the feature")]
    pub(crate) const fn is(self, _: Bug) -> bool {
        false
    }
}
