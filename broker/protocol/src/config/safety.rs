//! Settings that would be unsafe to ignore. Refused until they are implemented, so that nobody believes a cluster to
//! be protected that is not.

use super::{ConfigError, Values};

const SECURED: &str = "only PLAINTEXT listeners are implemented, so this would leave the cluster open";

/// Families of names that are not in the table one by one.
pub(super) fn refused_prefix(name: &str) -> Option<&'static str> {
    const PREFIXES: [(&str, &str); 5] = [
        ("ssl.", SECURED),
        ("sasl.", SECURED),
        ("listener.name.", "options for a single listener are not implemented"),
        ("delegation.token.", "delegation tokens are not implemented"),
        ("super.users", "there is no authorizer"),
    ];
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reason)| *reason)
}

/// What only several broker settings together show.
pub fn check_safety(broker: &Values) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if 1 < broker.get_list("log.dirs").len() {
        errors.push(refused(broker, "log.dirs", "a broker has one data directory".to_owned()));
    }
    for listener in broker.get_list("listeners") {
        let name = listener.split_once("://").map_or(listener.as_str(), |(name, _)| name);
        match protocol(broker, name) {
            Some(protocol) if protocol.eq_ignore_ascii_case("PLAINTEXT") => {}
            Some(protocol) => {
                let reason = format!("listener {name} uses {protocol}: {SECURED}");
                errors.push(refused(broker, "listener.security.protocol.map", reason));
            }
            None => {
                let reason = format!("listener {name} has no security protocol: add {name}:PLAINTEXT");
                errors.push(refused(broker, "listener.security.protocol.map", reason));
            }
        }
    }
    errors
}

/// The listener's entry in the map. As in Kafka, controller listeners need none where the map is not set.
fn protocol<'a>(broker: &'a Values, listener: &str) -> Option<&'a str> {
    let entries = broker.get_list("listener.security.protocol.map").iter().filter_map(|entry| entry.split_once(':'));
    let found = entries.clone().find(|(name, _)| name.trim().eq_ignore_ascii_case(listener));
    let is_controller = || broker.get_list("controller.listener.names").iter().any(|name| name == listener);
    match found {
        Some((_, protocol)) => Some(protocol.trim()),
        None if !broker.is_set("listener.security.protocol.map") && is_controller() => Some("PLAINTEXT"),
        None => None,
    }
}

fn refused(broker: &Values, name: &str, reason: String) -> ConfigError {
    ConfigError::Refused { name: name.to_owned(), raw: broker.raw(name).unwrap_or_default().to_owned(), reason }
}
