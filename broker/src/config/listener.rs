//! `listeners` and `advertised.listeners`: where the broker listens, and the addresses that it advertises.

use std::fmt;

pub(crate) use protocol::api::Listener as ListenerKind;
use protocol::config::Values;
use protocol::metadata_records::Endpoint;

use super::Roles;

/// Kafka's id of the PLAINTEXT security protocol.
const PLAINTEXT: i16 = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) kind: ListenerKind,
    /// Empty: all addresses of the machine, IPv4 and IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The address given to clients and brokers. Controller listeners are not advertised: the voters have their
    /// addresses.
    pub(crate) advertised: Endpoint,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListenerError {
    #[error("{option}: {entry:?} is not NAME://host:port")]
    Malformed { option: &'static str, entry: String },
    #[error("{option}: {name} stands there twice")]
    Duplicate { option: &'static str, name: String },
    #[error("{option} names {name}, which is not in listeners ({listeners})")]
    Unknown { option: &'static str, name: String, listeners: String },
    #[error("listeners: {0} is the controller's only; clients need a further listener")]
    NoClientListener(String),
    #[error("controller.listener.names is not set: it names the listener that controllers are reached at")]
    NoControllerName,
    #[error("controller.listener.names: none of {names} is in listeners ({listeners}), and this node is a controller")]
    NoControllerListener { names: String, listeners: String },
    #[error("listeners: {0} is in controller.listener.names, but with process.roles=broker this node is no controller")]
    NotAController(String),
    #[error(
        "listeners: {0} is not in controller.listener.names; with process.roles=controller this node serves no clients"
    )]
    NotABroker(String),
    #[error("inter.broker.listener.name: {0} is in controller.listener.names; brokers need a listener that is not")]
    InterBroker(String),
    #[error("listener {0} needs an entry in advertised.listeners: clients cannot connect to {1:?}")]
    NotAdvertisable(String, String),
}

/// `NAME://host:port`, where the host may be empty or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    name: String,
    host: String,
    port: u16,
}

impl Listener {
    /// Reads the listener options; `hostname` replaces an empty host in what is advertised.
    pub(crate) fn from_values(values: &Values, roles: Roles, hostname: &str) -> Result<Vec<Self>, ListenerError> {
        let bound = addresses("listeners", values.get_list("listeners"))?;
        let advertised = addresses("advertised.listeners", values.get_list("advertised.listeners"))?;
        let controllers = values.get_list("controller.listener.names");
        let inter_broker = values.get_string("inter.broker.listener.name");
        let known = || bound.iter().map(|address| address.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = |option, name: &str| ListenerError::Unknown { option, name: name.to_owned(), listeners: known() };
        let is_bound = |name: &str| bound.iter().any(|address| address.name == name);
        let is_controllers = |name: &str| controllers.iter().any(|controller| controller == name);
        if let Some(address) = advertised.iter().find(|address| !is_bound(&address.name)) {
            return Err(unknown("advertised.listeners", &address.name));
        }
        check_roles(&bound, controllers, roles)?;
        if roles.has_broker() {
            if let Some(name) = inter_broker.filter(|name| is_controllers(name)) {
                return Err(ListenerError::InterBroker(name.to_owned()));
            }
            if let Some(name) = inter_broker.filter(|name| !is_bound(name)) {
                return Err(unknown("inter.broker.listener.name", name));
            }
            if bound.iter().all(|address| is_controllers(&address.name)) {
                return Err(ListenerError::NoClientListener(known()));
            }
        }
        let others = bound.iter().filter(|address| !is_controllers(&address.name)).count();
        let kind = |name: &str| match name {
            _ if is_controllers(name) => ListenerKind::Controller,
            _ if inter_broker == Some(name) && 1 < others => ListenerKind::Broker,
            _ => ListenerKind::Client,
        };
        let listeners = bound.iter().map(|address| {
            let told = advertised.iter().find(|told| told.name == address.name);
            Self::new(address, kind(&address.name), told, hostname)
        });
        listeners.collect()
    }

    fn new(
        bound: &Address,
        kind: ListenerKind,
        advertised: Option<&Address>,
        hostname: &str,
    ) -> Result<Self, ListenerError> {
        let told = advertised.unwrap_or(bound);
        let host = if told.host.is_empty() { hostname } else { &told.host };
        if kind != ListenerKind::Controller && (host == "0.0.0.0" || host == "::") {
            return Err(ListenerError::NotAdvertisable(bound.name.clone(), host.to_owned()));
        }
        Ok(Self {
            name: bound.name.clone(),
            kind,
            host: bound.host.clone(),
            port: bound.port,
            advertised: Endpoint {
                name: bound.name.clone(),
                host: host.to_owned(),
                port: told.port,
                security_protocol: PLAINTEXT,
            },
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, host, port, .. } = self;
        if host.contains(':') { write!(f, "{name}://[{host}]:{port}") } else { write!(f, "{name}://{host}:{port}") }
    }
}

/// Every node names the controllers' listeners; its roles decide which of them it binds itself.
fn check_roles(bound: &[Address], controllers: &[String], roles: Roles) -> Result<(), ListenerError> {
    let is_controllers = |address: &&Address| controllers.contains(&address.name);
    if controllers.is_empty() {
        return Err(ListenerError::NoControllerName);
    }
    let listeners = || bound.iter().map(|address| address.name.as_str()).collect::<Vec<_>>().join(", ");
    match roles {
        Roles::Broker => bound
            .iter()
            .find(is_controllers)
            .map_or(Ok(()), |address| Err(ListenerError::NotAController(address.name.clone()))),
        Roles::Both | Roles::Controller if !bound.iter().any(|address| is_controllers(&address)) => {
            Err(ListenerError::NoControllerListener { names: controllers.join(", "), listeners: listeners() })
        }
        Roles::Both => Ok(()),
        Roles::Controller => bound
            .iter()
            .find(|address| !is_controllers(address))
            .map_or(Ok(()), |address| Err(ListenerError::NotABroker(address.name.clone()))),
    }
}

fn addresses(option: &'static str, entries: &[String]) -> Result<Vec<Address>, ListenerError> {
    let mut addresses: Vec<Address> = Vec::new();
    for entry in entries {
        let malformed = || ListenerError::Malformed { option, entry: entry.clone() };
        let address = parse(entry).ok_or_else(malformed)?;
        if addresses.iter().any(|other| other.name == address.name) {
            return Err(ListenerError::Duplicate { option, name: address.name });
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn parse(entry: &str) -> Option<Address> {
    let (name, address) = entry.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain || (bare.contains(':') && bare == host) || bare.contains('/') {
        return None;
    }
    Some(Address { name: name.to_ascii_uppercase(), host: bare.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use protocol::config::Scope;

    use super::*;

    fn listeners_of(roles: Roles, settings: &[(&str, &str)]) -> Result<Vec<Listener>, ListenerError> {
        let (values, errors) = Values::parse(Scope::Broker, settings.iter().copied());
        assert!(errors.is_empty(), "{errors:?}");
        Listener::from_values(&values, roles, "machine")
    }

    /// Listeners of a node with both roles, whose controller listener is `C://:9`.
    fn listeners(settings: &[(&'static str, &str)]) -> Result<Vec<Listener>, ListenerError> {
        let with_controller = |(name, value): &(&'static str, &str)| match *name {
            "listeners" => (*name, format!("{value},C://:9")),
            name => (name, (*value).to_owned()),
        };
        let settings: Vec<_> = settings.iter().map(with_controller).collect();
        let named = settings.iter().any(|(name, _)| *name == "controller.listener.names");
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let controller = (!named).then_some(("controller.listener.names", "C"));
        listeners_of(Roles::Both, &settings.chain(controller).collect::<Vec<_>>())
    }

    #[test]
    fn a_kafka_release_names_a_client_and_a_controller_listener() {
        let listeners = listeners_of(
            Roles::Both,
            &[
                ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
                ("inter.broker.listener.name", "PLAINTEXT"),
                ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
                ("controller.listener.names", "CONTROLLER"),
            ],
        )
        .unwrap();
        let summary: Vec<_> = listeners.iter().map(|l| (l.to_string(), l.kind, l.advertised.host.as_str())).collect();
        assert_eq!(
            summary,
            [
                ("PLAINTEXT://:9092".to_owned(), ListenerKind::Client, "localhost"),
                ("CONTROLLER://:9093".to_owned(), ListenerKind::Controller, "localhost"),
            ]
        );
    }

    #[test]
    fn an_empty_host_is_advertised_as_the_machines_name() {
        let listeners = listeners(&[("listeners", "A://[::1]:1,B://:2"), ("inter.broker.listener.name", "B")]);
        let listeners = listeners.unwrap();
        assert_eq!((listeners[0].advertised.host.as_str(), listeners[0].advertised.port), ("::1", 1));
        assert_eq!(listeners[0].to_string(), "A://[::1]:1");
        assert_eq!(listeners[1].advertised.host, "machine");
        assert_eq!(
            listeners.iter().map(|l| l.kind).collect::<Vec<_>>(),
            [ListenerKind::Client, ListenerKind::Broker, ListenerKind::Controller]
        );
    }

    #[test]
    fn faults_name_the_option_and_the_entry() {
        let table: [(&[(&'static str, &str)], &str); 6] = [
            (&[("listeners", "PLAINTEXT:9092")], "listeners: \"PLAINTEXT:9092\" is not NAME://host:port"),
            (&[("listeners", "A://h:70000")], "listeners: \"A://h:70000\" is not NAME://host:port"),
            (&[("listeners", "A://:1,A://:2")], "listeners: A stands there twice"),
            (
                &[("listeners", "A://:1"), ("advertised.listeners", "B://h:1")],
                "advertised.listeners names B, which is not in listeners (A, C)",
            ),
            (
                &[("listeners", "A://:1"), ("controller.listener.names", "A,C")],
                "listeners: A, C is the controller's only; clients need a further listener",
            ),
            (
                &[("listeners", "A://0.0.0.0:1")],
                "listener A needs an entry in advertised.listeners: clients cannot connect to \"0.0.0.0\"",
            ),
        ];
        for (settings, message) in table {
            assert_eq!(listeners(settings).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn listeners_fit_the_roles_of_the_node() {
        let both = "A://:1,C://:9";
        let table = [
            (Roles::Both, both, "C", None, Ok(2)),
            (Roles::Broker, "A://:1", "C", None, Ok(1)),
            (Roles::Controller, "C://:9", "C", None, Ok(1)),
            (Roles::Controller, "C://:9", "C,D", Some("A"), Ok(1)),
            (Roles::Both, both, "", None, Err("controller.listener.names is not set")),
            (Roles::Broker, both, "C", None, Err("C is in controller.listener.names, but with process.roles=broker")),
            (Roles::Both, "A://:1", "C", None, Err("none of C is in listeners (A), and this node is a controller")),
            (Roles::Controller, "A://:1", "C", None, Err("none of C is in listeners (A)")),
            (
                Roles::Controller,
                both,
                "C",
                None,
                Err("A is not in controller.listener.names; with process.roles=contr"),
            ),
            (Roles::Both, both, "C", Some("C"), Err("inter.broker.listener.name: C is in controller.listener.names")),
            (Roles::Broker, "A://:1", "C", Some("B"), Err("inter.broker.listener.name names B, which is not in")),
        ];
        for (roles, listeners, controllers, inter_broker, expected) in table {
            let mut settings = vec![("listeners", listeners), ("controller.listener.names", controllers)];
            settings.extend(inter_broker.map(|name| ("inter.broker.listener.name", name)));
            let found = listeners_of(roles, &settings);
            match (&found, expected) {
                (Ok(found), Ok(count)) => assert_eq!(found.len(), count, "{settings:?}"),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}, expected {text}"),
                _ => panic!("{roles:?} {settings:?}: {found:?}"),
            }
        }
    }
}
