//! Shared by all connections, and its size on this machine.

use std::sync::Arc;

use super::budget::InFlightBudget;
use super::quotas::ConnectionQuotas;
use crate::config::BrokerConfig;

/// Share of the memory limit that requests and unsent answers may take.
const IN_FLIGHT_SHARE: usize = 4;

#[derive(Debug)]
pub(super) struct Network {
    pub(super) budget: Arc<InFlightBudget>,
    /// Separate, so that clients' requests cannot use up the controllers' share.
    pub(super) controllers_budget: Arc<InFlightBudget>,
    pub(super) quotas: Arc<ConnectionQuotas>,
}

impl Network {
    pub(super) fn new(config: &BrokerConfig, memory_bytes: usize, connections_max: usize) -> Self {
        let in_flight_bytes_max = config.network.in_flight_bytes_max.unwrap_or(memory_bytes / IN_FLIGHT_SHARE);
        let quotas = ConnectionQuotas::new(&config.network.connections, &config.listeners, connections_max);
        Self {
            budget: Arc::new(InFlightBudget::new(in_flight_bytes_max)),
            controllers_budget: Arc::new(InFlightBudget::new(in_flight_bytes_max)),
            quotas: Arc::new(quotas),
        }
    }
}
