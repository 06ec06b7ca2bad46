//! Changes of the configuration: from requests to records. Pure.

use imbl::OrdMap;
use protocol::config::{self, ConfigError, ConfigOption, Dynamic, Kind, Layer, Scope, Value, Values};
use protocol::metadata_records::{ConfigResourceType, MetadataRecord};
use protocol::types::BrokerId;

use super::topics::is_legal_topic_name;
use crate::metadata::{ConfigResource, Image};

/// Kafka's limit of records per request.
const RECORDS_MAX: usize = 10_000;
/// Kafka does not read longer values.
const VALUE_LENGTH_MAX: usize = 32_767;

/// The changes requested for one resource: all of them are made or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    pub(crate) resource: ConfigResource,
    /// By option name, each once.
    pub(crate) edits: Vec<(String, ConfigEdit)>,
    pub(crate) others: Others,
}

/// What happens to options that are set but not mentioned, except for those that the controller writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    Kept,
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigEdit {
    Set(String),
    Delete,
    /// Adds those of the comma-separated elements that the list does not have.
    Append(String),
    Subtract(String),
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum AlterConfigError {
    #[error("the topic {name:?} does not exist")]
    UnknownTopic { name: String },
    #[error("topic name {name:?} is not legal")]
    IllegalTopicName { name: String },
    #[error("no broker with the id {name} is registered")]
    UnknownBroker { name: String },
    #[error("{0} needs a name")]
    NoName(&'static str),
    #[error("broker {name:?} is not the number of a broker")]
    NotABrokerId { name: String },
    #[error("log levels are set by RUST_LOG at the start: they can be neither described nor changed")]
    BrokerLogger,
    #[error("{name} is not a list: it takes no APPEND and no SUBTRACT")]
    NotAList { name: String },
    #[error("{name}: the value has {length} bytes, at most {VALUE_LENGTH_MAX} can be stored")]
    TooLong { name: String, length: usize },
    #[error("more than {RECORDS_MAX} changes in one request")]
    TooMany,
    /// An invalid option of a topic, group or subscription.
    #[error(transparent)]
    Invalid(ConfigError),
    #[error(transparent)]
    InvalidForBroker(ConfigError),
    #[error("{name} must have a value for all brokers: set another one instead of deleting it")]
    NeededByAll { name: &'static str },
    #[error("{name} is written by the controller alone. {doc}")]
    ByController { name: &'static str, doc: &'static str },
}

pub(crate) type AlterConfigResults = Vec<Result<(), AlterConfigError>>;

/// The records of all valid changes, and the result of each. `file` is what the broker was started with.
pub(super) fn alter_configs(
    image: &Image,
    file: &Values,
    changes: &[ConfigChange],
) -> (Vec<MetadataRecord>, AlterConfigResults) {
    let mut records = Vec::new();
    let mut alter = |change| {
        let made = alter(image, file, change)?;
        if RECORDS_MAX < records.len() + made.len() {
            return Err(AlterConfigError::TooMany);
        }
        records.extend(made);
        Ok(())
    };
    let results = changes.iter().map(&mut alter).collect();
    (records, results)
}

fn alter(image: &Image, file: &Values, change: &ConfigChange) -> Result<Vec<MetadataRecord>, AlterConfigError> {
    let resource = &change.resource;
    let scope = scope_of(resource)?;
    let stored = image.configs.get(resource).cloned().unwrap_or_default();
    let wanted = edit(scope, &stored, change)?;
    let changed = differences(&stored, &wanted);
    for (name, value) in &changed {
        check_value(resource, scope, name, value.as_deref())?;
    }
    check_together(scope, file, &wanted)?;
    check_existence(image, resource)?;
    Ok(changed.into_iter().map(|(name, value)| record(resource, &name, value)).collect())
}

/// The option table for this kind of resource, if such a resource can exist.
pub(crate) fn scope_of(resource: &ConfigResource) -> Result<Scope, AlterConfigError> {
    let name = &resource.name;
    let named = |what, scope| if name.is_empty() { Err(AlterConfigError::NoName(what)) } else { Ok(scope) };
    match resource.kind {
        ConfigResourceType::Topic if name.is_empty() || is_legal_topic_name(name) => named("a topic", Scope::Topic),
        ConfigResourceType::Topic => Err(AlterConfigError::IllegalTopicName { name: name.clone() }),
        ConfigResourceType::Broker if name.is_empty() || broker_id(name).is_some() => Ok(Scope::Broker),
        ConfigResourceType::Broker => Err(AlterConfigError::NotABrokerId { name: name.clone() }),
        ConfigResourceType::BrokerLogger => Err(AlterConfigError::BrokerLogger),
        ConfigResourceType::ClientMetrics => named("a client metrics subscription", Scope::ClientMetrics),
        ConfigResourceType::Group => named("a group", Scope::Group),
    }
}

fn broker_id(name: &str) -> Option<BrokerId> {
    name.parse().ok().filter(|id| 0 <= *id).map(BrokerId)
}

/// The stored options after the edits.
fn edit(
    scope: Scope,
    stored: &OrdMap<String, String>,
    change: &ConfigChange,
) -> Result<OrdMap<String, String>, AlterConfigError> {
    let mut wanted = match change.others {
        Others::Kept => stored.clone(),
        Others::Deleted => {
            let is_kept = |name: &str| config::lookup(scope, name).is_some_and(ConfigOption::is_of_controller);
            let kept = stored.iter().filter(|(name, _)| is_kept(name));
            kept.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
    };
    for (name, edit) in &change.edits {
        let value = match edit {
            ConfigEdit::Set(value) => Some(value.clone()),
            ConfigEdit::Delete => None,
            ConfigEdit::Append(elements) => {
                let mut list = list(scope, stored, name)?;
                let added: Vec<_> = split(elements).filter(|element| !list.contains(element)).collect();
                list.extend(added);
                Some(list.join(","))
            }
            ConfigEdit::Subtract(elements) => {
                let mut list = list(scope, stored, name)?;
                list.retain(|element| !split(elements).any(|other| other == *element));
                Some(list.join(","))
            }
        };
        match value {
            Some(value) => wanted.insert(name.clone(), value),
            None => wanted.remove(name),
        };
    }
    Ok(wanted)
}

/// The elements of the stored list, otherwise of the default.
fn list(scope: Scope, stored: &OrdMap<String, String>, name: &str) -> Result<Vec<String>, AlterConfigError> {
    let option = config::lookup(scope, name).filter(|option| option.kind == Kind::List);
    let option = option.ok_or_else(|| AlterConfigError::NotAList { name: name.to_owned() })?;
    let raw = stored.get(name).map(String::as_str).or(option.default);
    Ok(split(raw.unwrap_or_default()).collect())
}

fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned)
}

/// `None`: the option is no longer set.
fn differences(stored: &OrdMap<String, String>, wanted: &OrdMap<String, String>) -> Vec<(String, Option<String>)> {
    let removed = stored.keys().filter(|name| !wanted.contains_key(*name)).map(|name| (name.clone(), None));
    let set = wanted.iter().filter(|(name, value)| stored.get(*name) != Some(*value));
    removed.chain(set.map(|(name, value)| (name.clone(), Some(value.clone())))).collect()
}

fn check_value(
    resource: &ConfigResource,
    scope: Scope,
    name: &str,
    value: Option<&str>,
) -> Result<(), AlterConfigError> {
    if let Some(option) = config::lookup(scope, name).filter(|option| option.dynamic == Dynamic::ByController) {
        return Err(AlterConfigError::ByController { name: option.name, doc: option.doc });
    }
    let Some(value) = value else { return check_removal(scope, resource, name) };
    let checked: Result<Value, _> = match scope {
        Scope::Broker => {
            let layer = if resource.name.is_empty() { Layer::DynamicDefault } else { Layer::DynamicBroker };
            config::validate_dynamic(layer, name, value).map_err(AlterConfigError::InvalidForBroker)
        }
        Scope::Topic | Scope::Group | Scope::ClientMetrics => {
            config::validate(scope, name, value).map_err(AlterConfigError::Invalid)
        }
    };
    checked?;
    if VALUE_LENGTH_MAX < value.len() {
        return Err(AlterConfigError::TooLong { name: name.to_owned(), length: value.len() });
    }
    Ok(())
}

fn check_removal(scope: Scope, resource: &ConfigResource, name: &str) -> Result<(), AlterConfigError> {
    let option = config::lookup(scope, name).filter(|option| option.dynamic == Dynamic::ClusterOnly);
    match option {
        Some(option) if resource.name.is_empty() => Err(AlterConfigError::NeededByAll { name: option.name }),
        _ => Ok(()),
    }
}

fn check_together(scope: Scope, file: &Values, wanted: &OrdMap<String, String>) -> Result<(), AlterConfigError> {
    let settings = || wanted.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let contradiction = match scope {
        Scope::Topic => config::check_topic(&Values::parse(scope, settings()).0),
        Scope::Group => config::check_group(&Values::parse(scope, settings()).0, file),
        Scope::Broker | Scope::ClientMetrics => None,
    };
    contradiction.map_or(Ok(()), |error| Err(AlterConfigError::Invalid(error)))
}

pub(crate) fn check_existence(image: &Image, resource: &ConfigResource) -> Result<(), AlterConfigError> {
    let name = || resource.name.clone();
    match resource.kind {
        ConfigResourceType::Topic if image.topic(&resource.name).is_none() => {
            Err(AlterConfigError::UnknownTopic { name: name() })
        }
        ConfigResourceType::Broker if broker_id(&resource.name).is_some_and(|id| !image.brokers.contains_key(&id)) => {
            Err(AlterConfigError::UnknownBroker { name: name() })
        }
        _ => Ok(()),
    }
}

/// `None` deletes.
pub(super) fn record(resource: &ConfigResource, name: &str, value: Option<String>) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: resource.kind,
        resource_name: resource.name.clone(),
        name: name.to_owned(),
        value,
    }
}

#[cfg(test)]
#[path = "configs_test.rs"]
mod tests;
