//! What the active controller does periodically, without a request.

use std::time::Duration;

use protocol::config::Values;
use protocol::metadata_records::MetadataRecord;
use protocol::types::Offset;
use tracing::{info, warn};

use super::decide::Decider;
use super::elections;
use super::group::Group;

/// How long a new active controller waits for heartbeats before it probes silent brokers.
const DIAL_AFTER: Duration = Duration::from_millis(100);

/// When each task is due.
#[derive(Debug)]
pub(super) struct Upkeep {
    balance: Option<Every>,
    unclean_elections: Every,
    dial: Option<Duration>,
    idle: Option<Idle>,
}

/// `metadata.max.idle.interval.ms`: the longest time without a new record in the log.
#[derive(Debug)]
struct Idle {
    interval: Duration,
    /// The log end, unchanged since `since`.
    end: Offset,
    since: Duration,
}

impl Idle {
    fn is_over(&mut self, end: Offset, now: Duration) -> bool {
        if self.end != end {
            self.begin(end, now);
        }
        self.deadline() <= now
    }

    fn begin(&mut self, end: Offset, now: Duration) {
        (self.end, self.since) = (end, now);
    }

    fn deadline(&self) -> Duration {
        self.since.saturating_add(self.interval)
    }
}

#[derive(Debug)]
struct Every {
    interval: Duration,
    next: Duration,
}

impl Every {
    fn new(interval: Duration) -> Self {
        Self { interval, next: Duration::MAX }
    }

    fn begin(&mut self, now: Duration) {
        self.next = now.saturating_add(self.interval);
    }

    fn is_due(&mut self, now: Duration) -> bool {
        let due = self.next <= now;
        if due {
            self.begin(now);
        }
        due
    }
}

impl Upkeep {
    pub(super) fn new(file: &Values) -> Self {
        let number = |name| u64::try_from(file.get_long(name)).unwrap_or(u64::MAX);
        let balance = Every::new(Duration::from_secs(number("leader.imbalance.check.interval.seconds")));
        let unclean_elections = Duration::from_millis(number("unclean.leader.election.interval.ms"));
        let idle = u64::try_from(file.get_int("metadata.max.idle.interval.ms")).unwrap_or(0);
        let idle = Duration::from_millis(idle);
        Self {
            balance: file.get_bool("auto.leader.rebalance.enable").then_some(balance),
            unclean_elections: Every::new(unclean_elections),
            dial: None,
            idle: (!idle.is_zero()).then_some(Idle { interval: idle, end: Offset(0), since: Duration::MAX }),
        }
    }

    pub(super) fn begin(&mut self, now: Duration) {
        if let Some(balance) = &mut self.balance {
            balance.begin(now);
        }
        self.unclean_elections.begin(now);
        self.dial = Some(now + DIAL_AFTER);
    }

    fn deadline(&self) -> Duration {
        let balance = self.balance.as_ref().map(|balance| balance.next);
        let idle = self.idle.as_ref().map(Idle::deadline);
        let all = [balance, Some(self.unclean_elections.next), self.dial, idle];
        all.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }
}

impl Decider {
    /// Does everything that is due. Called while this node is the active controller, at the latest at the deadline
    /// that it returns, and after waiting commands have been decided.
    pub(super) fn tick(&mut self, group: &mut Group, now: Duration) -> Duration {
        self.fence_silent(group, now);
        self.grants.expire(now);
        if self.upkeep.dial.take_if(|at| *at <= now).is_some() {
            self.dial_unheard(&group.image, now);
        }
        if self.upkeep.unclean_elections.is_due(now) {
            let records = elections::elect_uncleanly(&self.policy(&group.image));
            if !records.is_empty() {
                warn!(partitions = records.len(), "elected leaders uncleanly: records may be lost");
            }
            add(group, &records);
        }
        if self.upkeep.balance.as_mut().is_some_and(|balance| balance.is_due(now)) {
            let records = elections::balance(&self.policy(&group.image));
            if !records.is_empty() {
                info!(partitions = records.len(), "moved leadership to the preferred leaders");
            }
            add(group, &records);
        }
        if let Some(idle) = &mut self.upkeep.idle
            && idle.is_over(group.image.end_offset, now)
        {
            add(group, &[MetadataRecord::NoOp]);
            idle.begin(group.image.end_offset, now);
        }
        self.deadline(now)
    }

    /// When something is due next. A command may have brought that forward.
    pub(super) fn deadline(&self, now: Duration) -> Duration {
        let deadlines = [Some(self.sessions.deadline(now)), self.grants.deadline(), Some(self.upkeep.deadline())];
        deadlines.into_iter().flatten().min().unwrap_or(now)
    }
}

fn add(group: &mut Group, records: &[MetadataRecord]) {
    if let Err(error) = group.add(records) {
        warn!(%error, "periodic changes not written");
    }
}
