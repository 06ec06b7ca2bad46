//! Names, labels and annotations of everything that belongs to one cluster.

use std::collections::BTreeMap;

use protocol::types::BrokerId;

pub const MANAGER: &str = "millrace-operator";
pub const LABEL_CLUSTER: &str = "millrace.dev/cluster";
/// On volume claims: the id of the cluster whose data they hold.
pub const ANNOTATION_CLUSTER_ID: &str = "millrace.dev/cluster-id";
/// On volume claims: a broker was formatted on this one, so it must never be found empty again.
pub const ANNOTATION_FORMATTED: &str = "millrace.dev/formatted";
/// On volume claims: the quorum's initial voters. Written before the first of them is formatted.
pub const ANNOTATION_VOTERS: &str = "millrace.dev/initial-voters";
/// On pods: the zone of the node, as one line, which the broker reads from a file. Complete only once the newline is
/// there.
pub const ANNOTATION_ZONE: &str = "millrace.dev/zone";
/// On applied objects: hash of what was applied, so that a dropped field is noticed.
pub const ANNOTATION_APPLIED: &str = "millrace.dev/applied";
/// On pods: what they were started with. Compared with what they should run; never with the pod after admission, when
/// webhooks may have rewritten it.
pub const ANNOTATION_IMAGE: &str = "millrace.dev/image";
pub const ANNOTATION_RESOURCES: &str = "millrace.dev/resources-hash";
pub const ANNOTATION_CONFIG: &str = "millrace.dev/config-hashes";
pub const ANNOTATION_PLACEMENT: &str = "millrace.dev/placement-hash";
pub const ANNOTATION_TEMPLATE: &str = "millrace.dev/template-hash";

/// On the pod template: `kubectl rollout restart` writes the time here.
pub const ANNOTATION_RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// The broker's container in a pod, to which other containers may have been added.
pub const CONTAINER: &str = "broker";

/// The name of the listener in the brokers' options.
pub const LISTENER_CONTROLLERS: &str = "CONTROLLERS";

pub const PORT_BROKERS: u16 = 9091;
pub const PORT_CONTROLLERS: u16 = 9093;
pub const PORT_MANAGEMENT: u16 = 9095;

/// The cluster's name and namespace, from which every other name follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub cluster: String,
    pub namespace: String,
}

impl Names {
    pub fn statefulset(&self) -> &str {
        &self.cluster
    }

    pub fn brokers_service(&self) -> String {
        format!("{}-brokers", self.cluster)
    }

    pub fn bootstrap_service(&self) -> String {
        format!("{}-bootstrap", self.cluster)
    }

    pub fn node_port_service(&self, listener: &str, broker: BrokerId) -> String {
        format!("{}-{listener}-{broker}", self.cluster)
    }

    pub fn management_secret(&self) -> String {
        format!("{}-management", self.cluster)
    }

    pub fn config_map(&self, hash: &str) -> String {
        format!("{}-config-{hash}", self.cluster)
    }

    pub fn pod(&self, broker: BrokerId) -> String {
        format!("{}-{broker}", self.cluster)
    }

    pub fn claim(&self, broker: BrokerId) -> String {
        format!("data-{}-{broker}", self.cluster)
    }

    /// The host name of the pod, whether it is ready or not.
    pub fn pod_host(&self, broker: BrokerId) -> String {
        format!("{}.{}.{}.svc", self.pod(broker), self.brokers_service(), self.namespace)
    }

    pub fn bootstrap_host(&self) -> String {
        format!("{}.{}.svc", self.bootstrap_service(), self.namespace)
    }

    /// Selects the pods: only labels that never change, so no version.
    pub fn selector(&self) -> BTreeMap<String, String> {
        labels([("app.kubernetes.io/name", "millrace"), (LABEL_CLUSTER, &self.cluster)])
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        labels
    }

    /// The selector as the API takes it.
    pub fn selector_text(&self) -> String {
        let parts: Vec<_> = self.selector().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.join(",")
    }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
