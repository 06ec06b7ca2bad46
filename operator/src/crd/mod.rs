//! `KafkaCluster`, as users write it. The YAML in `crds/` is generated from these types.
//!
//! Every list, map and string is bounded, which also bounds the cost of the CEL rules. Rules that need more than
//! the object itself (option names, what already runs) are in `validate`. No `scale` subresource, as the number of
//! brokers stays: `kubectl scale` and autoscalers are refused at once.
#![expect(unreachable_pub, reason = "the schema's derive repeats each type inside a function")]

mod manifests;
mod schema;
mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use manifests::{CrdFile, crd_files};
pub use status::{
    BootstrapStatus, BrokerPhase, BrokerStatus, KafkaClusterStatus, PartitionsStatus, VoterStatus, condition,
};

/// A Kafka cluster run by Millrace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    plural = "kafkaclusters",
    shortname = "kc",
    category = "all",
    namespaced,
    status = "KafkaClusterStatus",
    derive = "PartialEq",
    doc = "A Kafka cluster run by Millrace.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name: at most 40 lower-case letters, digits and '-', beginning with a letter and not ending with '-'"),
    validation = Rule::new("!has(self.spec.controllers) || self.spec.controllers.replicas <= self.spec.replicas")
        .message("spec.controllers.replicas: every controller is a broker, so there cannot be more of them than spec.replicas"),
    printcolumn(name = "Brokers", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Under-replicated", type_ = "integer", json_path = ".status.partitions.underReplicated"),
    printcolumn(name = "Status", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterSpec {
    /// Number of brokers: 1 (the default), or 3 to 1024. It stays as it was when the cluster was created.
    #[serde(default = "one_broker")]
    #[x_kube(validation = Rule::new("self == 1 || 3 <= self && self <= 1024")
        .message("use 1, or 3 or more (at most 1024); with two, the loss of either would stop the cluster"))]
    pub replicas: i32,

    /// Which of the brokers keep the metadata. Without it the first 1, 3 or 5 of them, as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controllers: Option<ControllersSpec>,

    /// Version of Millrace to run, such as `0.1.0`; at most the operator's own. Without it: the operator's when the
    /// cluster was created, which a newer operator leaves as it is until this field names another one. It cannot go
    /// back once every broker has run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"), length(max = 64))]
    pub version: Option<String>,

    /// Image of the brokers, with its tag or digest, in place of the one that belongs to the version. Without it: the
    /// image of the operator's chart, tagged with the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// Broker options by their Kafka names, at most 256, with Kafka's units and ranges; values are strings, numbers or
    /// booleans. Unknown names are refused. Without any: the broker's defaults, and for 3 brokers or more 3 replicas,
    /// of which 2 must be in sync. Where an option needs it, brokers are restarted one by one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::scalars")]
    pub config: BTreeMap<String, Value>,

    /// The volume of each broker; `size` must be given.
    pub storage: StorageSpec,

    /// Where clients connect, at most 8. Without any: one listener `clients` on port 9092, inside the Kubernetes
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.port == a.port))").message("two listeners have the same port"))]
    pub listeners: Vec<ListenerSpec>,

    /// CPU and memory of a broker. A resource that is not named has the default: requests of 100m and 256Mi, a
    /// memory limit of 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,

    /// Placement and labels of the broker pods. Without it they have the operator's labels only and may run on any
    /// node. Pods that run keep what they were started with until they are restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOptions>,
}

fn one_broker() -> i32 {
    1
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControllersSpec {
    /// How many brokers, the first ones, are controllers too: 1, 3 or 5. Of 3 one may be lost, of 5 two. It stays as
    /// it was when the cluster was created.
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("use 1, 3 or 5: an even number tolerates no more losses than one less"))]
    pub replicas: i32,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)")
    .message("class cannot be changed: a volume keeps the class it was made with"))]
pub struct StorageSpec {
    /// Size of each broker's volume in bytes, more than 0, with a unit such as `10Gi`. It may grow where the storage
    /// class allows it, and never shrink. It has no default.
    #[schemars(schema_with = "schema::quantity")]
    pub size: Quantity,

    /// Storage class of the volumes. Without it: the default class of the Kubernetes cluster. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,

    /// Whether deleting the KafkaCluster deletes its volumes and the data on them. With `false`, the default, they are
    /// kept, and applying the manifest again brings the cluster back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete_claim: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.name in ['brokers', 'controllers', 'management'])")
    .message("the names brokers, controllers and management are taken by the brokers themselves"))]
#[x_kube(validation = Rule::new("!(self.port in [9091, 9093, 9095])")
    .message("the ports 9091, 9093 and 9095 are taken by the brokers themselves"))]
#[x_kube(validation = Rule::new("!has(self.advertisedHost) || self.type == 'nodeport'")
    .message("advertisedHost is for listeners of type nodeport"))]
pub struct ListenerSpec {
    /// Name of the listener: 1 to 15 small letters and digits, beginning with a letter. In Kafka's options it appears
    /// in capitals.
    #[schemars(regex(pattern = "^[a-z][a-z0-9]*$"), length(max = 15))]
    pub name: String,

    /// Port the brokers listen on: 1024 to 65535, except 9091, 9093 and 9095.
    #[schemars(range(min = 1024, max = 65535), extend("format" = "int32"))]
    pub port: u16,

    /// How clients reach the brokers. `internal` (the default): by the names of the pods, inside the Kubernetes
    /// cluster. `nodeport`: by a port on the broker's node.
    #[serde(default, rename = "type")]
    pub kind: ListenerType,

    /// Host that clients outside are told to connect to, for listeners of type `nodeport`. Without it: the address of
    /// the broker's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9A-Za-z]([-.:0-9A-Za-z]*[0-9A-Za-z])?$"), length(max = 253))]
    pub advertised_host: Option<String>,
}

#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum ListenerType {
    #[default]
    Internal,
    NodePort,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// What the scheduler sets aside for a broker: `cpu` in cores (`500m` is half a core), `memory` in bytes (`1Gi`).
    /// Without it: 100m and 256Mi.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,

    /// What a broker cannot exceed, in the same units. Without it: 1Gi of memory, unless `requests` names memory, and
    /// as much CPU as there is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodOptions {
    /// Labels added to the broker pods, at most 64; those of the operator cannot be changed. Without any: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations added to the broker pods, at most 64; those of the operator cannot be changed. Without any: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Labels a node must have to run a broker, at most 64. Without any: every node may.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes on which brokers may run nevertheless, as in a pod, at most 32. Without any: only those of a
    /// node that does not answer, on which brokers stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<TolerationSpec>,

    /// Affinity as in a pod, in addition to the spread over nodes and zones that brokers always have. Without it: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open_object")]
    pub affinity: Option<Value>,

    /// Priority class of the broker pods. Without it: the default class of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// Secrets with credentials for the registry of the image, at most 8. Without any: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<SecretName>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TolerationSpec {
    /// Key of the taint, at most 317 characters; with the operator `Exists` it may be left out to match every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,

    /// `Equal` (the default) or `Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(Equal|Exists)$"), length(max = 6))]
    pub operator: Option<String>,

    /// Value of the taint, for `Equal`. Without it: the empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,

    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without it all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(NoSchedule|PreferNoSchedule|NoExecute)$"), length(max = 16))]
    pub effect: Option<String>,

    /// How long a `NoExecute` taint is tolerated, in seconds; 0 or less: not at all. Without it for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
pub struct SecretName {
    /// Name of a Secret in the namespace of the cluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
