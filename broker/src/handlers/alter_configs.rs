//! AlterConfigs: replaces all options of a resource. IncrementalAlterConfigs has superseded it.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::configs::{Asked, Refusal, WireResource};
use super::{Broker, Request, RequestError};
use crate::controller::{ConfigEdit, Others};

impl Broker {
    pub(super) async fn alter_configs(&self, request: &mut Request<'_>) -> Result<AlterConfigsResponse, RequestError> {
        let body: AlterConfigsRequest = request.decode()?;
        let asked = body.resources.into_iter().map(asked).collect();
        let outcomes = self.alter(asked, Others::Deleted, body.validate_only).await;
        let responses = outcomes.into_iter().map(|(resource, refusal)| {
            let (code, message) = Refusal::told(refusal);
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.kind)
                .with_resource_name(resource.name)
                .with_error_code(code)
                .with_error_message(message)
        });
        Ok(AlterConfigsResponse::default().with_responses(responses.collect()))
    }
}

fn asked(resource: AlterConfigsResource) -> Asked {
    Asked {
        resource: WireResource { kind: resource.resource_type, name: resource.resource_name },
        edits: resource.configs.into_iter().map(|config| (config.name.to_string(), edit(config))).collect(),
    }
}

fn edit(config: AlterableConfig) -> Result<ConfigEdit, Refusal> {
    let name = config.name;
    let value = config.value.ok_or_else(|| Refusal::invalid(format!("{} needs a value", name.as_str())))?;
    Ok(ConfigEdit::Set(value.to_string()))
}
