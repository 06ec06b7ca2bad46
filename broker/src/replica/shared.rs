//! Shared by all partitions of a broker.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::error;

use super::departed::Departed;
use super::flush_queue::FlushQueue;
use super::followed::Followed;
use super::leader_state::RegisteredBrokers;
use super::lost_leaders::LostLeaders;
use super::proposals::ProposalQueue;
use super::space::DiskSpace;
use super::throttle::Throttles;

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
    /// Why the data directory can no longer be used.
    pub(super) failure: watch::Sender<Option<String>>,
}

impl Shared {
    pub(super) fn new(space: DiskSpace, lag_max: Duration) -> Arc<Self> {
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
            failure: watch::Sender::new(None),
        })
    }

    /// A write or sync failed: it is unknown what else did not reach the disk, so this process must end.
    pub(super) fn directory_failed(&self, reason: &str) {
        error!(%reason, "the data directory failed");
        self.failure.send_replace(Some(reason.to_owned()));
    }
}
