//! What a follower does with its leader's answers. Pure: the log's state is an argument, and what is to be done with it
//! comes back.
//!
//! A log is shortened only where its leader says that the two have parted (KIP-595): to the end of the last epoch they
//! have in common. Never to the high watermark, which a follower learns late (KIP-101). Where that would cut into what
//! was compacted, which takes a loss of what was committed, it is fetched anew.

use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};
use storage::LeaderEpochs;

use crate::bugs::{self, Bug};

const PAUSE_MIN: Duration = Duration::from_millis(5);

/// This broker follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FollowerState {
    /// `None`: nobody leads.
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: LeaderEpoch,
    /// As the metadata has it: producers wait for this replica.
    pub(crate) is_in_sync: bool,
    /// As it was last told.
    pub(crate) leader_high_watermark: Offset,
    /// No fetch before that.
    paused_until: Duration,
    /// Fetches in a row that came to nothing.
    failures: u32,
}

/// The log as the next fetch is to describe it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalLog<'a> {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// Up to here compaction has left out what later records supersede.
    pub(crate) compacted: Offset,
    pub(crate) epochs: &'a LeaderEpochs,
}

/// A leader's answer, but for the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaderAnswer {
    /// The logs agree: there may be records to append, and the leader's high watermark and log start to follow.
    Agreed,
    /// The last epoch that the leader has of those up to ours, and where it ends there.
    Diverged {
        epoch: LeaderEpoch,
        end: Offset,
    },
    /// What was asked for is not there: the leader's log begins here.
    OutOfRange {
        leader_start: Offset,
    },
    /// It leads in a newer epoch: the metadata is on its way.
    Fenced,
    Failed,
}

/// What the answer means for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Append,
    Truncate(Offset),
    Restart(Offset),
    /// Ask again, later.
    Pause,
}

impl LeaderAnswer {
    pub(crate) fn step(self, log: &LocalLog<'_>) -> Step {
        match self {
            Self::Agreed => Step::Append,
            Self::Diverged { epoch, end } => match common_end(log, epoch, end) {
                // What supersedes may lie behind the cut, and with it the last of what was said under some key.
                common if common < log.compacted && !bugs::is_planted(Bug::CutIntoCompacted) => {
                    Step::Restart(log.start)
                }
                common if common < log.end => Step::Truncate(common),
                // All records are the leader's, but not an epoch in which this broker led and wrote nothing.
                _ if log.epochs.latest().is_some_and(|latest| epoch < latest) => Step::Truncate(log.end),
                // Nothing to take back, and yet it would be asked again: something is wrong with the answer.
                _ => Step::Pause,
            },
            Self::OutOfRange { leader_start } if leader_start < Offset(0) => Step::Pause,
            Self::OutOfRange { leader_start } => Step::Restart(leader_start),
            Self::Fenced | Self::Failed => Step::Pause,
        }
    }
}

impl FollowerState {
    pub(crate) fn new(leader: Option<BrokerId>, epoch: LeaderEpoch) -> Self {
        let leader_high_watermark = Offset(0);
        let paused_until = Duration::ZERO;
        Self { leader, epoch, is_in_sync: false, leader_high_watermark, paused_until, failures: 0 }
    }

    pub(crate) fn is_paused(&self, now: Duration) -> bool {
        now < self.paused_until
    }

    /// Short at first: after an election followers may know of it before the leader does.
    pub(crate) fn pause(&mut self, now: Duration, pause_max: Duration) {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
        self.paused_until = now.saturating_add(pause.min(pause_max));
        self.failures = self.failures.saturating_add(1);
    }

    pub(crate) fn heard(&mut self, high_watermark: Offset) {
        self.leader_high_watermark = high_watermark;
        self.failures = 0;
    }

    pub(crate) fn resumes_at(&self) -> Duration {
        self.paused_until
    }
}

/// How far this log can be what the leader's log is. Where this log lacks the epoch that the leader names, the next
/// fetch tells further.
fn common_end(log: &LocalLog<'_>, epoch: LeaderEpoch, end: Offset) -> Offset {
    match log.epochs.end_offset_for_epoch(epoch, log.end) {
        Some((found, here)) if found == epoch => here.min(end),
        Some((_, here)) => here,
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(i32, i64)], end: i64) -> (LeaderEpochs, Offset) {
        let entries = entries.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start)));
        (entries.collect(), Offset(end))
    }

    #[test]
    fn a_log_goes_back_to_the_end_of_the_last_epoch_in_common() {
        let table = [
            // Epochs here, log end, the leader's answer, and what is kept.
            (vec![(1, 0)], 30, (1, 20), Step::Truncate(Offset(20))),
            (vec![(1, 0), (3, 20)], 30, (1, 25), Step::Truncate(Offset(20))),
            (vec![(1, 0), (3, 20)], 30, (1, 10), Step::Truncate(Offset(10))),
            // Into what was compacted.
            (vec![(1, 0), (3, 20)], 30, (1, 9), Step::Restart(Offset(5))),
            // The leader has an epoch that is not known here: further back, and ask again.
            (vec![(1, 0), (4, 20)], 30, (3, 25), Step::Truncate(Offset(20))),
            (vec![(4, 20)], 30, (3, 25), Step::Truncate(Offset(20))),
            (Vec::new(), 30, (3, 25), Step::Truncate(Offset(25))),
            (vec![(1, 0)], 30, (1, 40), Step::Pause),
            // Led in epoch 3, and nothing was written.
            (vec![(1, 0), (3, 30)], 30, (1, 30), Step::Truncate(Offset(30))),
        ];
        for (epochs, end, (leader_epoch, leader_end), expected) in table {
            let (epochs, end) = log(&epochs, end);
            let answer = LeaderAnswer::Diverged { epoch: LeaderEpoch(leader_epoch), end: Offset(leader_end) };
            let local = LocalLog { start: Offset(5), end, compacted: Offset(10), epochs: &epochs };
            assert_eq!(answer.step(&local), expected, "{epochs:?} {answer:?}");
        }
    }

    #[test]
    fn pauses_grow_until_the_leader_is_heard_of() {
        let mut follower = FollowerState::new(Some(BrokerId(1)), LeaderEpoch(0));
        let now = Duration::from_secs(9);
        let mut pause = || {
            follower.pause(now, Duration::from_millis(30));
            (follower.resumes_at().saturating_sub(now)).as_millis()
        };
        assert_eq!([pause(), pause(), pause(), pause(), pause()], [5, 10, 20, 30, 30]);
        follower.heard(Offset(1));
        follower.pause(now, Duration::from_millis(30));
        assert!(follower.is_paused(now) && !follower.is_paused(now + Duration::from_millis(5)));
    }

    #[test]
    fn what_the_leader_no_longer_has_is_not_missed_and_errors_pause() {
        let (epochs, end) = log(&[(1, 0)], 30);
        let local = LocalLog { start: Offset(0), end, compacted: Offset(0), epochs: &epochs };
        let step = |answer: LeaderAnswer| answer.step(&local);
        assert_eq!(step(LeaderAnswer::OutOfRange { leader_start: Offset(50) }), Step::Restart(Offset(50)));
        assert_eq!(step(LeaderAnswer::OutOfRange { leader_start: Offset(-1) }), Step::Pause);
        assert_eq!(step(LeaderAnswer::Fenced), Step::Pause);
        assert_eq!(step(LeaderAnswer::Agreed), Step::Append);
    }
}
