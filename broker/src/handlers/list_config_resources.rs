//! ListConfigResources (KIP-1142): the resources that can be described. Version 0 has client metrics subscriptions
//! only.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource as Listed;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::metadata_records::ConfigResourceType;

use super::configs::{RESOURCE_TYPES, resource_type};
use super::{Broker, Request, RequestError};
use crate::metadata::Image;

impl Broker {
    pub(super) fn list_config_resources(
        &self,
        request: &mut Request<'_>,
    ) -> Result<ListConfigResourcesResponse, RequestError> {
        let body: ListConfigResourcesRequest = request.decode()?;
        let wanted: Option<BTreeSet<_>> = if request.version == 0 {
            Some([ConfigResourceType::ClientMetrics].into())
        } else if body.resource_types.is_empty() {
            Some(RESOURCE_TYPES.into())
        } else {
            body.resource_types.into_iter().map(resource_type).collect()
        };
        let Some(wanted) = wanted else {
            let error = ResponseError::UnsupportedVersion.code();
            return Ok(ListConfigResourcesResponse::default().with_error_code(error));
        };
        let image = self.image.load();
        let resources =
            wanted.into_iter().flat_map(|kind| names(&image, kind).into_iter().map(move |name| (kind, name)));
        let listed = resources.map(|(kind, name)| {
            Listed::default().with_resource_name(StrBytes::from_string(name)).with_resource_type(kind as i8)
        });
        Ok(ListConfigResourcesResponse::default().with_config_resources(listed.collect()))
    }
}

/// All topics and brokers; groups and subscriptions only if something is set for them.
fn names(image: &Image, kind: ConfigResourceType) -> Vec<String> {
    match kind {
        ConfigResourceType::Topic => image.topic_ids.keys().cloned().collect(),
        ConfigResourceType::Broker => image.active_brokers().map(|(id, _)| id.to_string()).collect(),
        // Broker loggers can be neither described nor changed.
        ConfigResourceType::BrokerLogger => Vec::new(),
        ConfigResourceType::ClientMetrics | ConfigResourceType::Group => {
            let set: BTreeSet<_> = image.configs.keys().filter(|resource| resource.kind == kind).collect();
            set.into_iter().map(|resource| resource.name.clone()).collect()
        }
    }
}
