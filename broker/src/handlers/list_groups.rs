//! ListGroups: the groups that this broker coordinates.

use std::collections::BTreeSet;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::errors::KafkaError as _;
use super::groups::{state_name, text};
use super::{Broker, Request, RequestError};

const CLASSIC: &str = "classic";

impl Broker {
    pub(super) async fn list_groups(&self, request: &mut Request<'_>) -> Result<ListGroupsResponse, RequestError> {
        let body: ListGroupsRequest = request.decode()?;
        let listed = match request.answer_of(self.groups.list()).await {
            Ok(listed) => listed,
            Err(error) => return Ok(ListGroupsResponse::default().with_error_code(error.code())),
        };
        let filter = |wanted: &[StrBytes]| wanted.iter().map(|one| one.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        let (states, types) = (filter(&body.states_filter), filter(&body.types_filter));
        let passes =
            |filter: &BTreeSet<String>, value: &str| filter.is_empty() || filter.contains(&value.to_ascii_lowercase());
        let groups =
            listed.into_iter().filter(|group| passes(&states, state_name(group.state)) && passes(&types, CLASSIC));
        let groups = groups.map(|group| {
            ListedGroup::default()
                .with_group_id(GroupId(text(group.id)))
                .with_protocol_type(text(group.protocol_type))
                .with_group_state(StrBytes::from_static_str(state_name(group.state)))
                .with_group_type(StrBytes::from_static_str(CLASSIC))
        });
        Ok(ListGroupsResponse::default().with_groups(groups.collect()))
    }
}
