//! The parameters of a run, all of them derived from its seed.

use raft_simulation::random::Random;
use raft_simulation::schedule::{Schedule, Theme};

const THEMES: [Theme; 6] =
    [Theme::Crashes, Theme::PowerCuts, Theme::Partitions, Theme::VoterChanges, Theme::Volumes, Theme::All];

#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) schedule: Schedule,
    /// Reassignments, elections, clean stops, clocks.
    pub(super) disturb_every_micros: u64,
    /// The share of clean stops among these.
    pub(super) stop_permille: u64,
    /// So many of a thousand replicas about to join the ISR lose their power just then.
    pub(super) bounce_permille: u64,
}

impl Options {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xc1);
        let theme = THEMES[usize::try_from(seed).unwrap() % THEMES.len()];
        let is_hard = matches!(theme, Theme::Volumes | Theme::VoterChanges | Theme::All);
        let fault_every_micros = if is_hard { [600_000, 1_200_000] } else { [150_000, 500_000] }[random.index(2)];
        let schedule = Schedule {
            voters: 3,
            observers: usize::try_from(random.below(3)).unwrap(),
            faults_until: random.between(3_000_000, 6_000_000),
            fault_every_micros,
            propose_every_micros: u64::MAX / 4,
            records_per_fetch_max: [3, 30][random.index(2)],
            slow_sync_permille: [0, 50][random.index(2)],
            ..Schedule::new(seed, theme)
        };
        Self {
            schedule,
            disturb_every_micros: [100_000, 400_000][random.index(2)],
            stop_permille: [0, 100, 300][random.index(3)],
            bounce_permille: [0, 0, 100][random.index(3)],
        }
    }
}
