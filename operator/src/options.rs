//! The broker options that a manifest may set. Names, types and ranges are Kafka's, from the table that the broker
//! uses.

use std::collections::BTreeMap;

use protocol::config::{ConfigError, Dynamic, Scope, Values, check_safety, lookup, validate};

/// Options that the operator renders itself, and the field to use instead.
const OWNED: [(&str, &str); 14] = [
    ("advertised.listeners", "use spec.listeners instead"),
    ("broker.id", "it is the pod's ordinal"),
    ("broker.rack", "it is the zone of the broker's node"),
    ("controller.listener.names", "it is fixed"),
    ("controller.quorum.bootstrap.servers", "it follows from spec.controllers"),
    ("controller.quorum.voters", "it follows from spec.controllers"),
    ("inter.broker.listener.name", "it is fixed"),
    ("listener.security.protocol.map", "use spec.listeners instead"),
    ("listeners", "use spec.listeners instead"),
    ("log.dir", "use spec.storage instead"),
    ("log.dirs", "use spec.storage instead"),
    ("metadata.log.dir", "the metadata log is on the broker's volume"),
    ("node.id", "it is the pod's ordinal"),
    ("process.roles", "use spec.controllers instead"),
];

const OWNED_PREFIXES: [&str; 4] = ["config.providers", "millrace.format", "millrace.management.", "millrace.rack."];

/// Topics cannot have more replicas than there are brokers, not even those of groups.
const REPLICATION_FACTORS: [&str; 4] = [
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.replication.factor",
];

/// Whether the option has one value in the metadata that all brokers follow without a restart. A file's value counts
/// at most for the first start of a cluster.
pub fn is_dynamic(name: &str) -> bool {
    lookup(Scope::Broker, name)
        .is_some_and(|option| matches!(option.dynamic, Dynamic::ClusterWide | Dynamic::ClusterOnly))
}

/// Whether two notations of a value are equal.
pub fn same(name: &str, one: &str, other: &str) -> bool {
    let value = |raw: &str| validate(Scope::Broker, name, raw).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}

/// Whether the option may be set to this value on so many brokers; otherwise what is wrong.
pub fn check(name: &str, raw: &str, brokers: i32) -> Result<(), String> {
    if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return Err(format!("set by the operator; {instead}"));
    }
    if OWNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err("set by the operator; remove it".to_owned());
    }
    validate(Scope::Broker, name, raw).map_err(explain)?;
    let replicas = raw.trim().parse().ok().filter(|_| REPLICATION_FACTORS.contains(&name));
    match replicas {
        Some(replicas) if brokers < replicas => {
            Err(format!("{replicas} replicas need as many brokers; spec.replicas is {brokers}"))
        }
        _ => Ok(()),
    }
}

/// The options, each of them valid, that a broker refuses at its start because of another one: their names, and what is
/// wrong. What is not given has the broker's default.
pub fn check_all(config: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let settings = config.iter().map(|(name, raw)| (name.as_str(), raw.as_str()));
    let crossed = |error: ConfigError| match error {
        ConfigError::Contradiction { name, .. } => Some((name, explain(error))),
        _ => None,
    };
    check_safety(&Values::parse(Scope::Broker, settings).0).into_iter().filter_map(crossed).collect()
}

/// The error without the name, which is in the field already.
fn explain(error: ConfigError) -> String {
    match error {
        ConfigError::Unknown { nearest: Some(nearest), .. } => format!("unknown option; did you mean {nearest}?"),
        ConfigError::Unknown { nearest: None, .. } => "unknown option".to_owned(),
        ConfigError::Type { raw, expected, .. } => format!("{raw:?} is not {expected}"),
        ConfigError::TooSmall { raw, min, .. } => format!("{raw} is less than {min}"),
        ConfigError::TooLarge { raw, max, .. } => format!("{raw} is more than {max}"),
        ConfigError::Choice { raw, choices, .. } => format!("{raw:?} is none of {}", choices.join(", ")),
        ConfigError::Refused { reason, .. } => reason,
        ConfigError::Contradiction { raw, other, limit, relation, .. } => {
            format!("{raw} does not go with {other}={limit}: it must be {relation}")
        }
        // Concerns changes at run time.
        error @ (ConfigError::ReadOnly { .. } | ConfigError::PerBroker { .. } | ConfigError::ClusterOnly { .. }) => {
            error.to_string()
        }
    }
}
