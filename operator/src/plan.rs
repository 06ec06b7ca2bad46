//! What to do next, decided from what was observed: the objects to apply, at most one disruptive step, and when to
//! look again. Order of the steps:
//!
//! 1. claims that are to be kept from now on lose their owner: at once, and whatever else is wrong
//! 2. account, Secret and Services: nothing depends on anything else, and node ports get known
//! 3. the rendered options, then the StatefulSet and the disruption budget that refer to them
//! 4. formatting of empty volumes that never held data
//! 5. one restart, once nothing is left to do but repairs of what others keep changing, and the StatefulSet controller has seen the template
//! 6. removal of what nothing refers to any more
//! 7. the claims: what is noted on them, their growth. Last, as the storage may refuse to grow for ever

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
use crate::quantity;
use crate::render::{self, NodePorts, RenderedConfig, StatefulSetTemplate};
use crate::restart::{RestartReason, restart_reason};
use crate::status::{self, Verdict};
use crate::validate::{Problem, ValidatedCluster, claim_request};

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
    /// Changes what the manifest names and leaves the rest, also what the operator applied before.
    Grow(Manifest),
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
            Self::Grow(manifest) => write!(f, "grow {}", manifest.key()),
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

/// Invalid manifests change nothing but whether claims are kept: what runs keeps running and is still reported.
pub fn refuse(observed: &Observed, problems: &[Problem], now: Timestamp) -> Plan {
    finish(observed, None, release_steps(observed), &Verdict::Invalid(problems.to_vec()), now)
}

pub fn plan(cluster: &ValidatedCluster, observed: &Observed, fresh: &Fresh, now: Timestamp) -> Plan {
    let cluster_id = match settle_cluster_id(observed) {
        Ok(settled) => settled.unwrap_or_else(|| ClusterId::from_uuid(fresh.cluster_id)),
        Err(blocked) => return block(cluster, observed, blocked, now),
    };
    let node_ports = NodePorts::observed(cluster, observed);
    let config = node_ports.missing(cluster).is_none().then(|| RenderedConfig::new(cluster, &node_ports));
    let wanted = wanted_objects(cluster, observed, &cluster_id, config.as_ref(), fresh);
    if let Some(taken) = taken(cluster, observed, &wanted) {
        return block(cluster, observed, Blocked::NameTaken(taken), now);
    }
    let brokers: Vec<_> = cluster.brokers.iter().map(|id| Broker::assess(observed, *id)).collect();
    let mut steps = release_steps(observed);
    steps.extend(wanted.iter().filter_map(|manifest| object_step(manifest, observed)));
    steps.extend(brokers.iter().filter_map(|broker| format_step(cluster, observed, &cluster_id, broker)));
    let mut restarts = Vec::new();
    if let Some(config) = &config {
        let pending = pending_restarts(cluster, observed, &brokers, config);
        restarts = pending.iter().map(|(id, reason)| format!("Restart broker {id}: {reason}.")).collect();
        let settled = steps.iter().all(|step| is_repair(step, observed));
        let restart = pending.into_iter().find_map(|(id, reason)| restart_step(observed, id, reason));
        let restart = restart.filter(|_| settled && template_is_seen(observed));
        if settled && restart.is_none() {
            steps.extend(unreferenced(cluster, observed, &wanted).into_iter().map(Step::Delete));
        }
        steps.extend(restart);
    }
    steps.extend(brokers.iter().filter_map(|broker| claim_step(cluster, observed, &cluster_id, broker)));
    steps.extend(brokers.iter().filter_map(|broker| growth_step(cluster, observed, broker)));
    let verdict = Verdict::Proceeding { cluster_id, config, brokers, restarts };
    finish(observed, Some(cluster), steps, &verdict, now)
}

fn block(cluster: &ValidatedCluster, observed: &Observed, blocked: Blocked, now: Timestamp) -> Plan {
    finish(observed, Some(cluster), release_steps(observed), &Verdict::Blocked(blocked), now)
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

/// Applies once more what was applied already. A webhook may undo it for ever, which must not hold up the rest.
fn is_repair(step: &Step, observed: &Observed) -> bool {
    let Step::Apply(wanted) = step else { return false };
    let standing = observed.standing.get(&wanted.key());
    wanted.stamp().is_some() && standing.and_then(Manifest::stamp) == wanted.stamp()
}

/// From the manifest as written: data that is to be kept must not wait for a mistake elsewhere to be mended.
fn release_steps(observed: &Observed) -> Vec<Step> {
    if observed.cluster.spec.storage.delete_claim {
        return Vec::new();
    }
    let uid = observed.cluster.metadata.uid.as_deref().unwrap_or_default();
    let owned = observed.claims.values().filter(|claim| Manifest::new(*claim).is_owned_by(uid));
    owned.map(|claim| Step::Apply(render::released_claim(claim))).collect()
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
    let settled = covers(&found.body, &wanted.body) && (owned || !cluster.storage.delete_claim);
    (!settled).then_some(Step::Apply(wanted))
}

fn growth_step(cluster: &ValidatedCluster, observed: &Observed, broker: &Broker) -> Option<Step> {
    let standing = observed.claims.get(&broker.id)?;
    let requested = quantity::bytes(claim_request(standing)?)?;
    (requested < cluster.storage.size_bytes).then(|| Step::Grow(render::grown_claim(standing, &cluster.storage.size)))
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

/// A broker that checks its logs is left alone, as a restart would begin the check anew; and so is one on a volume
/// that is not its own.
fn pending_restarts(
    cluster: &ValidatedCluster,
    observed: &Observed,
    brokers: &[Broker],
    config: &RenderedConfig,
) -> Vec<(BrokerId, RestartReason)> {
    let reason = |broker: &Broker| restart_reason(observed.pods.get(&broker.id)?, broker.id, cluster, config);
    let stays = |phase| matches!(phase, BrokerPhase::Stopping | BrokerPhase::Recovering | BrokerPhase::ForeignVolume);
    let movable = brokers.iter().filter(|broker| !stays(broker.phase));
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
