//! DescribeGroups.

use std::collections::HashSet;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::errors::KafkaError as _;
use super::groups::{state_name, text};
use super::{Broker, Request, RequestError, authorized_operations};
use crate::coordinator::{GroupDescription, GroupError, MemberDescription};

/// First version in which an unknown group is an error (KIP-1043).
const VERSION_WITH_NOT_FOUND: i16 = 6;
/// The state of an unknown group.
const DEAD: &str = "Dead";

impl Broker {
    pub(super) async fn describe_groups(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeGroupsResponse, RequestError> {
        let mut body: DescribeGroupsRequest = request.decode()?;
        // Each once, however often it is named: groups may be large.
        let mut named = HashSet::new();
        body.groups.retain(|id| named.insert(id.clone()));
        let mut groups = Vec::with_capacity(body.groups.len());
        for id in body.groups {
            let group = match request.answer_of(self.groups.describe(&id)).await {
                Ok(description) if body.include_authorized_operations => {
                    described(description).with_authorized_operations(authorized_operations::of_group())
                }
                Ok(description) => described(description),
                Err(error) => failed(&error, request.version),
            };
            groups.push(group.with_group_id(id));
        }
        Ok(DescribeGroupsResponse::default().with_groups(groups))
    }
}

fn described(group: GroupDescription) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(state_name(group.state)))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(group.members.into_iter().map(member).collect())
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.id.0))
        .with_group_instance_id(member.instance.map(text))
        .with_client_id(text(member.client.id))
        .with_client_host(text(member.client.host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn failed(error: &GroupError, version: i16) -> DescribedGroup {
    let is_missing = *error == GroupError::GroupNotFound;
    let group = DescribedGroup::default();
    let group = if is_missing { group.with_group_state(StrBytes::from_static_str(DEAD)) } else { group };
    match version {
        ..VERSION_WITH_NOT_FOUND if is_missing => group,
        ..VERSION_WITH_NOT_FOUND => group.with_error_code(error.code()),
        _ => group.with_error_code(error.code()).with_error_message(Some(text(error.to_string()))),
    }
}
