//! Where settings come from: `--dev`, a properties file, `--set`. Later ones win.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use protocol::config::properties::{self, InterpolationError, PropertiesError};
use protocol::config::{self, ConfigError, Scope, Values};

/// A single broker on this machine, without a file.
const DEV: [(&str, &str); 16] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.quorum.voters", "1@127.0.0.1:9093"),
    ("listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("log.dirs", "millrace-data"),
    ("millrace.management.listener", "127.0.0.1:9095"),
    ("default.replication.factor", "1"),
    ("min.insync.replicas", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
];

#[derive(Debug)]
pub(crate) struct LoadedSettings {
    pub(crate) values: Values,
    /// Unknown names in the file: a start only warns of them, as Kafka does.
    pub(crate) warnings: Vec<ConfigError>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Properties { path: PathBuf, source: PropertiesError },
    #[error("{name}: {source}")]
    Interpolation { name: String, source: InterpolationError },
    #[error("--set {0:?} is not name=value")]
    NotAnAssignment(String),
    #[error("{}", lines(.0))]
    Invalid(Vec<ConfigError>),
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn dev_settings() -> Vec<(String, String)> {
    DEV.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `base` first, then the file, then `assignments` of the form `name=value`.
pub(crate) fn load(
    base: Vec<(String, String)>,
    file: Option<&Path>,
    assignments: &[String],
) -> Result<LoadedSettings, SettingsError> {
    let mut settings = base;
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| SettingsError::Io { path: path.to_owned(), source })?;
        let parsed =
            properties::parse(&text).map_err(|source| SettingsError::Properties { path: path.to_owned(), source })?;
        settings.extend(parsed);
    }
    let from_file = settings.len();
    for assignment in assignments {
        let (name, value) =
            assignment.split_once('=').ok_or_else(|| SettingsError::NotAnAssignment(assignment.clone()))?;
        settings.push((name.trim().to_owned(), value.to_owned()));
    }
    let environment: HashMap<String, String> = std::env::vars().collect();
    check(settings, from_file, |name| environment.get(name).cloned())
}

/// Unknown names are allowed among the first `lenient` settings.
fn check(
    settings: Vec<(String, String)>,
    lenient: usize,
    env: impl Fn(&str) -> Option<String>,
) -> Result<LoadedSettings, SettingsError> {
    let mut values = Values::defaults(Scope::Broker);
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for (index, (name, raw)) in settings.into_iter().enumerate() {
        let raw = properties::interpolate(&raw, &env)
            .map_err(|source| SettingsError::Interpolation { name: name.clone(), source })?;
        match values.set(&name, &raw) {
            Ok(()) => {}
            Err(error) if error.is_unknown() && index < lenient => warnings.push(error),
            Err(error) => errors.push(error),
        }
    }
    errors.extend(config::check_safety(&values));
    if errors.is_empty() { Ok(LoadedSettings { values, warnings }) } else { Err(SettingsError::Invalid(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn unknown_names_are_a_warning_in_a_file_and_an_error_on_the_command_line() {
        let unknown = settings(&[("log.retention.hour", "1")]);
        let loaded = check(unknown.clone(), 1, |_| None).unwrap();
        assert_eq!(
            loaded.warnings[0].to_string(),
            "unknown option log.retention.hour; did you mean log.retention.hours?"
        );
        assert!(matches!(check(unknown, 0, |_| None), Err(SettingsError::Invalid(errors)) if errors.len() == 1));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let error = check(settings(&[("num.partitions", "x"), ("node.id", "y")]), 2, |_| None).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 2, "{error}");
    }

    #[test]
    fn values_come_from_the_environment_where_asked_for() {
        let host = |name: &str| (name == "HOST_IP").then(|| "10.0.0.1".to_owned());
        let loaded = check(
            settings(&[
                ("advertised.listeners", "A://${env:HOST_IP}:1"),
                ("listeners", "A://:1"),
                ("listener.security.protocol.map", "A:PLAINTEXT"),
            ]),
            3,
            host,
        );
        assert_eq!(loaded.unwrap().values.get_list("advertised.listeners"), ["A://10.0.0.1:1"]);
    }

    #[test]
    fn dev_settings_are_valid() {
        let loaded = check(dev_settings(), 0, |_| None).unwrap();
        assert!(loaded.warnings.is_empty());
        crate::config::BrokerConfig::from_values(loaded.values, "localhost").unwrap();
    }
}
