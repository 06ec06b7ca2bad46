//! IncrementalAlterConfigs (KIP-339): sets or deletes single options, or adds to and removes from lists.

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::configs::{Asked, Refusal, WireResource};
use super::{Broker, Request, RequestError};
use crate::controller::{ConfigEdit, Others};

impl Broker {
    pub(super) async fn incremental_alter_configs(
        &self,
        request: &mut Request<'_>,
    ) -> Result<IncrementalAlterConfigsResponse, RequestError> {
        let body: IncrementalAlterConfigsRequest = request.decode()?;
        let asked = body.resources.into_iter().map(asked).collect();
        let outcomes = self.alter(asked, Others::Kept, body.validate_only).await;
        let responses = outcomes.into_iter().map(|(resource, refusal)| {
            let (code, message) = Refusal::told(refusal);
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.kind)
                .with_resource_name(resource.name)
                .with_error_code(code)
                .with_error_message(message)
        });
        Ok(IncrementalAlterConfigsResponse::default().with_responses(responses.collect()))
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
    let value = config.value.map(|value| value.to_string());
    let value = value.ok_or_else(|| Refusal::invalid(format!("{} needs a value", name.as_str())));
    match config.config_operation {
        0 => value.map(ConfigEdit::Set),
        1 => Ok(ConfigEdit::Delete),
        2 => value.map(ConfigEdit::Append),
        3 => value.map(ConfigEdit::Subtract),
        other => Err(Refusal::invalid(format!("{}: there is no operation {other}", name.as_str()))),
    }
}
