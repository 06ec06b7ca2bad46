//! The node's part in the cluster: its roles, and how it keeps in touch with the controller.

use std::time::Duration;

use protocol::config::Values;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    Both,
    /// Partitions, and no part in the quorum's decisions.
    Broker,
    /// No partitions, and no listener for clients.
    Controller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MembershipConfig {
    pub(crate) roles: Roles,
    pub(crate) heartbeat_interval: Duration,
    /// After this silence the controller takes a broker for dead.
    pub(crate) session_timeout: Duration,
    pub(crate) registration_max: Duration,
    /// For a request to another node.
    pub(crate) request_timeout: Duration,
}

impl Roles {
    /// `None`: the node is to do nothing.
    pub(super) fn from_values(values: &Values) -> Option<Self> {
        let roles = values.get_list("process.roles");
        let has = |role: &str| roles.iter().any(|listed| listed == role);
        match (has("broker"), has("controller")) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Broker),
            (false, true) => Some(Self::Controller),
            (false, false) => None,
        }
    }

    pub(crate) const fn has_broker(self) -> bool {
        matches!(self, Self::Both | Self::Broker)
    }

    pub(crate) const fn has_controller(self) -> bool {
        matches!(self, Self::Both | Self::Controller)
    }
}

impl MembershipConfig {
    pub(super) fn new(roles: Roles, values: &Values) -> Self {
        let milliseconds = |name| Duration::from_millis(u64::try_from(values.get_int(name)).unwrap_or(0));
        Self {
            roles,
            heartbeat_interval: milliseconds("broker.heartbeat.interval.ms"),
            session_timeout: milliseconds("broker.session.timeout.ms"),
            registration_max: milliseconds("initial.broker.registration.timeout.ms"),
            request_timeout: milliseconds("request.timeout.ms"),
        }
    }
}
