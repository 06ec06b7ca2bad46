//! Reads the state of Kubernetes and of the brokers: the IO before the decision.
//!
//! Objects are read afresh each time instead of from a cache. The watches only tell when to look, so the operator
//! keeps no copies in memory and never decides on a stale one.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use futures::try_join;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ApiResource, ListParams, Object};
use kube::{Client, Resource, ResourceExt as _};
use protocol::types::BrokerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::{AdminError, AdminTarget, BrokerAdmin, BrokerState, BrokerView, ClusterView, ManagementToken};
use crate::brokers::runs;
use crate::crd::{KafkaCluster, KafkaClusterStatus, ListenerType};
use crate::manifest::{Manifest, ObjectKey};
use crate::names::{LABEL_CLUSTER, Names};

/// Key of the tokens in the management Secret, one per line.
pub const SECRET_KEY_TOKENS: &str = "tokens";

/// The label of nodes.
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// Limits the reads for a manifest that has not been validated yet.
const BROKERS_MAX: i32 = 1024;

#[derive(Debug, Clone)]
pub struct Observed {
    pub cluster: KafkaCluster,
    pub names: Names,
    /// Objects under the names that this cluster uses, whatever their owner.
    pub standing: BTreeMap<ObjectKey, Manifest>,
    pub token: Option<ManagementToken>,
    pub pods: BTreeMap<BrokerId, Pod>,
    pub claims: BTreeMap<BrokerId, PersistentVolumeClaim>,
    /// The nodes of the pods, by name. `None`: the operator has no right to see nodes.
    pub nodes: Option<BTreeMap<String, Node>>,
    /// The answers of the brokers whose container runs.
    pub brokers: BTreeMap<BrokerId, Result<BrokerView, AdminError>>,
    /// The newest view of the cluster that a broker has.
    pub view: Option<ClusterView>,
    /// The broker with that view.
    pub view_of: Option<BrokerId>,
    /// The options of all brokers, from the same broker; `None`: nobody was asked.
    pub options: Option<Result<BTreeMap<String, String>, AdminError>>,
}

#[derive(Debug, thiserror::Error)]
#[error("could not read {what}: {source}")]
pub struct ObserveError {
    what: String,
    source: Box<kube::Error>,
}

impl ObserveError {
    /// Present if only a person can help: the operator lacks a right, or an object was written for a newer one.
    pub fn refusal(&self) -> Option<Refusal> {
        let (reason, why) = match self.source.as_ref() {
            kube::Error::Api(answer) if answer.code == 403 => ("NotAllowed", answer.message.clone()),
            kube::Error::SerdeError(error) => ("NotUnderstood", format!("this operator does not know it: {error}")),
            _ => return None,
        };
        Some(Refusal { reason, message: format!("could not read {}: {why}", self.what) })
    }
}

/// Why nothing can be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

impl Observed {
    /// A cluster of which nothing exists yet.
    pub fn nothing(cluster: KafkaCluster) -> Self {
        let names = Names { cluster: cluster.name_any(), namespace: cluster.namespace().unwrap_or_default() };
        Self {
            cluster,
            names,
            standing: BTreeMap::new(),
            token: None,
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            nodes: None,
            brokers: BTreeMap::new(),
            view: None,
            view_of: None,
            options: None,
        }
    }

    /// The active controller and its own view. Other brokers may be behind, and do not know the grants.
    pub fn controller(&self) -> Option<(BrokerId, &ClusterView)> {
        let view = self.view.as_ref()?;
        self.view_of.filter(|id| view.controller_id == Some(id.0)).map(|id| (id, view))
    }

    /// The options of all brokers, if they could be read.
    pub fn known_options(&self) -> Option<&BTreeMap<String, String>> {
        self.options.as_ref()?.as_ref().ok()
    }

    /// Addresses of the brokers whose container runs.
    pub fn targets(&self) -> BTreeMap<BrokerId, AdminTarget> {
        let Some(token) = &self.token else { return BTreeMap::new() };
        self.pods.iter().filter_map(|(id, pod)| Some((*id, target(pod, token)?))).collect()
    }

    /// The zone of the pod's node; empty if it has none.
    pub fn zone(&self, pod: &Pod) -> Option<&str> {
        let node = self.nodes.as_ref()?.get(pod.spec.as_ref()?.node_name.as_ref()?)?;
        Some(node.labels().get(LABEL_ZONE).map_or("", String::as_str))
    }

    pub fn get<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, name: &str) -> Option<K> {
        let key = ObjectKey { kind: K::kind(&()).into_owned(), name: name.to_owned() };
        self.standing.get(&key)?.parse()
    }

    pub fn statefulset(&self) -> Option<StatefulSet> {
        self.get(self.names.statefulset())
    }

    pub fn statefulset_uid(&self) -> Option<&str> {
        let name = self.names.statefulset().to_owned();
        let set = self.standing.get(&ObjectKey { kind: StatefulSet::kind(&()).into_owned(), name })?;
        set.body.pointer("/metadata/uid")?.as_str()
    }

    fn add(&mut self, manifests: Vec<Manifest>) {
        self.standing.extend(manifests.into_iter().map(|manifest| (manifest.key(), manifest)));
    }
}

/// Whether the operator has the right to read cluster-scoped objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Namespaces,
    Nodes,
}

/// `None`: the cluster is gone.
pub async fn find_cluster(client: &Client, names: &Names) -> Result<Option<KafkaCluster>, ObserveError> {
    Reader { client, namespace: &names.namespace }.find(&names.cluster).await
}

/// What was told of a cluster last, whether or not its spec can be read.
pub async fn find_status(client: &Client, names: &Names) -> Result<Option<KafkaClusterStatus>, ObserveError> {
    let resource = ApiResource::erase::<KafkaCluster>(&());
    let api: Api<Object<Value, KafkaClusterStatus>> = Api::namespaced_with(client.clone(), &names.namespace, &resource);
    let found = api.get_opt(&names.cluster).await;
    let found = found.map_err(|source| ObserveError { what: "the status".to_owned(), source: Box::new(source) })?;
    Ok(found.map(|cluster| cluster.status.unwrap_or_default()))
}

/// Reads everything about one cluster.
pub async fn observe(
    client: &Client,
    admin: &dyn BrokerAdmin,
    reach: Reach,
    cluster: KafkaCluster,
) -> Result<Observed, ObserveError> {
    let mut observed = Observed::nothing(cluster);
    let namespace = observed.names.namespace.clone();
    Box::pin(read_objects(&Reader { client, namespace: &namespace }, &mut observed)).await?;
    if reach == Reach::Nodes {
        observed.nodes = Some(read_nodes(client, &observed.pods).await?);
    }
    ask_brokers(admin, &mut observed).await;
    Ok(observed)
}

/// The existing nodes of the pods.
async fn read_nodes(client: &Client, pods: &BTreeMap<BrokerId, Pod>) -> Result<BTreeMap<String, Node>, ObserveError> {
    let names: BTreeSet<&String> = pods.values().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
    let api: Api<Node> = Api::all(client.clone());
    let found = join_all(names.iter().map(|name| api.get_opt(name))).await;
    let mut nodes = BTreeMap::new();
    for (name, found) in names.into_iter().zip(found) {
        let found = found.map_err(|source| ObserveError { what: format!("Node {name}"), source: Box::new(source) })?;
        nodes.extend(found.map(|node| (name.clone(), node)));
    }
    Ok(nodes)
}

async fn read_objects(reader: &Reader<'_>, observed: &mut Observed) -> Result<(), ObserveError> {
    let names = observed.names.clone();
    let selector = names.selector_text();
    let secret_name = names.management_secret();
    let (statefulset, account, budget, services, configs, secret, pods, claims) = try_join!(
        reader.find::<StatefulSet>(names.statefulset()),
        reader.find::<ServiceAccount>(&names.cluster),
        reader.find::<PodDisruptionBudget>(&names.cluster),
        reader.list::<Service>(&selector),
        reader.list::<ConfigMap>(&selector),
        reader.find::<Secret>(&secret_name),
        reader.list::<Pod>(&selector),
        reader.list::<PersistentVolumeClaim>(&selector),
    )?;
    observed.token = secret.as_ref().and_then(first_token);
    observed.add(statefulset.iter().map(Manifest::new).collect());
    observed.add(account.iter().map(Manifest::new).collect());
    observed.add(budget.iter().map(Manifest::new).collect());
    observed.add(services.iter().map(Manifest::new).collect());
    observed.add(configs.iter().map(Manifest::new).collect());
    observed.add(secret.iter().map(without_data).map(|secret| Manifest::new(&secret)).collect());
    observed.pods = by_ordinal(&format!("{}-", names.cluster), pods);
    observed.claims = by_ordinal(&format!("data-{}-", names.cluster), claims);
    if statefulset.is_none() {
        find_foreign_claims(reader, observed).await?;
    }
    find_foreign_services(reader, observed).await
}

/// Claims without our label that the StatefulSet would take for its own. It can find any only before it exists.
async fn find_foreign_claims(reader: &Reader<'_>, observed: &mut Observed) -> Result<(), ObserveError> {
    let all = reader.list::<PersistentVolumeClaim>("").await?;
    let prefix = format!("data-{}-", observed.names.cluster);
    let foreign = by_ordinal(&prefix, all).into_values().filter(|claim| !claim.labels().contains_key(LABEL_CLUSTER));
    observed.add(foreign.map(|claim| Manifest::new(&claim)).collect());
    Ok(())
}

/// Services not found by label: missing, or of another owner.
async fn find_foreign_services(reader: &Reader<'_>, observed: &mut Observed) -> Result<(), ObserveError> {
    let names = &observed.names;
    let node_ports = observed.cluster.spec.listeners.iter().filter(|listener| listener.kind == ListenerType::NodePort);
    let brokers = 0..observed.cluster.spec.replicas.min(BROKERS_MAX);
    let mut wanted: Vec<_> = node_ports
        .flat_map(|listener| brokers.clone().map(|id| names.node_port_service(&listener.name, BrokerId(id))))
        .collect();
    wanted.extend([names.brokers_service(), names.bootstrap_service()]);
    wanted.retain(|name| observed.get::<Service>(name).is_none());
    let found = join_all(wanted.iter().map(|name| reader.find::<Service>(name))).await;
    let found: Vec<_> = found.into_iter().collect::<Result<_, _>>()?;
    observed.add(found.iter().flatten().map(Manifest::new).collect());
    Ok(())
}

/// Each broker about itself and, if it runs, about the cluster. A broker's view gets stale when it is cut off from
/// the others: the newest epoch counts, and within it the controller's own view.
async fn ask_brokers(admin: &dyn BrokerAdmin, observed: &mut Observed) {
    let answers = join_all(observed.targets().into_iter().map(|(id, target)| ask_broker(admin, id, target))).await;
    let mut newest = None;
    for (id, broker, view) in answers {
        observed.brokers.insert(id, broker);
        let Some(view) = view else { continue };
        let rank = (view.controller_epoch, view.controller_id == Some(id.0));
        if newest.is_none_or(|newest| newest < rank) {
            newest = Some(rank);
            (observed.view, observed.view_of) = (Some(view), Some(id));
        }
    }
    if let Some(target) = observed.view_of.and_then(|id| observed.targets().remove(&id)) {
        observed.options = Some(admin.options(target).await);
    }
}

async fn ask_broker(
    admin: &dyn BrokerAdmin,
    id: BrokerId,
    target: AdminTarget,
) -> (BrokerId, Result<BrokerView, AdminError>, Option<ClusterView>) {
    let broker = admin.broker(target.clone()).await;
    let has_metadata = |view: &BrokerView| {
        matches!(view.state, BrokerState::Registering | BrokerState::Running | BrokerState::Leaving)
    };
    let view = if broker.as_ref().is_ok_and(has_metadata) { admin.cluster(target).await.ok() } else { None };
    (id, broker, view)
}

/// The address of a pod's broker; `None` while no container runs.
pub fn target(pod: &Pod, token: &ManagementToken) -> Option<AdminTarget> {
    let pod_ip = pod.status.as_ref()?.pod_ip.clone()?;
    runs(pod).then(|| AdminTarget { pod_ip, token: token.clone() })
}

fn first_token(secret: &Secret) -> Option<ManagementToken> {
    let tokens = secret.data.as_ref()?.get(SECRET_KEY_TOKENS)?;
    let text = std::str::from_utf8(&tokens.0).ok()?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| ManagementToken(line.to_owned()))
}

/// Only the token leaves this module, once, as its own type.
fn without_data(secret: &Secret) -> Secret {
    Secret { metadata: secret.metadata.clone(), ..Secret::default() }
}

fn by_ordinal<K: Resource<DynamicType = ()>>(prefix: &str, objects: Vec<K>) -> BTreeMap<BrokerId, K> {
    let ordinal = |object: &K| object.name_any().strip_prefix(prefix)?.parse().ok().filter(|id| 0 <= *id).map(BrokerId);
    objects.into_iter().filter_map(|object| Some((ordinal(&object)?, object))).collect()
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn find<K>(&self, name: &str) -> Result<Option<K>, ObserveError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let what = || format!("{} {name}", K::kind(&()));
        api.get_opt(name).await.map_err(|source| ObserveError { what: what(), source: Box::new(source) })
    }

    async fn list<K>(&self, selector: &str) -> Result<Vec<K>, ObserveError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Serialize
            + Clone
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let listed = api.list(&ListParams::default().labels(selector)).await;
        let what = || format!("the {}", K::plural(&()));
        listed.map(|list| list.items).map_err(|source| ObserveError { what: what(), source: Box::new(source) })
    }
}
