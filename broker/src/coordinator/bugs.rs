//! Bugs that the model test plants, each to prove that it would be found. Outside of tests none can be planted and the
//! questions cost nothing.

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    AnswerBeforeCommit,
    LoadedTakenForCommitted,
    SyncOfEarlierGeneration,
    GenerationNotCounted,
    ReplacedMemberNotFenced,
    SilenceUnnoticed,
    NoAlarm,
    DepartureUnnoticed,
}

/// At most one bug at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PlantedBug {
    #[cfg(test)]
    pub(super) bug: Option<Bug>,
}

impl PlantedBug {
    #[cfg(test)]
    pub(super) fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the question is the same in tests")]
    pub(super) const fn is(self, _: Bug) -> bool {
        false
    }
}
