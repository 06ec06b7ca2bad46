//! Shared by all partitions of a broker.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::departed::Departed;
use super::flush_queue::FlushQueue;
use super::followed::Followed;
use super::leader_state::RegisteredBrokers;
use super::lost_leaders::LostLeaders;
use super::proposals::ProposalQueue;
use super::space::DiskSpace;
use super::throttle::Throttles;
use crate::failure::{Failure, Failures};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) flushes: FlushQueue,
    pub(crate) space: DiskSpace,
    pub(super) brokers: ArcSwap<RegisteredBrokers>,
    /// `replica.lag.time.max.ms`
    pub(super) lag_max: Duration,
    /// Proposals of leaders to the controller.
    pub(super) proposals: ProposalQueue,
    pub(super) followed: Followed,
    pub(super) throttles: Throttles,
    pub(super) lost_leaders: LostLeaders,
    pub(super) departed: Departed,
    pub(super) failures: Failures,
}

impl Shared {
    pub(super) fn new(space: DiskSpace, lag_max: Duration, failures: Failures) -> Arc<Self> {
        Arc::new(Self {
            flushes: FlushQueue::default(),
            space,
            brokers: ArcSwap::default(),
            lag_max,
            proposals: ProposalQueue::default(),
            followed: Followed::default(),
            throttles: Throttles::default(),
            lost_leaders: LostLeaders::default(),
            departed: Departed::default(),
            failures,
        })
    }

    /// The data directory cannot be used any more, so this process must end.
    pub(super) fn directory_failed(&self, reason: &str) {
        self.failures.fail(Failure::Directory(reason.to_owned()));
    }
}
