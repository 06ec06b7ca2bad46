//! The content of a schedule, all of it derived from its seed.

use crate::random::Random;

/// The faults of a schedule. Each kind has schedules that concentrate on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Leaders crash as soon as they lead, with little of what they appended on other disks.
    Elections,
    /// Processes killed, paused, stopped.
    Crashes,
    /// Machines lose power, and with it what was not synced.
    PowerCuts,
    Partitions,
    VoterChanges,
    /// Snapshots are taken and logs deleted behind them.
    Snapshots,
    /// Nodes come with empty volumes, and with volumes that they had before.
    Volumes,
    All,
}

pub const THEMES: [Theme; 8] = [
    Theme::Elections,
    Theme::Crashes,
    Theme::PowerCuts,
    Theme::Partitions,
    Theme::VoterChanges,
    Theme::Snapshots,
    Theme::Volumes,
    Theme::All,
];

#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub seed: u64,
    pub theme: Theme,
    /// Voters laid down by formatting.
    pub voters: usize,
    pub observers: usize,
    pub faults_until: u64,
    pub fault_every_micros: u64,
    pub propose_every_micros: u64,
    pub clock_drift_permille: u64,
    pub records_per_fetch_max: usize,
    /// So many of a thousand syncs take very long, and are overtaken.
    pub slow_sync_permille: u64,
    /// Share of the time with bad links.
    pub bad_weather_permille: u64,
}

impl Schedule {
    pub fn new(seed: u64, theme: Theme) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let voters = [1, 2, 3, 3, 3, 3, 4, 5, 5][random.index(9)];
        let changes = matches!(theme, Theme::VoterChanges | Theme::Volumes | Theme::All);
        let elects = theme == Theme::Elections;
        Self {
            seed,
            theme,
            voters: if changes { voters } else { voters.max(3) },
            observers: usize::try_from(random.below(if changes { 3 } else { 2 })).unwrap(),
            faults_until: random.between(2_000_000, 6_000_000),
            fault_every_micros: if elects { 60_000 } else { [30_000, 80_000, 200_000, 500_000][random.index(4)] },
            propose_every_micros: random.between(5_000, 80_000),
            clock_drift_permille: [0, 20, 100][random.index(3)],
            records_per_fetch_max: if elects { 1 } else { [1, 2, 5, 30][random.index(4)] },
            slow_sync_permille: [0, 50, 200][random.index(3)],
            bad_weather_permille: [0, 300, 900][random.index(3)],
        }
    }

    pub fn nodes(&self) -> usize {
        self.voters + self.observers
    }
}
