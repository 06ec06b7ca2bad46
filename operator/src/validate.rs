//! From the manifest as written to a cluster that can be run. Later code sees only the result.

mod placement;
mod size;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResourceExt as _;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use protocol::types::BrokerId;
use serde_json::Value;

use crate::crd::{KafkaCluster, KafkaClusterSpec, ListenerSpec, ListenerType, ResourcesSpec};
use crate::names::Names;
use crate::observe::Observed;
use crate::{options, quantity};

pub use placement::PodPlacement;

/// This operator's own version, and the image of the brokers. Without a tag, each cluster's version is the tag. With
/// one, or with a digest, it is the image of every cluster, because it was chosen explicitly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    pub broker_image: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedCluster {
    pub names: Names,
    pub uid: String,
    pub brokers: Vec<BrokerId>,
    /// The brokers that are controllers: the first ones.
    pub controllers: Vec<BrokerId>,
    /// Whether brokers learn the zone of their node.
    pub zones: bool,
    pub version: String,
    pub image: String,
    /// Options that a broker reads at its start only.
    pub config: BTreeMap<String, String>,
    /// Options in the metadata.
    pub dynamic: BTreeMap<String, String>,
    pub storage: Storage,
    pub listeners: Vec<Listener>,
    pub resources: ResourceRequirements,
    pub pod: PodPlacement,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    pub size: Quantity,
    pub size_bytes: u64,
    pub class: Option<String>,
    pub delete_claim: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub port: u16,
    pub exposure: Exposure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    Internal,
    /// With the host advertised to clients, unless it is the node's address.
    NodePort {
        advertised_host: Option<String>,
    },
}

/// A mistake in the manifest, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.field))]
pub struct Problem {
    /// Empty if the message names it.
    pub field: String,
    pub message: String,
}

impl Problem {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

pub fn validate(observed: &Observed, release: &Release) -> Result<ValidatedCluster, Vec<Problem>> {
    let cluster = &observed.cluster;
    let spec = &cluster.spec;
    let mut problems = schema_problems(cluster);
    let size = keep(&mut problems, size::size(observed).map_err(|problem| vec![problem]));
    let config = keep(&mut problems, config(spec));
    let storage = keep(&mut problems, storage(spec, observed).map_err(|problem| vec![problem]));
    let version = keep(&mut problems, version(observed, release).map_err(|problem| vec![problem]));
    let pod = keep(&mut problems, PodPlacement::new(spec.pod.as_ref()).map_err(|problem| vec![problem]));
    let resources = keep(&mut problems, resources(spec.resources.as_ref()));
    let (Some(size), Some(config), Some(storage), Some(version), Some(pod), Some(resources)) =
        (size, config, storage, version, pod, resources)
    else {
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let (dynamic, config) = with_defaults(config, size.brokers.len());
    Ok(ValidatedCluster {
        names: observed.names.clone(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        zones: observed.nodes.is_some() && 1 < size.brokers.len(),
        brokers: size.brokers,
        controllers: size.controllers,
        image: spec.image.clone().unwrap_or_else(|| image_of(&version, release)),
        version,
        config,
        dynamic,
        storage,
        listeners: listeners(&spec.listeners),
        resources,
        pod,
    })
}

fn keep<T>(problems: &mut Vec<Problem>, checked: Result<T, Vec<Problem>>) -> Option<T> {
    checked.map_err(|found| problems.extend(found)).ok()
}

/// Repeats the rules of the CRD: the installed one may be older than this operator.
fn schema_problems(cluster: &KafkaCluster) -> Vec<Problem> {
    static RULES: LazyLock<Option<CompiledSchema>> = LazyLock::new(|| {
        let crd = KafkaCluster::crd();
        let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        Some(compile_schema(&serde_json::to_value(schema).ok()?))
    });
    let (Some(rules), Ok(object)) = (RULES.as_ref(), serde_json::to_value(cluster)) else { return Vec::new() };
    let Err(errors) = Validator::new().validate_compiled(rules, &object, None) else { return Vec::new() };
    errors.into_vec().into_iter().map(|error| Problem::new(error.field_path, error.message)).collect()
}

fn config(spec: &KafkaClusterSpec) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let mut config = BTreeMap::new();
    let mut problems = Vec::new();
    let problem = |name: &str, message| Problem::new(format!("spec.config[{name:?}]"), message);
    for (name, value) in &spec.config {
        match scalar(value).and_then(|raw| options::check(name, &raw, spec.replicas).map(|()| raw)) {
            Ok(raw) => drop(config.insert(name.clone(), raw)),
            Err(message) => problems.push(problem(name, message)),
        }
    }
    problems.extend(options::check_all(&config).into_iter().map(|(name, message)| problem(name, message)));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Defaults depend on the cluster's size: from three brokers on, every record has three replicas and is acknowledged
/// by two. Options in the metadata are separated.
fn with_defaults(
    given: BTreeMap<String, String>,
    broker_count: usize,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (replicas, in_sync) = if broker_count < 3 { ("1", "1") } else { ("3", "2") };
    let defaults = [
        ("default.replication.factor", replicas),
        ("min.insync.replicas", in_sync),
        ("offsets.topic.replication.factor", replicas),
        ("share.coordinator.state.topic.min.isr", in_sync),
        ("share.coordinator.state.topic.replication.factor", replicas),
        ("transaction.state.log.min.isr", in_sync),
        ("transaction.state.log.replication.factor", replicas),
    ];
    let mut config: BTreeMap<_, _> = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    config.extend(given);
    config.into_iter().partition(|(name, _)| options::is_dynamic(name))
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Err("no value; write a string, a number, true or false".to_owned()),
        Value::Array(_) | Value::Object(_) => {
            Err("a list or an object; write a string, a number, true or false, with commas between the items of a list"
                .to_owned())
        }
    }
}

fn storage(spec: &KafkaClusterSpec, observed: &Observed) -> Result<Storage, Problem> {
    let field = "spec.storage.size";
    let size = &spec.storage.size;
    let size_bytes = quantity::bytes(size).filter(|bytes| 0 < *bytes);
    let size_bytes =
        size_bytes.ok_or_else(|| Problem::new(field, format!("{:?} is not a size; write one such as 10Gi", size.0)))?;
    for claim in observed.claims.values() {
        let sizes = [claim_request(claim), claim_capacity(claim)].into_iter().flatten();
        let sizes = sizes.filter_map(|size| Some((quantity::bytes(size)?, size)));
        if let Some((_, has)) = sizes.min_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| size_bytes < *bytes) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let message = format!(
                "{} is less than volume {name} has; volumes cannot shrink, set it to at least {}",
                size.0, has.0
            );
            return Err(Problem::new(field, message));
        }
    }
    Ok(Storage {
        size: size.clone(),
        size_bytes,
        class: spec.storage.class.clone(),
        delete_claim: spec.storage.delete_claim,
    })
}

/// The requested size of a claim.
pub fn claim_request(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// The actual size of a claim: smaller if the volume has not grown yet, or cannot.
pub fn claim_capacity(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.status.as_ref()?.capacity.as_ref()?.get("storage")
}

/// The version in the manifest, otherwise the one that the cluster runs, otherwise this operator's. What a version
/// has written only that version and later ones are sure to read.
fn version(observed: &Observed, release: &Release) -> Result<String, Problem> {
    let spec = &observed.cluster.spec;
    let pinned = observed.cluster.status.as_ref().and_then(|status| status.version.clone());
    let version = spec.version.clone().or_else(|| pinned.clone()).unwrap_or_else(|| release.version.clone());
    if numbers(&release.version) < numbers(&version) {
        let message =
            format!("{version} is newer than this operator ({}); upgrade the operator first", release.version);
        return Err(Problem::new("spec.version", message));
    }
    if let Some(run) = pinned.filter(|run| numbers(&version) < numbers(run)) {
        let message =
            format!("{version} is older than {run}, which every broker has run; set it to {run} or a later one");
        return Err(Problem::new("spec.version", message));
    }
    Ok(version)
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split('-').next().unwrap_or_default();
    release.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Does not depend on the version of the operator: a newer operator restarts no broker.
fn image_of(version: &str, release: &Release) -> String {
    let image = &release.broker_image;
    let name = image.rsplit('/').next().unwrap_or_default();
    if name.contains([':', '@']) { image.clone() } else { format!("{image}:{version}") }
}

fn listeners(specs: &[ListenerSpec]) -> Vec<Listener> {
    if specs.is_empty() {
        return vec![Listener { name: "clients".to_owned(), port: 9092, exposure: Exposure::Internal }];
    }
    specs.iter().map(listener).collect()
}

fn listener(spec: &ListenerSpec) -> Listener {
    let exposure = match spec.kind {
        ListenerType::Internal => Exposure::Internal,
        ListenerType::NodePort => Exposure::NodePort { advertised_host: spec.advertised_host.clone() },
    };
    Listener { name: spec.name.clone(), port: spec.port, exposure }
}

fn resources(spec: Option<&ResourcesSpec>) -> Result<ResourceRequirements, Vec<Problem>> {
    let spec = spec.cloned().unwrap_or_default();
    let given = [("requests", &spec.requests), ("limits", &spec.limits)];
    let invalid = |(field, map): (&str, &BTreeMap<String, Quantity>)| -> Vec<Problem> {
        let bad = map.iter().filter(|(_, value)| quantity::bytes(value).is_none());
        bad.map(|(name, value)| {
            Problem::new(format!("spec.resources.{field}.{name}"), format!("{:?} is not a quantity", value.0))
        })
        .collect()
    };
    let problems: Vec<_> = given.into_iter().flat_map(invalid).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut requests = spec.requests.clone();
    let mut limits = spec.limits.clone();
    let unnamed = |name: &str| !spec.requests.contains_key(name) && !spec.limits.contains_key(name);
    if unnamed("cpu") {
        requests.insert("cpu".to_owned(), Quantity("100m".to_owned()));
    }
    if unnamed("memory") {
        requests.insert("memory".to_owned(), Quantity("256Mi".to_owned()));
        limits.insert("memory".to_owned(), Quantity("1Gi".to_owned()));
    }
    let given = |map: BTreeMap<_, _>| Some(map).filter(|map| !map.is_empty());
    Ok(ResourceRequirements { requests: given(requests), limits: given(limits), ..ResourceRequirements::default() })
}

#[cfg(test)]
#[path = "validate_test.rs"]
mod validate_test;
