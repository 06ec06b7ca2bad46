//! FindCoordinator. Neither groups nor transactions are offered yet: both get an error that clients do not retry.
//! librdkafka takes the presence of this API as the sign that a broker knows LZ4.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Request, RequestError};

const NOT_OFFERED: &str = "consumer groups and transactions are not offered by this broker";

pub(super) fn find_coordinator(request: &mut Request<'_>) -> Result<FindCoordinatorResponse, RequestError> {
    let body: FindCoordinatorRequest = request.decode()?;
    let error = ResponseError::InvalidRequest.code();
    let message = Some(StrBytes::from_static_str(NOT_OFFERED));
    if request.version < 4 {
        return Ok(FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_error_message((1 <= request.version).then_some(message).flatten())
            .with_node_id(BrokerId(-1))
            .with_port(-1));
    }
    let coordinators = body.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error)
            .with_error_message(message.clone())
    });
    Ok(FindCoordinatorResponse::default().with_coordinators(coordinators.collect()))
}
