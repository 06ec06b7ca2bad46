//! A broker's `server.properties`.

use std::fmt::Write as _;

use protocol::types::BrokerId;

use super::NodePorts;
use crate::names::{LISTENER_CONTROLLERS, PORT_BROKERS, PORT_CONTROLLERS, PORT_MANAGEMENT};
use crate::options;
use crate::validate::{Exposure, Listener, ValidatedCluster};

pub(super) const CONFIG_DIRECTORY: &str = "/etc/millrace";
pub(super) const VOLUME_DIRECTORY: &str = "/var/lib/millrace";
/// Relative to [`CONFIG_DIRECTORY`].
pub(super) const TOKENS_FILE: &str = "management/tokens";
pub(super) const ZONE_FILE: &str = "pod/zone";

/// The one option in the metadata that must never be missing there: it decides which replicas may lead. So the first
/// controller takes it from its file.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Without options that brokers follow at run time.
pub(super) fn read_once(file: &str) -> String {
    let is_dynamic = |line: &str| line.split_once('=').is_some_and(|(name, _)| options::is_dynamic(name));
    file.split_inclusive('\n').filter(|line| !is_dynamic(line)).collect()
}

pub fn server_properties(cluster: &ValidatedCluster, broker: BrokerId, node_ports: &NodePorts) -> String {
    let mut file = String::from("# Written by the Millrace operator from the KafkaCluster; changes here are lost.\n");
    for (name, value) in fixed(cluster, broker, node_ports) {
        property(&mut file, name, &value);
    }
    let first_start = cluster.dynamic.iter().filter(|(name, _)| name.as_str() == MIN_INSYNC_REPLICAS);
    for (name, value) in cluster.config.iter().chain(first_start) {
        property(&mut file, name, &escaped(value));
    }
    file
}

/// Options that no manifest can change. The controller listener exists on controllers only, but every broker must
/// know its protocol.
fn fixed(cluster: &ValidatedCluster, broker: BrokerId, node_ports: &NodePorts) -> Vec<(&'static str, String)> {
    let names = &cluster.names;
    let host = names.pod_host(broker);
    let is_controller = cluster.controllers.contains(&broker);
    let quorum = cluster.controllers.iter().map(|id| format!("{}:{PORT_CONTROLLERS}", names.pod_host(*id)));
    let own = [("BROKERS", PORT_BROKERS), (LISTENER_CONTROLLERS, PORT_CONTROLLERS)];
    let internal = own.into_iter().take(if is_controller { 2 } else { 1 });
    let clients: Vec<_> = cluster.listeners.iter().map(|listener| (kafka_name(listener), listener)).collect();
    let bound = internal.clone().map(|(name, port)| format!("{name}://0.0.0.0:{port}"));
    let bound_for_clients = clients.iter().map(|(name, listener)| format!("{name}://0.0.0.0:{}", listener.port));
    let told = internal.map(|(name, port)| format!("{name}://{host}:{port}"));
    let told_to_clients = cluster.listeners.iter().map(|listener| advertised(listener, &host, broker, node_ports));
    let listener_names = own.iter().map(|(name, _)| *name).chain(clients.iter().map(|(name, _)| name.as_str()));
    let mut fixed = vec![
        ("process.roles", if is_controller { "broker,controller" } else { "broker" }.to_owned()),
        ("node.id", broker.to_string()),
        ("controller.quorum.bootstrap.servers", joined(quorum)),
        ("listeners", joined(bound.chain(bound_for_clients))),
        ("advertised.listeners", joined(told.chain(told_to_clients))),
        ("listener.security.protocol.map", joined(listener_names.map(|name| format!("{name}:PLAINTEXT")))),
        ("inter.broker.listener.name", "BROKERS".to_owned()),
        ("controller.listener.names", LISTENER_CONTROLLERS.to_owned()),
        ("log.dirs", format!("{VOLUME_DIRECTORY}/data")),
        ("millrace.format", "await".to_owned()),
        ("millrace.management.listener", format!("0.0.0.0:{PORT_MANAGEMENT}")),
        ("millrace.management.tokens.file", format!("{CONFIG_DIRECTORY}/{TOKENS_FILE}")),
    ];
    if cluster.zones {
        fixed.push(("millrace.rack.file", format!("{CONFIG_DIRECTORY}/{ZONE_FILE}")));
    }
    fixed
}

fn advertised(listener: &Listener, pod_host: &str, broker: BrokerId, node_ports: &NodePorts) -> String {
    let name = kafka_name(listener);
    match &listener.exposure {
        Exposure::Internal => format!("{name}://{pod_host}:{}", listener.port),
        Exposure::NodePort { advertised_host } => {
            let host = advertised_host.as_deref().unwrap_or("${env:HOST_IP}");
            let host = if host.contains(':') && !host.contains('{') { format!("[{host}]") } else { host.to_owned() };
            format!("{name}://{host}:{}", node_ports.get(listener, broker).unwrap_or(listener.port))
        }
    }
}

fn kafka_name(listener: &Listener) -> String {
    listener.name.to_ascii_uppercase()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn property(file: &mut String, name: &str, value: &str) {
    let written = writeln!(file, "{name}={value}");
    debug_assert!(written.is_ok(), "a String takes every write");
}

/// Escaped for Java's `Properties`.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (index, c) in value.chars().enumerate() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if index == 0 => text.push_str("\\ "),
            c => text.push(c),
        }
    }
    text
}
