//! How a follower reacts to its leader's answers. Pure: the state of the log is an argument, and the action is
//! returned.
//!
//! A log is truncated only where its leader says that the two diverge (KIP-595): to the end of the last common epoch.
//! Never to the high watermark, which a follower learns late (KIP-101). If that would cut into compacted offsets,
//! which takes a loss of committed records, the log is fetched anew.

use std::time::Duration;

use protocol::types::{BrokerId, LeaderEpoch, Offset};
use storage::LeaderEpochs;

use crate::bugs::{self, Bug};

const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The state of a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FollowerState {
    /// `None`: there is no leader.
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: LeaderEpoch,
    /// By the metadata: producers wait for this replica.
    pub(crate) is_in_sync: bool,
    /// The last high watermark that the leader has sent.
    pub(crate) leader_high_watermark: Offset,
    /// No fetch before this time.
    paused_until: Duration,
    /// Consecutive fetches that failed.
    failures: u32,
}

/// The log as the next fetch describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalLog<'a> {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// Up to here compaction has removed superseded records.
    pub(crate) compacted: Offset,
    pub(crate) epochs: &'a LeaderEpochs,
}

/// A leader's answer without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaderAnswer {
    /// The logs agree: there may be records to append, and a new high watermark and log start.
    Agreed,
    /// The leader's largest epoch that is not beyond ours, and its end offset there.
    Diverged {
        epoch: LeaderEpoch,
        end: Offset,
    },
    /// The offset is out of range: the leader's log starts here.
    OutOfRange {
        leader_start: Offset,
    },
    /// The leader is in a newer epoch: the metadata will arrive.
    Fenced,
    Failed,
}

/// What the answer means for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Append,
    Truncate(Offset),
    Restart(Offset),
    /// Retry later.
    Pause,
}

impl LeaderAnswer {
    pub(crate) fn step(self, log: &LocalLog<'_>) -> Step {
        match self {
            // A crash interrupted a restart of this log: what is left lacks records that later, lost ones superseded.
            Self::Agreed if log.end < log.compacted => Step::Restart(log.start),
            Self::Agreed => Step::Append,
            Self::Diverged { epoch, end } => match common_end(log, epoch, end) {
                // Records that supersede compacted ones may lie behind the cut: the last value of a key would be
                // lost.
                common if common < log.compacted && !bugs::is_planted(Bug::CutIntoCompacted) => {
                    Step::Restart(log.start)
                }
                common if common < log.end => Step::Truncate(common),
                // All records are the leader's, but not an epoch in which this broker led without writing anything.
                _ if log.epochs.latest().is_some_and(|latest| epoch < latest) => Step::Truncate(log.end),
                // Nothing to truncate, but the same answer would come again: something is wrong with it.
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

    /// Short at first: after an election followers may know the leader before it knows itself.
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

/// How far this log can agree with the leader's. If it lacks the epoch that the leader names, the next fetch goes
/// further back.
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
            // Epochs here, log end, the leader's answer, and the step.
            (vec![(1, 0)], 30, (1, 20), Step::Truncate(Offset(20))),
            (vec![(1, 0), (3, 20)], 30, (1, 25), Step::Truncate(Offset(20))),
            (vec![(1, 0), (3, 20)], 30, (1, 10), Step::Truncate(Offset(10))),
            // Cuts into compacted offsets.
            (vec![(1, 0), (3, 20)], 30, (1, 9), Step::Restart(Offset(5))),
            // The leader's epoch is not known here: further back, and ask again.
            (vec![(1, 0), (4, 20)], 30, (3, 25), Step::Truncate(Offset(20))),
            (vec![(4, 20)], 30, (3, 25), Step::Truncate(Offset(20))),
            (Vec::new(), 30, (3, 25), Step::Truncate(Offset(25))),
            (vec![(1, 0)], 30, (1, 40), Step::Pause),
            // Led in epoch 3, and wrote nothing.
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
        for (compacted, expected) in [(30, Step::Append), (31, Step::Restart(Offset(0)))] {
            let step = LeaderAnswer::Agreed.step(&LocalLog { compacted: Offset(compacted), ..local });
            assert_eq!(step, expected, "compacted up to {compacted}");
        }
    }
}
