//! FindCoordinator (KIP-699). A cluster of one broker has one coordinator for every group. What it does not announce
//! yet are the APIs of groups, and that is what clients tell their users; a consumer that assigns its partitions
//! itself asks for the coordinator all the same, and does well. librdkafka takes this API as the sign of LZ4 support.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Broker, Request, RequestError};

/// Type of a coordinator's key, and what requests before version 1 mean.
const GROUP: i8 = 0;
const NO_TRANSACTIONS: &str = "transactions are not offered by this broker";

impl Broker {
    pub(super) fn find_coordinator(&self, request: &mut Request<'_>) -> Result<FindCoordinatorResponse, RequestError> {
        let body: FindCoordinatorRequest = request.decode()?;
        let found = if body.key_type == GROUP { self.here(request) } else { nowhere() };
        if request.version < 4 {
            return Ok(FindCoordinatorResponse::default()
                .with_error_code(found.error_code)
                .with_error_message(found.error_message.filter(|_| 1 <= request.version))
                .with_node_id(found.node_id)
                .with_host(found.host)
                .with_port(found.port));
        }
        let coordinators = body.coordinator_keys.into_iter().map(|key| found.clone().with_key(key));
        Ok(FindCoordinatorResponse::default().with_coordinators(coordinators.collect()))
    }

    /// This broker, at the listener that the client asked on.
    fn here(&self, request: &Request<'_>) -> Coordinator {
        let endpoint = &request.context.listener.advertised;
        Coordinator::default()
            .with_node_id(BrokerId(self.config.broker_id.0))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
    }
}

fn nowhere() -> Coordinator {
    Coordinator::default()
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(ResponseError::InvalidRequest.code())
        .with_error_message(Some(StrBytes::from_static_str(NO_TRANSACTIONS)))
}
