//! LeaveGroup: by a member, or by an administrator who removes static members (KIP-345).

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::errors::KafkaError as _;
use super::groups::claim;
use super::{Broker, Request, RequestError};
use crate::coordinator::LeaveRequest;

/// First version that can name several members.
const VERSION_WITH_MEMBERS: i16 = 3;

impl Broker {
    pub(super) async fn leave_group(&self, request: &mut Request<'_>) -> Result<LeaveGroupResponse, RequestError> {
        let body: LeaveGroupRequest = request.decode()?;
        let leaving = if VERSION_WITH_MEMBERS <= request.version {
            body.members
        } else {
            vec![MemberIdentity::default().with_member_id(body.member_id)]
        };
        let members = leaving.iter().map(|member| claim(&member.member_id, member.group_instance_id.as_ref()));
        let leave = LeaveRequest { members: members.collect() };
        let left = match request.answer_of(self.groups.leave(&body.group_id, leave)).await {
            Ok(left) => left,
            Err(error) => return Ok(LeaveGroupResponse::default().with_error_code(error.code())),
        };
        let codes = left.into_iter().map(|left| left.err().map_or(0, |error| error.code()));
        if request.version < VERSION_WITH_MEMBERS {
            return Ok(LeaveGroupResponse::default().with_error_code(codes.max().unwrap_or(0)));
        }
        let members = leaving.into_iter().zip(codes).map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(code)
        });
        Ok(LeaveGroupResponse::default().with_members(members.collect()))
    }
}
