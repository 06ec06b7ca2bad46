//! The node's membership in the cluster: its roles, and how it keeps in touch with the controller.

use std::time::Duration;

use protocol::config::Values;

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    Both,
    /// Hosts partitions, does not vote in the quorum.
    Broker,
    /// Votes in the quorum; has no partitions and no listener for clients.
    Controller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MembershipConfig {
    pub(crate) roles: Roles,
    pub(crate) heartbeat_interval: Duration,
    /// The controller fences a broker that has been silent for this long.
    pub(crate) session_timeout: Duration,
    pub(crate) registration_max: Duration,
    /// Timeout of a request to another node.
    pub(crate) request_timeout: Duration,
}

impl Roles {
    /// `None`: no role is set.
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
    pub(super) fn from_values(roles: Roles, values: &Values) -> Self {
        Self {
            roles,
            heartbeat_interval: values.get_millis("broker.heartbeat.interval.ms"),
            session_timeout: values.get_millis("broker.session.timeout.ms"),
            registration_max: values.get_millis("initial.broker.registration.timeout.ms"),
            request_timeout: values.get_millis("request.timeout.ms"),
        }
    }
}
