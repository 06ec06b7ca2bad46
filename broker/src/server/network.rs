//! What all connections share, and how much of it there is on this machine.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use super::budget::InFlightBudget;
use super::memory;
use super::quotas::ConnectionQuotas;
use crate::config::BrokerConfig;

/// Share of the memory limit that requests and unsent answers may take.
const IN_FLIGHT_SHARE: usize = 4;
/// Share of the memory limit that connections may take, and what one takes at rest: half here, half in the kernel.
const CONNECTIONS_SHARE: usize = 4;
const CONNECTION_BYTES: usize = 16 * 1024;
/// Quarters of the descriptors that are for connections; the rest is for segments.
const DESCRIPTORS_QUARTERS: u64 = 3;

#[derive(Debug)]
pub(super) struct Network {
    pub(super) budget: Arc<InFlightBudget>,
    /// Apart, so that requests of clients cannot use up the controllers' share.
    pub(super) controllers_budget: Arc<InFlightBudget>,
    pub(super) quotas: Arc<ConnectionQuotas>,
}

impl Network {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        let memory = memory::limit_bytes();
        let in_flight_bytes_max = config.network.in_flight_bytes_max.unwrap_or(memory / IN_FLIGHT_SHARE);
        let quotas = ConnectionQuotas::new(&config.network.connections, &config.listeners, connections_max(memory));
        Self {
            budget: Arc::new(InFlightBudget::new(in_flight_bytes_max)),
            controllers_budget: Arc::new(InFlightBudget::new(in_flight_bytes_max)),
            quotas: Arc::new(quotas),
        }
    }
}

fn connections_max(memory_bytes: usize) -> usize {
    let by_memory = memory_bytes / CONNECTIONS_SHARE / CONNECTION_BYTES;
    let descriptors = getrlimit(Resource::Nofile).current;
    let by_descriptors =
        descriptors.map(|limit| usize::try_from(limit / 4 * DESCRIPTORS_QUARTERS).unwrap_or(usize::MAX));
    by_descriptors.map_or(by_memory, |limit| limit.min(by_memory)).max(1)
}
