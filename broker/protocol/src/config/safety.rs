//! Settings that would be unsafe to ignore. Refused until they are implemented, so that a cluster is never less
//! protected than its configuration says.

use super::{ConfigError, Values};

const SECURED: &str = "only PLAINTEXT listeners are implemented, so this would leave the cluster open";

/// Prefixes of names that are not in the table individually.
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

/// Group options, and the broker options with their lower and upper bounds.
const GROUP_BOUNDS: [(&str, &str, &str); 7] = [
    ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    (
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    ("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    (
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
];

/// Checks relations between a topic's settings.
pub fn check_topic(topic: &Values) -> Option<ConfigError> {
    let (least, greatest) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    let crossed = topic.find_long(greatest) < topic.find_long(least);
    crossed.then(|| contradiction((topic, least), AT_MOST, (topic, greatest)))
}

/// Checks a group's settings, besides the bounds set by the broker.
pub fn check_group(group: &Values, broker: &Values) -> Option<ConfigError> {
    GROUP_BOUNDS.iter().filter(|(name, ..)| group.is_set(name)).find_map(|(name, least, greatest)| {
        let value = group.find_long(name);
        let too_small = (value < broker.find_long(least)).then_some((AT_LEAST, least));
        let too_large = || (broker.find_long(greatest) < value).then_some((AT_MOST, greatest));
        let (relation, crossed) = too_small.or_else(too_large)?;
        Some(contradiction((group, name), relation, (broker, crossed)))
    })
}

const AT_LEAST: &str = "at least as much";
const AT_MOST: &str = "at most as much";

fn contradiction(
    (of, name): (&Values, &'static str),
    relation: &'static str,
    (other_of, other): (&Values, &'static str),
) -> ConfigError {
    let raw = |values: &Values, name| values.raw(name).unwrap_or_default().to_owned();
    ConfigError::Contradiction { name, raw: raw(of, name), other, limit: raw(other_of, other), relation }
}

/// Checks relations between broker settings.
pub fn check_safety(broker: &Values) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if 1 < broker.get_list("log.dirs").len() {
        errors.push(refused(broker, "log.dirs", "a broker has one data directory".to_owned()));
    }
    // Every broker would be fenced between two of its heartbeats.
    let (session, heartbeat) = ("broker.session.timeout.ms", "broker.heartbeat.interval.ms");
    if broker.get_int(session) <= broker.get_int(heartbeat) {
        errors.push(contradiction((broker, session), "more", (broker, heartbeat)));
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

/// The listener's entry in the map. As in Kafka, controller listeners need none if the map is not set.
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
