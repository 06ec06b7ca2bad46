//! The configuration table: every option that Millrace knows, with Kafka's name and meaning. The broker's settings,
//! DescribeConfigs, the operator's validation and the documentation all come from here.
//!
//! Each kind of resource has its own table, because some names occur in several. An option that is not set on a topic
//! or group takes the value of its broker synonyms: see [`effective_value`].

pub mod option;
pub mod properties;
pub mod reference;
mod safety;
mod table;
pub mod values;

pub use option::{ConfigOption, Dynamic, Effect, Kind, Synonym};
pub use safety::{check_group, check_safety, check_topic};
pub use values::{Effective, Layer, Setting, Values, broker_settings, effective_value, settings};

/// Identifies a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Broker,
    Topic,
    Group,
    ClientMetrics,
}

/// A value that its option accepts.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    /// For options with whole numbers; within the range of the option's type.
    Number(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown option {name}{}", suggestion(*.nearest))]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("{name}: {raw:?} is not {expected}")]
    Type { name: &'static str, raw: String, expected: &'static str },
    #[error("{name}: {raw} is less than {min}")]
    TooSmall { name: &'static str, raw: String, min: i64 },
    #[error("{name}: {raw} is more than {max}")]
    TooLarge { name: &'static str, raw: String, max: i64 },
    #[error("{name}: {raw:?} is none of {}", choices.join(", "))]
    Choice { name: &'static str, raw: String, choices: &'static [&'static str] },
    /// It would be unsafe to ignore.
    #[error("{name}={raw}: {reason}")]
    Refused { name: String, raw: String, reason: String },
    #[error("{name} cannot be changed while the broker runs: set it in its file and restart it")]
    ReadOnly { name: &'static str },
    #[error("{name} cannot be set for all brokers at once: name one")]
    PerBroker { name: &'static str },
    #[error("{name} has one value for all brokers: set it without a broker's id")]
    ClusterOnly { name: &'static str },
    /// `relation` says how the first is to stand to the other.
    #[error("{name}={raw} does not go with {other}={limit}: it must be {relation}")]
    Contradiction { name: &'static str, raw: String, other: &'static str, limit: String, relation: &'static str },
}

impl ConfigError {
    /// Kafka accepts unknown names in a file, with a warning.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Every option of one table, in the order of the reference page.
pub fn options(scope: Scope) -> impl Iterator<Item = &'static ConfigOption> {
    match scope {
        Scope::Broker => table::BROKER,
        Scope::Topic => table::TOPIC,
        Scope::Group => table::GROUP,
        Scope::ClientMetrics => table::CLIENT_METRICS,
    }
    .iter()
    .flat_map(|group| group.iter())
}

pub fn lookup(scope: Scope, name: &str) -> Option<&'static ConfigOption> {
    options(scope).find(|option| option.name == name)
}

/// The known name that is most similar to `name`, if any is similar at all.
pub fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    const SIMILARITY_MIN: f64 = 0.8;
    let similarity = |option: &ConfigOption| strsim::normalized_damerau_levenshtein(option.name, name);
    let (nearest, similarity) =
        options(scope).map(|option| (option.name, similarity(option))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (SIMILARITY_MIN <= similarity).then_some(nearest)
}

/// Checks a single setting. Relations between settings are left to [`check_safety`], [`check_topic`] and
/// [`check_group`].
pub fn validate(scope: Scope, name: &str, raw: &str) -> Result<Value, ConfigError> {
    let Some(option) = lookup(scope, name) else {
        if let Some(reason) = safety::refused_prefix(name) {
            return Err(ConfigError::Refused { name: name.to_owned(), raw: raw.to_owned(), reason: reason.to_owned() });
        }
        return Err(ConfigError::Unknown { name: name.to_owned(), nearest: nearest(scope, name) });
    };
    option.parse(raw)
}

/// As [`validate`], for a broker option that is changed at run time, in one of the dynamic layers.
pub fn validate_dynamic(layer: Layer, name: &str, raw: &str) -> Result<Value, ConfigError> {
    if let Some(option) = lookup(Scope::Broker, name) {
        let name = option.name;
        match (option.dynamic, layer) {
            (Dynamic::ReadOnly | Dynamic::Restart, _) => return Err(ConfigError::ReadOnly { name }),
            (Dynamic::WithController | Dynamic::ByController, Layer::DynamicDefault) => {
                return Err(ConfigError::PerBroker { name });
            }
            (Dynamic::ClusterOnly, Layer::DynamicBroker) => return Err(ConfigError::ClusterOnly { name }),
            _ => {}
        }
    }
    validate(Scope::Broker, name, raw)
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
