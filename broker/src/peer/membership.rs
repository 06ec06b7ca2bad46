//! A node's requests to the active controller about itself: registration, heartbeats, departure.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::broker_registration_request::{Feature, Listener};
use kafka_protocol::messages::{
    BrokerHeartbeatRequest, BrokerId as WireBrokerId, BrokerRegistrationRequest, ControllerRegistrationRequest,
    controller_registration_request as controller,
};
use kafka_protocol::protocol::StrBytes;
use protocol::metadata_records::{Endpoint, FeatureRange};
use protocol::types::{BrokerEpoch, BrokerId, ClusterId, DirectoryId, IncarnationId, Offset};
use tokio::time::Instant;

use super::controller_channel::{ChannelError, ControllerChannel};

const REGISTRATION_VERSION: i16 = 4;
const HEARTBEAT_VERSION: i16 = 1;
const CONTROLLER_REGISTRATION_VERSION: i16 = 0;
/// The value for "none".
const NO_EPOCH: BrokerEpoch = BrokerEpoch(-1);

/// A node's registration, for this incarnation.
#[derive(Debug, Clone)]
pub(crate) struct NodeDescription {
    pub(crate) id: BrokerId,
    pub(crate) cluster_id: ClusterId,
    pub(crate) incarnation: IncarnationId,
    pub(crate) directory: DirectoryId,
    pub(crate) rack: Option<String>,
    pub(crate) features: Vec<FeatureRange>,
    /// The listeners for clients and brokers, or those for controllers.
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) epoch: BrokerEpoch,
    /// The offset of the last record replayed here.
    pub(crate) metadata_offset: Offset,
    pub(crate) wants_fence: bool,
    pub(crate) wants_shutdown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeartbeatAnswer {
    /// Whether the broker knows all that happened before the controller last began a session with it.
    pub(crate) is_caught_up: bool,
    pub(crate) is_fenced: bool,
    pub(crate) should_shut_down: bool,
}

impl HeartbeatAnswer {
    /// Whether nobody else leads what the broker leads, for a session from when the answer was asked for. A fenced
    /// broker has lost its leaderships. One that was fenced, and does not serve `without_break`, has to learn of it.
    pub(crate) fn renews_session(self, without_break: bool) -> bool {
        !self.is_fenced && (self.is_caught_up || without_break)
    }
}

/// Why the controller refused a node's request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("another process is registered under this id, and its session has not ended")]
    Duplicate,
    #[error("the controller does not know this registration")]
    NotRegistered,
    /// Retrying does not help.
    #[error("the controller refuses the registration: {0}")]
    Invalid(&'static str),
    #[error("the controller answers with error {0}")]
    Other(i16),
    #[error(transparent)]
    Unreachable(#[from] ChannelError),
}

/// Registers a broker. Returns its epoch.
pub(crate) async fn register_broker(
    channel: &ControllerChannel,
    node: &NodeDescription,
    previous_epoch: Option<BrokerEpoch>,
    deadline: Instant,
) -> Result<BrokerEpoch, Refusal> {
    let features = node.features.iter().map(|feature| {
        Feature::default()
            .with_name(StrBytes::from_string(feature.name.clone()))
            .with_min_supported_version(feature.min)
            .with_max_supported_version(feature.max)
    });
    let listeners = node.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.name.clone()))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_security_protocol(endpoint.security_protocol)
    });
    let request = BrokerRegistrationRequest::default()
        .with_broker_id(WireBrokerId(node.id.0))
        .with_cluster_id(StrBytes::from_string(node.cluster_id.to_string()))
        .with_incarnation_id(node.incarnation.0)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
        .with_rack(node.rack.clone().map(StrBytes::from_string))
        .with_log_dirs(vec![node.directory.0])
        .with_previous_broker_epoch(previous_epoch.unwrap_or(NO_EPOCH).0);
    let response = channel.call(REGISTRATION_VERSION, &request, deadline).await?;
    refusal(response.error_code).map_or(Ok(BrokerEpoch(response.broker_epoch)), Err)
}

pub(crate) async fn send_heartbeat(
    channel: &ControllerChannel,
    id: BrokerId,
    heartbeat: Heartbeat,
    deadline: Instant,
) -> Result<HeartbeatAnswer, Refusal> {
    let request = BrokerHeartbeatRequest::default()
        .with_broker_id(WireBrokerId(id.0))
        .with_broker_epoch(heartbeat.epoch.0)
        .with_current_metadata_offset(heartbeat.metadata_offset.0)
        .with_want_fence(heartbeat.wants_fence)
        .with_want_shut_down(heartbeat.wants_shutdown);
    let response = channel.call(HEARTBEAT_VERSION, &request, deadline).await?;
    let answer = HeartbeatAnswer {
        is_caught_up: response.is_caught_up,
        is_fenced: response.is_fenced,
        should_shut_down: response.should_shut_down,
    };
    refusal(response.error_code).map_or(Ok(answer), Err)
}

pub(crate) async fn register_controller(
    channel: &ControllerChannel,
    node: &NodeDescription,
    deadline: Instant,
) -> Result<(), Refusal> {
    let features = node.features.iter().map(|feature| {
        controller::Feature::default()
            .with_name(StrBytes::from_string(feature.name.clone()))
            .with_min_supported_version(feature.min)
            .with_max_supported_version(feature.max)
    });
    let listeners = node.endpoints.iter().map(|endpoint| {
        controller::Listener::default()
            .with_name(StrBytes::from_string(endpoint.name.clone()))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_security_protocol(endpoint.security_protocol)
    });
    let request = ControllerRegistrationRequest::default()
        .with_controller_id(node.id.0)
        .with_incarnation_id(node.incarnation.0)
        .with_listeners(listeners.collect())
        .with_features(features.collect());
    let response = channel.call(CONTROLLER_REGISTRATION_VERSION, &request, deadline).await?;
    refusal(response.error_code).map_or(Ok(()), Err)
}

fn refusal(error_code: i16) -> Option<Refusal> {
    let error = ResponseError::try_from_code(error_code)?;
    Some(match error {
        ResponseError::DuplicateBrokerRegistration => Refusal::Duplicate,
        ResponseError::StaleBrokerEpoch | ResponseError::BrokerIdNotRegistered => Refusal::NotRegistered,
        ResponseError::InconsistentClusterId => Refusal::Invalid("it is of another cluster (INCONSISTENT_CLUSTER_ID)"),
        ResponseError::InvalidRegistration => Refusal::Invalid(
            "INVALID_REGISTRATION: the data directory is another broker's, or has been discarded; its log tells which",
        ),
        ResponseError::UnsupportedVersion => {
            Refusal::Invalid("this version of Millrace lacks a feature that the cluster uses (UNSUPPORTED_VERSION)")
        }
        other => Refusal::Other(other.code()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_was_fenced_has_to_learn_what_it_lost() {
        // Fenced, caught up, without a break; renews the session.
        let table = [
            (false, true, false, true),
            (false, false, true, true),
            (false, false, false, false),
            (true, true, true, false),
        ];
        for (is_fenced, is_caught_up, without_break, renews) in table {
            let answer = HeartbeatAnswer { is_caught_up, is_fenced, should_shut_down: false };
            assert_eq!(answer.renews_session(without_break), renews, "{answer:?} {without_break}");
        }
    }
}
