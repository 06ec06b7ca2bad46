//! Shared by the configuration APIs: kinds of resources, config sources, and changes.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use protocol::config::{Layer, Scope};
use protocol::metadata_records::ConfigResourceType;

use super::Broker;
use super::errors::KafkaError;
use crate::controller::{ConfigChange, ConfigEdit, Others};
use crate::metadata::ConfigResource;

/// A resource as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WireResource {
    pub(super) kind: i8,
    pub(super) name: StrBytes,
}

/// Error code and message of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    pub(super) message: String,
}

/// The changes a request asks for one resource: edits by option name.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) resource: WireResource,
    pub(super) edits: Vec<(String, Result<ConfigEdit, Refusal>)>,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { error: ResponseError::InvalidRequest, message: message.into() }
    }

    pub(super) fn repeated() -> Self {
        Self::invalid("the resource is in the request more than once")
    }

    /// Error code and message of a response; 0 and none if nothing was refused.
    pub(super) fn told(refusal: Option<Self>) -> (i16, Option<StrBytes>) {
        refusal.map_or((0, None), |Self { error, message }| (error.code(), Some(StrBytes::from_string(message))))
    }

    pub(super) fn of(error: &(impl KafkaError + ToString)) -> Self {
        Self { error: error.kafka_error(), message: error.to_string() }
    }
}

impl WireResource {
    pub(super) fn kind(&self) -> Result<ConfigResourceType, Refusal> {
        resource_type(self.kind).ok_or_else(|| Refusal::invalid(format!("unknown resource type {}", self.kind)))
    }
}

pub(super) const RESOURCE_TYPES: [ConfigResourceType; 5] = [
    ConfigResourceType::Topic,
    ConfigResourceType::Broker,
    ConfigResourceType::BrokerLogger,
    ConfigResourceType::ClientMetrics,
    ConfigResourceType::Group,
];

pub(super) fn resource_type(code: i8) -> Option<ConfigResourceType> {
    RESOURCE_TYPES.into_iter().find(|kind| *kind as i8 == code)
}

/// `DescribeConfigsResponse.ConfigSource` of Kafka's protocol, for an option of a resource of this scope.
pub(super) fn wire_source(scope: Scope, layer: Layer) -> i8 {
    match (layer, scope) {
        (Layer::Own, Scope::Group) => 8,
        (Layer::Own, Scope::ClientMetrics) => 7,
        (Layer::Own, Scope::Topic | Scope::Broker) => 1,
        (Layer::DynamicBroker, _) => 2,
        (Layer::DynamicDefault, _) => 3,
        (Layer::Static, _) => 4,
        (Layer::Default, _) => 5,
    }
}

/// Resources that a request names more than once.
pub(super) fn repeated<'a>(resources: impl Iterator<Item = &'a WireResource>) -> HashSet<WireResource> {
    let mut seen = HashSet::new();
    resources.filter(|resource| !seen.insert(*resource)).cloned().collect()
}

impl Broker {
    /// A broker id must be this broker's: clients send such requests to the broker itself.
    pub(super) fn check_addressee(&self, name: &str) -> Result<(), Refusal> {
        let own = self.config.broker_id;
        match name.parse::<i32>() {
            Ok(id) if id == own.0 => Ok(()),
            Ok(_) => Err(Refusal::invalid(format!("this is broker {own}: ask broker {name} itself"))),
            Err(_) => Err(Refusal::invalid(format!("{name:?} is not the number of a broker"))),
        }
    }

    /// The results, in the order of the request.
    pub(super) async fn alter(
        &self,
        asked: Vec<Asked>,
        others: Others,
        validate_only: bool,
    ) -> Vec<(WireResource, Option<Refusal>)> {
        let repeated = repeated(asked.iter().map(|asked| &asked.resource));
        let (mut changes, mut outcomes) = (Vec::new(), Vec::with_capacity(asked.len()));
        for asked in asked {
            let resource = asked.resource.clone();
            let change = if repeated.contains(&resource) { Err(Refusal::repeated()) } else { change(asked, others) };
            outcomes.push((resource, change.map(|change| changes.push(change)).err()));
        }
        let sent = changes.len();
        let decided = match self.controller.alter_configs(changes, validate_only).await {
            Ok(results) => results.into_iter().map(|result| result.err().as_ref().map(Refusal::of)).collect(),
            Err(error) => vec![Some(Refusal::of(&error)); sent],
        };
        let waiting = outcomes.iter_mut().filter(|(_, refusal)| refusal.is_none());
        for ((_, outcome), refusal) in waiting.zip(decided) {
            *outcome = refusal;
        }
        outcomes
    }
}

fn change(asked: Asked, others: Others) -> Result<ConfigChange, Refusal> {
    let mut seen = HashSet::new();
    if let Some((name, _)) = asked.edits.iter().find(|(name, _)| !seen.insert(name)) {
        return Err(Refusal::invalid(format!("{name} is in the request more than once")));
    }
    let edits = asked.edits.into_iter().map(|(name, edit)| Ok((name, edit?)));
    let edits = edits.collect::<Result<_, Refusal>>()?;
    let kind = asked.resource.kind()?;
    let resource = ConfigResource { kind, name: asked.resource.name.to_string() };
    Ok(ConfigChange { resource, edits, others })
}
