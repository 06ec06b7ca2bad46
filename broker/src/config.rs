//! The broker's configuration: Kafka's names, checked against the table in [`protocol::config`], and handed out to
//! each module in the form that it needs.

mod listener;
mod membership;
mod network;
mod rack;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::config::Values;
use protocol::types::BrokerId;

pub(crate) use listener::{Listener, ListenerError, ListenerKind};
pub(crate) use membership::{MembershipConfig, Roles};
pub(crate) use network::{ConnectionConfig, NetworkConfig, OverrideError};
pub(crate) use source::{SettingsError, dev_settings, load};

#[derive(Debug)]
pub(crate) struct BrokerConfig {
    pub(crate) broker_id: BrokerId,
    pub(crate) membership: MembershipConfig,
    pub(crate) log_directory: PathBuf,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) rack: Option<String>,
    /// The file from which the rack is read if it is not set; it may be written after this process has started.
    rack_file: Option<PathBuf>,
    /// The name of the listener at which other brokers reach this one.
    pub(crate) inter_broker_listener: String,
    pub(crate) network_threads: usize,
    pub(crate) request_bytes_max: usize,
    pub(crate) connection_idle_max: Duration,
    pub(crate) network: NetworkConfig,
    pub(crate) fetch_bytes_max: i32,
    pub(crate) auto_create_topics: bool,
    pub(crate) topic_partitions_default: i32,
    pub(crate) replication_factor_default: i16,
    /// Most partitions that each broker of the cluster may have.
    pub(crate) broker_partitions_max: usize,
    /// `host:port` of the management API; `None`: closed.
    pub(crate) management_address: Option<String>,
    /// File with the bearer tokens of the management API, one a line.
    pub(crate) management_tokens: Option<PathBuf>,
    pub(crate) disk_reserves: DiskReserves,
    /// Wait to be formatted through the management API.
    pub(crate) format_awaited: bool,
    /// Every option as it was at the start. Later changes are in the metadata.
    pub(crate) values: Values,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error("node.id is not set: every node of a cluster needs a number of its own, from 0")]
    NoNodeId,
    #[error("process.roles is not set: a node is a broker, a controller or both (process.roles=broker,controller)")]
    NoRoles,
    #[error(
        "neither controller.quorum.bootstrap.servers nor controller.quorum.voters is set: a node that is a broker only \
         needs to know where the controllers are"
    )]
    NoControllers,
    #[error("log.dirs names no directory")]
    NoLogDirectory,
    #[error("default.replication.factor={0} is not between 1 and 32767")]
    ReplicationFactor(i32),
    #[error("millrace.format=await needs millrace.management.listener, through which formatting is requested")]
    AwaitWithoutManagement,
    #[error(transparent)]
    Overrides(#[from] OverrideError),
    #[error(transparent)]
    Listener(#[from] ListenerError),
}

impl BrokerConfig {
    /// Validates options against each other. `hostname` is what a listener without a host advertises.
    pub(crate) fn from_values(values: Values, hostname: &str) -> Result<Self, ConfigurationError> {
        let roles = Roles::from_values(&values).ok_or(ConfigurationError::NoRoles)?;
        let controllers = ["controller.quorum.bootstrap.servers", "controller.quorum.voters"];
        if roles == Roles::Broker && controllers.iter().all(|name| values.get_list(name).is_empty()) {
            return Err(ConfigurationError::NoControllers);
        }
        let management_address = text(&values, "millrace.management.listener").map(str::to_owned);
        let format_awaited = text(&values, "millrace.format") == Some("await");
        if format_awaited && management_address.is_none() {
            return Err(ConfigurationError::AwaitWithoutManagement);
        }
        let listeners: Vec<_> = Listener::from_values(&values, roles, hostname)?.into_iter().map(Arc::new).collect();
        Ok(Self {
            broker_id: node_id(&values)?,
            membership: MembershipConfig::from_values(roles, &values),
            log_directory: log_directory(&values)?,
            rack: text(&values, "broker.rack").map(str::to_owned),
            rack_file: text(&values, "millrace.rack.file").map(PathBuf::from),
            inter_broker_listener: inter_broker_listener(&values, &listeners),
            listeners,
            network_threads: network_threads(&values),
            request_bytes_max: values.get_count("socket.request.max.bytes"),
            connection_idle_max: idle(&values),
            network: NetworkConfig::from_values(&values)?,
            fetch_bytes_max: values.get_int("fetch.max.bytes"),
            auto_create_topics: values.get_bool("auto.create.topics.enable"),
            topic_partitions_default: values.get_int("num.partitions"),
            replication_factor_default: replication_factor(&values)?,
            broker_partitions_max: values.get_count("millrace.broker.partitions.max"),
            management_tokens: text(&values, "millrace.management.tokens.file").map(PathBuf::from),
            disk_reserves: DiskReserves::from_values(&values),
            management_address,
            format_awaited,
            values,
        })
    }

    /// Waits for the rack if it comes from a file.
    pub(crate) fn settle_rack(&mut self) {
        if let (None, Some(file)) = (&self.rack, &self.rack_file) {
            self.rack = rack::awaited(file);
        }
    }
}

impl BrokerConfig {
    /// The number of reactors for the listeners of clients and brokers.
    pub(crate) fn client_reactors(&self) -> usize {
        if self.membership.roles.has_broker() { self.network_threads } else { 0 }
    }

    /// The number of reactors for the controller listeners.
    pub(crate) fn controller_reactors(&self) -> usize {
        usize::from(self.membership.roles.has_controller())
    }
}

/// Bytes of the volume that are kept in reserve. `None`: a share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskReserves {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
    pub(crate) file: Option<u64>,
}

impl DiskReserves {
    fn from_values(values: &Values) -> Self {
        let bytes = |name| u64::try_from(values.get_long(name)).ok();
        Self {
            soft: bytes("millrace.disk.reserve.soft.bytes"),
            hard: bytes("millrace.disk.reserve.hard.bytes"),
            file: bytes("millrace.disk.reserve.file.bytes"),
        }
    }
}

/// Also `None` for an empty value.
fn text<'a>(values: &'a Values, name: &'static str) -> Option<&'a str> {
    values.get_string(name).filter(|text| !text.is_empty())
}

fn node_id(values: &Values) -> Result<BrokerId, ConfigurationError> {
    let own = ["node.id", "broker.id"].into_iter().find(|name| values.is_set(name));
    let id = own.map_or(-1, |name| values.get_int(name));
    if id < 0 { Err(ConfigurationError::NoNodeId) } else { Ok(BrokerId(id)) }
}

/// `log.dirs`, or `log.dir` if it is unset. The table has checked that it has one entry.
fn log_directory(values: &Values) -> Result<PathBuf, ConfigurationError> {
    let listed = values.get_list("log.dirs").first().map(String::as_str);
    let directory = listed.or_else(|| text(values, "log.dir")).ok_or(ConfigurationError::NoLogDirectory)?;
    Ok(std::path::absolute(directory).unwrap_or_else(|_| PathBuf::from(directory)))
}

/// As set, otherwise the first listener that is not a controller's.
fn inter_broker_listener(values: &Values, listeners: &[Arc<Listener>]) -> String {
    let first = || listeners.iter().find(|listener| listener.kind != ListenerKind::Controller);
    let set = text(values, "inter.broker.listener.name").map(str::to_owned);
    set.or_else(|| first().map(|listener| listener.name.clone())).unwrap_or_default()
}

/// As many as set, otherwise one for each core that this process may use.
fn network_threads(values: &Values) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let set = values.is_set("num.network.threads").then(|| values.get_int("num.network.threads"));
    set.and_then(|count| usize::try_from(count).ok()).unwrap_or(cores).clamp(1, cores)
}

/// `connections.max.idle.ms`; a negative value means never, for which a hundred years stand in.
fn idle(values: &Values) -> Duration {
    const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);
    u64::try_from(values.get_long("connections.max.idle.ms")).map_or(FOREVER, Duration::from_millis)
}

fn replication_factor(values: &Values) -> Result<i16, ConfigurationError> {
    let factor = values.get_int("default.replication.factor");
    i16::try_from(factor).ok().filter(|factor| 1 <= *factor).ok_or(ConfigurationError::ReplicationFactor(factor))
}
