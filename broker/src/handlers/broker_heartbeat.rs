//! BrokerHeartbeat (KIP-631): a broker is alive, and says which state it wants to be in.

use kafka_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, Offset};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::Heartbeat;

impl Broker {
    pub(super) async fn broker_heartbeat(
        &self,
        request: &mut Request<'_>,
    ) -> Result<BrokerHeartbeatResponse, RequestError> {
        let body: BrokerHeartbeatRequest = request.decode()?;
        let heartbeat = Heartbeat {
            id: BrokerId(body.broker_id.0),
            epoch: BrokerEpoch(body.broker_epoch),
            metadata_offset: Offset(body.current_metadata_offset),
            wants_fence: body.want_fence,
            wants_shutdown: body.want_shut_down,
            offline_directories: body.offline_log_dirs.into_iter().map(DirectoryId).collect(),
        };
        let response = BrokerHeartbeatResponse::default();
        Ok(match self.controller.heartbeat(heartbeat).await {
            Ok(Ok(answer)) => {
                request.context.carries_session(BrokerId(body.broker_id.0), BrokerEpoch(body.broker_epoch));
                response
                    .with_is_caught_up(answer.is_caught_up)
                    .with_is_fenced(answer.is_fenced)
                    .with_should_shut_down(answer.should_shut_down)
            }
            Ok(Err(error)) => response.with_error_code(error.code()),
            Err(error) => response.with_error_code(error.code()),
        })
    }
}
