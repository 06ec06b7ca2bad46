//! JoinGroup: answered when the generation begins.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use super::groups::{NO_GENERATION, claim, copied, text};
use super::{Broker, Request, RequestError, errors};
use crate::coordinator::{Client, GroupError, JoinRequest, Joined, MemberId, Protocol};

/// First version with a rebalance timeout.
const VERSION_WITH_REBALANCE_TIMEOUT: i16 = 1;
/// First version that must join again with the id it is given (KIP-394).
const VERSION_WITH_REQUIRED_ID: i16 = 4;
/// First version in which the protocol of a response may be null.
const VERSION_WITH_NULL_PROTOCOL: i16 = 7;
/// First version that supports skipping the assignment (KIP-814).
const VERSION_WITH_SKIPPED_ASSIGNMENT: i16 = 9;

impl Broker {
    pub(super) async fn join_group(&self, request: &mut Request<'_>) -> Result<JoinGroupResponse, RequestError> {
        let body: JoinGroupRequest = request.decode()?;
        let (version, group, member) = (request.version, body.group_id.to_string(), body.member_id.to_string());
        let join = join_request(body, request);
        let joined = request.answer_of(self.groups.join(&group, join)).await;
        let protocol_missing = if version < VERSION_WITH_NULL_PROTOCOL { Some(text(String::new())) } else { None };
        Ok(match joined {
            Ok(joined) => {
                let response = response(joined);
                if response.protocol_name.is_none() { response.with_protocol_name(protocol_missing) } else { response }
            }
            Err(error) => JoinGroupResponse::default()
                .with_error_code(errors::of_generation(&error).code())
                .with_generation_id(NO_GENERATION)
                .with_protocol_name(protocol_missing)
                .with_member_id(text(member_id(error, member))),
        })
    }
}

/// Copies what it keeps of the request: a join may wait for minutes.
fn join_request(body: JoinGroupRequest, request: &Request<'_>) -> JoinRequest {
    let version = request.version;
    let protocol = |protocol: JoinGroupRequestProtocol| Protocol {
        name: protocol.name.to_string(),
        metadata: copied(&protocol.metadata),
    };
    let client = Client { id: request.client_id.clone(), host: format!("/{}", request.context.client) };
    JoinRequest {
        member: claim(&body.member_id, body.group_instance_id.as_ref()),
        client,
        session_timeout_ms: body.session_timeout_ms,
        rebalance_timeout_ms: if VERSION_WITH_REBALANCE_TIMEOUT <= version {
            body.rebalance_timeout_ms
        } else {
            body.session_timeout_ms
        },
        protocol_type: body.protocol_type.to_string(),
        protocols: body.protocols.into_iter().map(protocol).collect(),
        fresh_id: Uuid::new_v4(),
        id_required: VERSION_WITH_REQUIRED_ID <= version,
        can_skip_assignment: VERSION_WITH_SKIPPED_ASSIGNMENT <= version,
    }
}

/// The id to join with from now on.
fn member_id(error: GroupError, asked: String) -> String {
    match error {
        GroupError::MemberIdRequired(MemberId(id)) => id,
        GroupError::GroupFull { .. } => String::new(),
        _ => asked,
    }
}

fn response(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id.0))
            .with_group_instance_id(member.instance.map(text))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation.0)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(joined.protocol.map(text))
        .with_leader(text(joined.leader.0))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member.0))
        .with_members(members.collect())
}
