//! The Services: one for the pods' names, one to bootstrap from, one for each broker of a `nodeport` listener.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use protocol::types::BrokerId;

use super::{metadata, stamped};
use crate::manifest::Manifest;
use crate::names::{PORT_BROKERS, PORT_CONTROLLERS, PORT_MANAGEMENT};
use crate::observe::Observed;
use crate::validate::{Exposure, Listener, ValidatedCluster};

/// The ports that Kubernetes assigned to the NodePort Services, by listener and broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePorts(BTreeMap<(String, BrokerId), u16>);

impl NodePorts {
    pub fn observed(cluster: &ValidatedCluster, observed: &Observed) -> Self {
        let given = |listener: &Listener, broker: BrokerId| -> Option<u16> {
            let service: Service = observed.get(&cluster.names.node_port_service(&listener.name, broker))?;
            u16::try_from(service.spec?.ports?.first()?.node_port?).ok().filter(|port| *port != 0)
        };
        let ports =
            exposed(cluster).filter_map(|(listener, id)| Some(((listener.name.clone(), id), given(listener, id)?)));
        Self(ports.collect())
    }

    pub fn get(&self, listener: &Listener, broker: BrokerId) -> Option<u16> {
        self.0.get(&(listener.name.clone(), broker)).copied()
    }

    /// The first Service whose port is not known yet.
    pub fn missing(&self, cluster: &ValidatedCluster) -> Option<String> {
        let missing = exposed(cluster).find(|(listener, id)| self.get(listener, *id).is_none());
        missing.map(|(listener, id)| cluster.names.node_port_service(&listener.name, id))
    }
}

fn exposed(cluster: &ValidatedCluster) -> impl Iterator<Item = (&Listener, BrokerId)> {
    let outside = cluster.listeners.iter().filter(|listener| listener.exposure != Exposure::Internal);
    outside.flat_map(|listener| cluster.brokers.iter().map(move |id| (listener, *id)))
}

pub fn services(cluster: &ValidatedCluster) -> Vec<Manifest> {
    let mut services = vec![brokers(cluster)];
    services.extend(bootstrap(cluster));
    services.extend(exposed(cluster).map(|(listener, id)| node_port(cluster, listener, id)));
    services
}

/// Gives every pod a DNS name before it is ready: brokers must find each other to become ready.
fn brokers(cluster: &ValidatedCluster) -> Manifest {
    let own = [("brokers", PORT_BROKERS), ("controllers", PORT_CONTROLLERS), ("management", PORT_MANAGEMENT)];
    let ports = own.into_iter().chain(internal(cluster).map(|listener| (listener.name.as_str(), listener.port)));
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(ports.map(|(name, port)| service_port(name, port)).collect()),
        selector: Some(cluster.names.selector()),
        ..ServiceSpec::default()
    };
    service(cluster, &cluster.names.brokers_service(), spec)
}

fn bootstrap(cluster: &ValidatedCluster) -> Option<Manifest> {
    let ports: Vec<_> = internal(cluster).map(|listener| service_port(&listener.name, listener.port)).collect();
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(cluster.names.selector()),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
        ..ServiceSpec::default()
    };
    spec.ports.is_some().then(|| service(cluster, &cluster.names.bootstrap_service(), spec))
}

/// If the broker advertises its own node, traffic stays on the node where it arrives; with another host it may arrive
/// at any node. Clients come here for partitions that this broker leads, so they must get through, or be refused, at
/// any time: before Kubernetes sees it as ready, and while it hands over.
fn node_port(cluster: &ValidatedCluster, listener: &Listener, broker: BrokerId) -> Manifest {
    let own_node = listener.exposure == Exposure::NodePort { advertised_host: None };
    let mut selector = cluster.names.selector();
    selector.insert("apps.kubernetes.io/pod-index".to_owned(), broker.to_string());
    let spec = ServiceSpec {
        type_: Some("NodePort".to_owned()),
        external_traffic_policy: Some(if own_node { "Local" } else { "Cluster" }.to_owned()),
        publish_not_ready_addresses: Some(true),
        selector: Some(selector),
        ports: Some(vec![service_port(&listener.name, listener.port)]),
        ..ServiceSpec::default()
    };
    service(cluster, &cluster.names.node_port_service(&listener.name, broker), spec)
}

fn internal(cluster: &ValidatedCluster) -> impl Iterator<Item = &Listener> {
    cluster.listeners.iter().filter(|listener| listener.exposure == Exposure::Internal)
}

fn service(cluster: &ValidatedCluster, name: &str, spec: ServiceSpec) -> Manifest {
    stamped(Manifest::new(&Service { metadata: metadata(cluster, name), spec: Some(spec), status: None }))
}

fn service_port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
