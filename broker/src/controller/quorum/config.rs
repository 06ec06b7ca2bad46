//! Raft's configuration.

use std::time::Duration;

use protocol::config::Values;
use protocol::types::{BrokerId, DirectoryId};
use raft::{Address, Config, Endpoint, ReplicaKey, Timing};

use crate::config::{BrokerConfig, ListenerKind};

/// How long a leader holds back a fetch for which it has nothing new, unless the fetcher's own limit is shorter.
const FETCH_WAIT_MAX: Duration = Duration::from_millis(500);
/// Without a backoff a core would be busy while a leader restarts.
const RETRY_BACKOFF_MIN: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {entry:?} is not {expected}")]
pub(crate) struct InvalidController {
    option: &'static str,
    entry: String,
    expected: &'static str,
}

pub(in crate::controller) fn raft_config(
    config: &BrokerConfig,
    directory_id: DirectoryId,
) -> Result<Config, InvalidController> {
    let values = &config.values;
    let controllers = config.listeners.iter().filter(|listener| listener.kind == ListenerKind::Controller);
    let endpoints = controllers.map(|listener| Endpoint {
        name: listener.name.clone(),
        address: Address { host: listener.advertised.host.clone(), port: listener.advertised.port },
    });
    Ok(Config {
        local: ReplicaKey { id: config.broker_id, directory_id },
        endpoints: endpoints.collect(),
        listener: values.get_list("controller.listener.names").first().cloned().unwrap_or_default(),
        bootstrap: bootstrap(values, config.broker_id)?,
        timing: timing(values),
    })
}

pub(in crate::controller) fn request_timeout(values: &Values) -> Duration {
    values.get_millis("controller.quorum.request.timeout.ms")
}

fn timing(values: &Values) -> Timing {
    let (fetch_timeout, request_timeout) =
        (values.get_millis("controller.quorum.fetch.timeout.ms"), request_timeout(values));
    Timing {
        election_timeout: values.get_millis("controller.quorum.election.timeout.ms"),
        fetch_timeout,
        election_backoff_max: values.get_millis("controller.quorum.election.backoff.max.ms"),
        request_timeout,
        retry_backoff: values.get_millis("controller.quorum.retry.backoff.ms").max(RETRY_BACKOFF_MIN),
        fetch_wait_max: FETCH_WAIT_MAX.min(fetch_timeout.min(request_timeout) / 2),
    }
}

/// Where to look for the quorum: both options' addresses, without this node.
fn bootstrap(values: &Values, own: BrokerId) -> Result<Vec<Address>, InvalidController> {
    let mut found = Vec::new();
    for entry in values.get_list("controller.quorum.bootstrap.servers") {
        let option = "controller.quorum.bootstrap.servers";
        let invalid = || InvalidController { option, entry: entry.clone(), expected: "host:port" };
        found.push(address(entry).ok_or_else(invalid)?);
    }
    for entry in values.get_list("controller.quorum.voters") {
        let option = "controller.quorum.voters";
        let invalid = || InvalidController { option, entry: entry.clone(), expected: "id@host:port" };
        let (id, rest) = entry.split_once('@').ok_or_else(invalid)?;
        let id: i32 = id.parse().map_err(|_| invalid())?;
        let address = address(rest).ok_or_else(invalid)?;
        if BrokerId(id) != own && !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use protocol::config::Scope;

    use super::*;

    fn found(settings: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let (values, errors) = Values::parse(Scope::Broker, settings.iter().copied());
        assert!(errors.is_empty(), "{errors:?}");
        let found = bootstrap(&values, BrokerId(1)).map_err(|error| error.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_idle_leader_answers_before_anybody_gives_up() {
        for (option, expected) in [
            ("controller.quorum.fetch.timeout.ms", Duration::from_millis(150)),
            ("controller.quorum.request.timeout.ms", Duration::from_millis(150)),
            ("controller.quorum.election.timeout.ms", FETCH_WAIT_MAX),
        ] {
            let (values, errors) = Values::parse(Scope::Broker, [(option, "300")]);
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(timing(&values).fetch_wait_max, expected, "{option}");
        }
    }

    #[test]
    fn the_quorum_is_looked_for_at_both_lists_but_not_here() {
        let both = [
            ("controller.quorum.bootstrap.servers", "a:9093,b:9093"),
            ("controller.quorum.voters", "1@own:9093,2@b:9093,3@[::1]:9093"),
        ];
        assert_eq!(found(&both), Ok(vec!["a:9093".to_owned(), "b:9093".to_owned(), "::1:9093".to_owned()]));
        for bad in ["a", ":9093", "a:99999"] {
            assert!(found(&[("controller.quorum.bootstrap.servers", bad)]).is_err(), "{bad}");
        }
        let message = "controller.quorum.voters: \"b:9093\" is not id@host:port";
        assert_eq!(found(&[("controller.quorum.voters", "b:9093")]), Err(message.to_owned()));
    }
}
