//! Members, a coordinator and its log, one step after the other.

use std::time::Duration;

use fuzz::random::Random;
use protocol::types::Offset;

use super::super::config::GroupConfig;
use super::super::log::LogError;
use super::super::request::GroupRequest;
use super::super::simulated::{Asked, Checked, GROUP, Members, Patience, Surroundings, Violation};
use super::super::testing::{Bench, config};

/// Shorter to join than to be silent: static members stay if they do not join in time.
const PATIENCE: Patience = Patience { session_ms: 10_000, rebalance_ms: 4_000 };

pub(super) struct World {
    around: Around,
    members: Members,
    /// The records before it are committed.
    high_watermark: usize,
}

struct Around {
    bench: Bench,
    random: Random,
    calm: bool,
}

impl Surroundings for Around {
    fn ask(&mut self, _member: usize, Asked(request): Asked) {
        self.bench.handle(GROUP, request);
    }

    fn doubt_coordinator(&mut self, _member: usize) {}

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    fn one_in(&mut self, chances: usize) -> bool {
        !self.calm && self.random.below(chances) == 0
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let config = GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..config() };
        let mut bench = Bench::new(config);
        bench.commits = false;
        let around = Around { bench, random: Random(seed), calm: false };
        Self { around, members: Members::new(PATIENCE), high_watermark: 0 }
    }

    /// Faults end, and at least one member is alive.
    pub(super) fn calm_down(&mut self) {
        self.around.calm = true;
        self.members.fill();
    }

    pub(super) fn step(&mut self) -> Checked {
        if self.around.one_in(40) {
            self.fail_over();
        }
        let refuse = self.around.one_in(15);
        self.around.bench.log.refusal = refuse.then_some(LogError::NotEnoughReplicas);
        if self.around.calm || self.around.one_in(2) {
            self.high_watermark = self.around.bench.log.records.len();
            self.commit_up_to_high_watermark();
        }
        self.members.step(&mut self.around)?;
        let pause = Duration::from_millis(100 + self.around.below(900) as u64);
        let pause = if self.around.one_in(30) { Duration::from_secs(15) } else { pause };
        self.around.bench.pass(pause);
        self.check_offsets()
    }

    /// The new leader has all that is committed, and perhaps more, which it commits.
    fn fail_over(&mut self) {
        let Around { bench, random, .. } = &mut self.around;
        let uncommitted = bench.log.records.len() - self.high_watermark;
        bench.log.records.truncate(self.high_watermark + random.below(uncommitted + 1));
        bench.log.refusal = None;
        bench.fail_over();
        self.commit_up_to_high_watermark();
    }

    fn commit_up_to_high_watermark(&mut self) {
        self.around.bench.shard.committed(Offset(i64::try_from(self.high_watermark).unwrap()));
    }

    /// Checks the offsets as a client would get them now.
    fn check_offsets(&mut self) -> Checked {
        let mut waiting = self.around.bench.ask(GROUP, |reply| GroupRequest::FetchOffsets(None, reply));
        match waiting.try_recv() {
            Ok(Ok(fetched)) => self.members.see_all(&fetched),
            _ => Ok(()),
        }
    }

    pub(super) fn check_calm(&self) -> Result<(), Violation> {
        self.members.check_calm()
    }
}
