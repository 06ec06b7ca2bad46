//! The Kubernetes objects of a cluster, as pure functions of the validated manifest.

mod network;
mod properties;
mod statefulset;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt as _};
use protocol::types::{BrokerId, ClusterId};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::admin::ManagementToken;
use crate::crd::KafkaCluster;
use crate::manifest::Manifest;
use crate::names::{
    ANNOTATION_APPLIED, ANNOTATION_CLUSTER_ID, ANNOTATION_FORMATTED, ANNOTATION_VOTERS, ANNOTATION_ZONE,
};
use crate::observe::SECRET_KEY_TOKENS;
use crate::validate::ValidatedCluster;
use crate::voters::InitialVoters;

pub use network::{NodePorts, services};
pub use properties::server_properties;
pub use statefulset::{StatefulSetTemplate, pod_facts, statefulset, template_hash};

/// The rendered options of every broker, and the name of their ConfigMap, which depends on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedConfig {
    pub name: String,
    pub files: BTreeMap<BrokerId, String>,
}

impl RenderedConfig {
    pub fn new(cluster: &ValidatedCluster, node_ports: &NodePorts) -> Self {
        let files: BTreeMap<_, _> =
            cluster.brokers.iter().map(|id| (*id, server_properties(cluster, *id, node_ports))).collect();
        let all: Vec<&str> = files.values().map(String::as_str).collect();
        Self { name: cluster.names.config_map(&hash(&all.join("\0"))), files }
    }

    pub fn hash_of(&self, broker: BrokerId) -> Option<String> {
        self.files.get(&broker).map(|file| hash(&properties::read_once(file)))
    }
}

/// Ten hexadecimal digits: enough to tell two renderings of one cluster apart.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    let head = digest.iter().take(5).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    format!("{head:010x}")
}

pub fn config_map(cluster: &ValidatedCluster, config: &RenderedConfig) -> Manifest {
    let data = config.files.iter().map(|(id, file)| (format!("server-{id}.properties"), file.clone())).collect();
    let metadata = metadata(cluster, &config.name);
    Manifest::new(&ConfigMap { metadata, data: Some(data), immutable: Some(true), ..ConfigMap::default() })
}

pub fn management_secret(cluster: &ValidatedCluster, token: &ManagementToken) -> Manifest {
    let tokens = BTreeMap::from([(SECRET_KEY_TOKENS.to_owned(), format!("{}\n", token.0))]);
    let metadata = metadata(cluster, &cluster.names.management_secret());
    Manifest::new(&Secret { metadata, string_data: Some(tokens), ..Secret::default() })
}

pub fn service_account(cluster: &ValidatedCluster) -> Manifest {
    let account = ServiceAccount {
        metadata: metadata(cluster, &cluster.names.cluster),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    stamped(Manifest::new(&account))
}

/// How many brokers Kubernetes may evict at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evictions {
    None,
    One,
}

impl Evictions {
    fn count(self) -> i32 {
        match self {
            Self::None => 0,
            Self::One => 1,
        }
    }
}

pub fn disruption_budget(cluster: &ValidatedCluster, evictions: Evictions) -> Manifest {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(evictions.count())),
        selector: Some(LabelSelector { match_labels: Some(cluster.names.selector()), ..LabelSelector::default() }),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    let metadata = metadata(cluster, &cluster.names.cluster);
    stamped(Manifest::new(&PodDisruptionBudget { metadata, spec: Some(spec), status: None }))
}

/// For a cluster of which nothing else may change.
pub fn changed_budget(standing: &PodDisruptionBudget, evictions: Evictions) -> Manifest {
    let change = json!({ "spec": { "maxUnavailable": evictions.count() } });
    change_of(&PodDisruptionBudget::default(), &standing.metadata, change)
}

/// The operator's notes on the claims created by the StatefulSet.
#[derive(Debug, Clone)]
pub struct ClaimNotes {
    /// The cluster whose data they hold.
    pub cluster_id: ClusterId,
    pub voters: Option<InitialVoters>,
}

/// A claim with its notes, and the cluster as its owner if `deleteClaim` is set.
pub fn claim(
    cluster: &ValidatedCluster,
    standing: &PersistentVolumeClaim,
    notes: &ClaimNotes,
    formatted: bool,
) -> Manifest {
    let mut annotations = BTreeMap::from([(ANNOTATION_CLUSTER_ID, notes.cluster_id.to_string())]);
    annotations.extend(notes.voters.as_ref().map(|voters| (ANNOTATION_VOTERS, voters.to_string())));
    if formatted {
        annotations.insert(ANNOTATION_FORMATTED, "true".to_owned());
    }
    let owners: Vec<_> = cluster.storage.delete_claim.then(|| owner(cluster)).into_iter().collect();
    claim_change(standing, json!({ "metadata": { "annotations": annotations, "ownerReferences": owners } }))
}

/// The claim with its existing notes, but without the cluster as its owner.
pub fn released_claim(standing: &PersistentVolumeClaim) -> Manifest {
    let noted = standing.annotations().iter();
    let kept = [ANNOTATION_CLUSTER_ID, ANNOTATION_VOTERS, ANNOTATION_FORMATTED];
    let own: BTreeMap<_, _> = noted.filter(|(name, _)| kept.contains(&name.as_str())).collect();
    claim_change(standing, json!({ "metadata": { "annotations": own, "ownerReferences": [] } }))
}

pub fn grown_claim(standing: &PersistentVolumeClaim, size: &Quantity) -> Manifest {
    claim_change(standing, json!({ "spec": { "resources": { "requests": { "storage": size } } } }))
}

/// The UID makes the API server refuse the change for any other claim.
fn claim_change(standing: &PersistentVolumeClaim, change: Value) -> Manifest {
    change_of(&PersistentVolumeClaim::default(), &standing.metadata, change)
}

/// The pod with the zone of its node, which its broker reads.
pub fn zoned_pod(standing: &Pod, zone: &str) -> Manifest {
    change_of(&Pod::default(), &standing.metadata, json!({ "metadata": { "annotations": zone_note(zone) } }))
}

pub fn zone_note(zone: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([(ANNOTATION_ZONE, format!("{zone}\n"))])
}

fn change_of<K: Resource<DynamicType = ()> + Serialize>(kind: &K, metadata: &ObjectMeta, change: Value) -> Manifest {
    let mut manifest = Manifest::new(kind);
    manifest.name = metadata.name.clone().unwrap_or_default();
    merge(&mut manifest.body, json!({ "metadata": { "name": metadata.name, "uid": metadata.uid } }));
    merge(&mut manifest.body, change);
    manifest
}

pub(crate) fn merge(target: &mut Value, additions: Value) {
    match (target, additions) {
        (Value::Object(target), Value::Object(additions)) => {
            for (name, value) in additions {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, value) => *target = value,
    }
}

fn metadata(cluster: &ValidatedCluster, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(cluster.names.namespace.clone()),
        labels: Some(cluster.names.labels()),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

fn owner(cluster: &ValidatedCluster) -> OwnerReference {
    OwnerReference {
        api_version: KafkaCluster::api_version(&()).into_owned(),
        kind: KafkaCluster::kind(&()).into_owned(),
        name: cluster.names.cluster.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Adds the hash of the whole manifest, by which a removed field is noticed.
fn stamped(mut manifest: Manifest) -> Manifest {
    let stamp = hash(&manifest.body.to_string());
    merge(&mut manifest.body, json!({ "metadata": { "annotations": { ANNOTATION_APPLIED: stamp } } }));
    manifest
}

#[cfg(test)]
#[path = "render_test.rs"]
mod render_test;
