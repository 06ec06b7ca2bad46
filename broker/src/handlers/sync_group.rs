//! SyncGroup: answered when the leader's assignment is committed.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use protocol::coordinator_records::GenerationId;

use super::groups::{claim, copied, text};
use super::{Broker, Request, RequestError, errors};
use crate::coordinator::{MemberId, SyncRequest};

/// First version that must name the protocol.
const VERSION_WITH_PROTOCOL: i16 = 5;

impl Broker {
    pub(super) async fn sync_group(&self, request: &mut Request<'_>) -> Result<SyncGroupResponse, RequestError> {
        let body: SyncGroupRequest = request.decode()?;
        let names_protocol = body.protocol_type.is_some() && body.protocol_name.is_some();
        if VERSION_WITH_PROTOCOL <= request.version && !names_protocol {
            return Ok(SyncGroupResponse::default().with_error_code(ResponseError::InconsistentGroupProtocol.code()));
        }
        let group = body.group_id.to_string();
        let assigned = body.assignments.iter();
        let sync = SyncRequest {
            member: claim(&body.member_id, body.group_instance_id.as_ref()),
            generation: GenerationId(body.generation_id),
            protocol_type: body.protocol_type.as_ref().map(ToString::to_string),
            protocol: body.protocol_name.as_ref().map(ToString::to_string),
            assignments: assigned
                .map(|assigned| (MemberId(assigned.member_id.to_string()), copied(&assigned.assignment)))
                .collect(),
        };
        drop(body);
        Ok(match request.answer_of(self.groups.sync(&group, sync)).await {
            Ok(synced) => SyncGroupResponse::default()
                .with_protocol_type(synced.protocol_type.map(text))
                .with_protocol_name(synced.protocol.map(text))
                .with_assignment(synced.assignment),
            Err(error) => SyncGroupResponse::default().with_error_code(errors::of_generation(&error).code()),
        })
    }
}
