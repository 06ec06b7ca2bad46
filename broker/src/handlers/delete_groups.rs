//! DeleteGroups: deletes groups with their offsets.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn delete_groups(&self, request: &mut Request<'_>) -> Result<DeleteGroupsResponse, RequestError> {
        let body: DeleteGroupsRequest = request.decode()?;
        let mut results = Vec::with_capacity(body.groups_names.len());
        for id in body.groups_names {
            let deleted = request.answer_of(self.groups.delete(&id)).await;
            let code = deleted.err().map_or(0, |error| error.code());
            results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
        }
        Ok(DeleteGroupsResponse::default().with_results(results))
    }
}
