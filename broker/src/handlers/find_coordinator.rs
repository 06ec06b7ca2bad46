//! FindCoordinator, which librdkafka also takes as the sign that a broker knows LZ4. There are no coordinators yet.
//! Of a group's, clients are told that it is not available: a consumer that assigns its partitions itself asks, too,
//! and does well without. For a transactional id the error is one that is not retried.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Request, RequestError};

/// Of a coordinator's key; what requests before version 1 mean.
const GROUP: i8 = 0;
const NOT_OFFERED: &str = "consumer groups and transactions are not offered by this broker";

pub(super) fn find_coordinator(request: &mut Request<'_>) -> Result<FindCoordinatorResponse, RequestError> {
    let body: FindCoordinatorRequest = request.decode()?;
    let error = match body.key_type {
        GROUP => ResponseError::CoordinatorNotAvailable.code(),
        _ => ResponseError::InvalidRequest.code(),
    };
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
