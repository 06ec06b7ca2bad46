//! What to do next, decided from what was observed: the objects to apply, at most one disruptive step, and when to
//! look again. Order of the steps:
//!
//! 1. account, Secret and Services: nothing depends on anything else, and node ports get known
//! 2. the rendered options, then the StatefulSet and the disruption budget that refer to them
//! 3. formatting of empty volumes that never held data
//! 4. one restart, once nothing else is to be done and the StatefulSet controller has seen the template
//! 5. removal of what nothing refers to any more
//! 6. the claims: whose they are, their growth. Last, as the storage may refuse to grow for ever

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use protocol::types::{BrokerId, ClusterId};
use uuid::Uuid;

use crate::admin::{AdminTarget, FormatRequest, InitialVoter, ManagementToken};
use crate::brokers::Broker;
use crate::crd::{BrokerPhase, KafkaClusterStatus, condition};
use crate::manifest::{Manifest, ObjectKey, covers};
use crate::names::{ANNOTATION_CLUSTER_ID, PORT_CONTROLLERS};
use crate::notice::{Notice, transitions};
use crate::observe::{Observed, target};
use crate::render::{self, NodePorts, RenderedConfig, StatefulSetTemplate};
use crate::restart::{RestartReason, restart_reason};
use crate::status::{self, Verdict};
use crate::validate::{Problem, ValidatedCluster};

/// A first look at a cluster that moves, then a slower one at what does not.
const LOOK_WHILE_MOVING: Duration = Duration::from_millis(500);
const LOOK_WHILE_STUCK: Duration = Duration::from_secs(5);
const LOOK_WHILE_READY: Duration = Duration::from_secs(30);
const MOVING_MAX: SignedDuration = SignedDuration::from_mins(2);

/// Ids that only one reconcile in the life of a cluster uses.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub cluster_id: Uuid,
    pub token: ManagementToken,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub status: KafkaClusterStatus,
    pub notices: Vec<Notice>,
    pub look_again: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Fails where the object already exists.
    Create(Manifest),
    Apply(Manifest),
    Format {
        broker: BrokerId,
        target: AdminTarget,
        request: FormatRequest,
    },
    Restart {
        broker: BrokerId,
        pod: String,
        uid: String,
        reason: RestartReason,
    },
    Delete(Manifest),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(manifest) => write!(f, "create {}", manifest.key()),
            Self::Apply(manifest) => write!(f, "apply {}", manifest.key()),
            Self::Delete(manifest) => write!(f, "delete {}", manifest.key()),
            Self::Format { broker, .. } => write!(f, "format broker {broker}"),
            Self::Restart { broker, reason, .. } => write!(f, "restart broker {broker}: {reason}"),
        }
    }
}

/// Why nothing may be done at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    #[error("{0} exists and does not belong to this cluster. Rename the cluster, or remove that object.")]
    NameTaken(ObjectKey),
    #[error("the volumes belong to different clusters ({first} and {second}); remove the claims of the wrong one.")]
    ClusterIdConflict { first: ClusterId, second: ClusterId },
}

impl Blocked {
    /// In one word, for the conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTaken(_) => "NameTaken",
            Self::ClusterIdConflict { .. } => "ClusterIdConflict",
        }
    }
}

/// Invalid manifests change nothing: what runs keeps running and is still reported.
pub fn refuse(observed: &Observed, problems: &[Problem], now: Timestamp) -> Plan {
    finish(observed, None, Vec::new(), &Verdict::Invalid(problems.to_vec()), now)
}

pub fn plan(cluster: &ValidatedCluster, observed: &Observed, fresh: &Fresh, now: Timestamp) -> Plan {
    let cluster_id = match settle_cluster_id(observed) {
        Ok(settled) => settled.unwrap_or_else(|| ClusterId::from_uuid(fresh.cluster_id)),
        Err(blocked) => return finish(observed, Some(cluster), Vec::new(), &Verdict::Blocked(blocked), now),
    };
    let node_ports = NodePorts::observed(cluster, observed);
    let config = node_ports.missing(cluster).is_none().then(|| RenderedConfig::new(cluster, &node_ports));
    let wanted = wanted_objects(cluster, observed, &cluster_id, config.as_ref(), fresh);
    if let Some(taken) = taken(cluster, observed, &wanted) {
        return finish(observed, Some(cluster), Vec::new(), &Verdict::Blocked(Blocked::NameTaken(taken)), now);
    }
    let brokers: Vec<_> = cluster.brokers.iter().map(|id| Broker::assess(observed, *id)).collect();
    let mut steps: Vec<_> = wanted.iter().filter_map(|manifest| object_step(manifest, observed)).collect();
    steps.extend(brokers.iter().filter_map(|broker| format_step(cluster, observed, &cluster_id, broker)));
    let mut restarts = Vec::new();
    if let Some(config) = &config {
        let pending = pending_restarts(cluster, observed, &brokers, config);
        restarts = pending.iter().map(|(id, reason)| format!("Restart broker {id}: {reason}.")).collect();
        if steps.is_empty() && template_is_seen(observed) {
            steps.extend(pending.into_iter().find_map(|(id, reason)| restart_step(observed, id, reason)));
        }
        if steps.is_empty() {
            steps.extend(unreferenced(cluster, observed, &wanted).into_iter().map(Step::Delete));
        }
    }
    steps.extend(brokers.iter().filter_map(|broker| claim_step(cluster, observed, &cluster_id, broker)));
    let verdict = Verdict::Proceeding { cluster_id, config, brokers, restarts };
    finish(observed, Some(cluster), steps, &verdict, now)
}

fn finish(
    observed: &Observed,
    cluster: Option<&ValidatedCluster>,
    steps: Vec<Step>,
    verdict: &Verdict,
    now: Timestamp,
) -> Plan {
    let status = status::compose(observed, cluster, verdict, !steps.is_empty(), now);
    let before = observed.cluster.status.clone().unwrap_or_default();
    let look_again = look_again(&status, &steps, now);
    Plan { notices: transitions(&before, &status), steps, status, look_again }
}

/// The one cluster id that the status, the claims and the StatefulSet agree on, if there is one yet.
fn settle_cluster_id(observed: &Observed) -> Result<Option<ClusterId>, Blocked> {
    let annotation =
        |annotations: &std::collections::BTreeMap<String, String>| annotations.get(ANNOTATION_CLUSTER_ID).cloned();
    let reported = observed.cluster.status.as_ref().and_then(|status| status.cluster_id.clone());
    let set = observed.statefulset().filter(|set| owned_by(&set.metadata, &observed.cluster));
    let templates = set.and_then(|set| set.spec?.volume_claim_templates).unwrap_or_default();
    let claims = observed.claims.values().map(|claim| annotation(claim.annotations()));
    let ids = claims.chain([reported]).chain(templates.iter().map(|claim| annotation(claim.annotations())));
    let mut ids = ids.flatten().filter_map(|id| id.parse::<ClusterId>().ok());
    let Some(first) = ids.next() else { return Ok(None) };
    match ids.find(|id| *id != first) {
        Some(second) => Err(Blocked::ClusterIdConflict { first, second }),
        None => Ok(Some(first)),
    }
}

fn owned_by(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    cluster: &crate::crd::KafkaCluster,
) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    cluster.metadata.uid.as_ref().is_some_and(|uid| owners.into_iter().any(|owner| owner.uid == *uid))
}

fn wanted_objects(
    cluster: &ValidatedCluster,
    observed: &Observed,
    cluster_id: &ClusterId,
    config: Option<&RenderedConfig>,
    fresh: &Fresh,
) -> Vec<Manifest> {
    let mut wanted = vec![render::service_account(cluster), render::management_secret(cluster, &fresh.token)];
    wanted.extend(render::services(cluster));
    if let Some(config) = config {
        let born = StatefulSetTemplate::of(observed.statefulset().as_ref(), cluster);
        wanted.push(render::config_map(cluster, config));
        wanted.push(render::statefulset(cluster, cluster_id, config, &born));
        wanted.push(render::disruption_budget(cluster));
    }
    wanted
}

/// The first object under one of our names that is somebody else's.
fn taken(cluster: &ValidatedCluster, observed: &Observed, wanted: &[Manifest]) -> Option<ObjectKey> {
    let claims = observed.standing.keys().find(|key| key.kind == "PersistentVolumeClaim").cloned();
    let standing = |key: &ObjectKey| observed.standing.get(key).is_some_and(|found| !found.is_owned_by(&cluster.uid));
    wanted.iter().map(Manifest::key).find(standing).or(claims)
}

/// The Secret and the options are made once and never changed; everything else follows the manifest.
fn object_step(wanted: &Manifest, observed: &Observed) -> Option<Step> {
    let made_once = matches!(wanted.resource.kind.as_str(), "Secret" | "ConfigMap");
    match observed.standing.get(&wanted.key()) {
        None if made_once => Some(Step::Create(wanted.clone())),
        Some(_) if made_once => None,
        Some(standing) if covers(&standing.body, &wanted.body) => None,
        _ => Some(Step::Apply(wanted.clone())),
    }
}

fn claim_step(
    cluster: &ValidatedCluster,
    observed: &Observed,
    cluster_id: &ClusterId,
    broker: &Broker,
) -> Option<Step> {
    let standing = observed.claims.get(&broker.id)?;
    let wanted = render::claim(cluster, standing, cluster_id, broker.formatted);
    let found = Manifest::new(standing);
    let owned = found.is_owned_by(&cluster.uid);
    let settled = covers_claim(&found, &wanted) && owned == cluster.storage.delete_claim;
    (!settled).then_some(Step::Apply(wanted))
}

/// Owners are compared apart: a claim without any says nothing where the wanted one says "none".
fn covers_claim(found: &Manifest, wanted: &Manifest) -> bool {
    let mut wanted = wanted.body.clone();
    if let Some(metadata) = wanted.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("ownerReferences");
    }
    covers(&found.body, &wanted)
}

fn format_step(
    cluster: &ValidatedCluster,
    observed: &Observed,
    cluster_id: &ClusterId,
    broker: &Broker,
) -> Option<Step> {
    if broker.phase != BrokerPhase::Unformatted {
        return None;
    }
    let directory_id = broker.directory?.to_string();
    let target = target(observed.pods.get(&broker.id)?, observed.token.as_ref()?)?;
    let endpoint = format!("{}:{PORT_CONTROLLERS}", cluster.names.pod_host(broker.id));
    let request = FormatRequest {
        cluster_id: cluster_id.to_string(),
        node_id: broker.id.0,
        directory_id: directory_id.clone(),
        initial_voters: vec![InitialVoter { id: broker.id.0, directory_id, endpoint }],
    };
    Some(Step::Format { broker: broker.id, target, request })
}

/// A broker that checks its logs is left alone: a restart would begin the check anew.
fn pending_restarts(
    cluster: &ValidatedCluster,
    observed: &Observed,
    brokers: &[Broker],
    config: &RenderedConfig,
) -> Vec<(BrokerId, RestartReason)> {
    let reason = |broker: &Broker| restart_reason(observed.pods.get(&broker.id)?, broker.id, cluster, config);
    let movable =
        brokers.iter().filter(|broker| !matches!(broker.phase, BrokerPhase::Stopping | BrokerPhase::Recovering));
    movable.filter_map(|broker| Some((broker.id, reason(broker)?))).collect()
}

fn restart_step(observed: &Observed, broker: BrokerId, reason: RestartReason) -> Option<Step> {
    let pod = observed.pods.get(&broker)?;
    Some(Step::Restart { broker, pod: pod.name_any(), uid: pod.uid()?, reason })
}

/// Before that, a deleted pod could come back as it was.
fn template_is_seen(observed: &Observed) -> bool {
    observed
        .statefulset()
        .is_some_and(|set| set.status.and_then(|status| status.observed_generation) >= set.metadata.generation)
}

/// Services of listeners that are gone, and options that no pod was started with.
fn unreferenced(cluster: &ValidatedCluster, observed: &Observed, wanted: &[Manifest]) -> Vec<Manifest> {
    let ours = observed.standing.values().filter(|manifest| manifest.is_owned_by(&cluster.uid));
    let dropped = ours.filter(|manifest| !wanted.iter().any(|wanted| wanted.key() == manifest.key()));
    let is_config = |manifest: &Manifest| manifest.parse::<ConfigMap>().is_some();
    let is_service = |manifest: &Manifest| manifest.parse::<Service>().is_some();
    let mounted = |manifest: &Manifest| observed.pods.values().any(|pod| mounts(pod, &manifest.name));
    dropped.filter(|manifest| is_service(manifest) || is_config(manifest) && !mounted(manifest)).cloned().collect()
}

fn mounts(pod: &Pod, config_map: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources =
        volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|volume| volume.sources.iter().flatten());
    sources.filter_map(|source| source.config_map.as_ref()).any(|source| source.name == config_map)
}

fn look_again(status: &KafkaClusterStatus, steps: &[Step], now: Timestamp) -> Duration {
    let is_true = |kind: &str| status.condition(kind).is_some_and(|condition| condition.status == "True");
    if is_true(condition::READY) && steps.is_empty() && !is_true(condition::RECONCILING) {
        return LOOK_WHILE_READY;
    }
    let since = status.condition(condition::READY).map_or(now, |condition| condition.last_transition_time.0);
    let moving = !is_true(condition::STALLED) && now.duration_since(since) < MOVING_MAX || !steps.is_empty();
    if moving { LOOK_WHILE_MOVING } else { LOOK_WHILE_STUCK }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod plan_test;
