//! Heartbeat of a group member.

use kafka_protocol::messages::{HeartbeatRequest as WireRequest, HeartbeatResponse};
use protocol::coordinator_records::GenerationId;

use super::errors::KafkaError as _;
use super::groups::claim;
use super::{Broker, Request, RequestError};
use crate::coordinator::{GroupError, HeartbeatRequest, Unavailable};

impl Broker {
    pub(super) fn heartbeat(&self, request: &mut Request<'_>) -> Result<HeartbeatResponse, RequestError> {
        let body: WireRequest = request.decode()?;
        let heartbeat = HeartbeatRequest {
            member: claim(&body.member_id, body.group_instance_id.as_ref()),
            generation: GenerationId(body.generation_id),
        };
        Ok(match self.groups.heartbeat(&body.group_id, heartbeat) {
            // While loading, its session has not begun.
            Ok(()) | Err(GroupError::Unavailable(Unavailable::Loading)) => HeartbeatResponse::default(),
            Err(error) => HeartbeatResponse::default().with_error_code(error.code()),
        })
    }
}
