//! Decides from the observed state what to do next: the objects to apply, at most one disruptive step, and when to
//! look again. Order of the steps:
//!
//! 1. claims that are to be kept from now on lose their owner: at once, whatever else is wrong
//! 2. the zones of nodes onto the pods: brokers wait for them at their start
//! 3. account, Secret and Services: they depend on nothing else, and node ports become known
//! 4. the rendered options, then the StatefulSet and the disruption budget that refer to them
//! 5. formatting of empty volumes that never held data
//! 6. options that need no restart
//! 7. one restart, once nothing is left to do but options and repairs of what others keep changing, and the StatefulSet
//!    controller has seen the template
//! 8. removal of what nothing refers to any more
//! 9. who votes, where that is not who should, and nobody is being restarted
//! 10. the claims: what is noted on them, their growth. Last, as the storage may refuse to grow for ever

mod claims;
mod restarts;
mod votes;

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use protocol::types::{BrokerId, ClusterId};
use uuid::Uuid;

use crate::admin::{AdminTarget, FormatRequest, ManagementToken, OptionChange, Vote, VoterChange};
use crate::brokers::{Broker, known_brokers};
use crate::crd::{KafkaClusterStatus, condition};
use crate::grant::GrantCall;
use crate::manifest::{Manifest, ObjectKey, covers};
use crate::names::{ANNOTATION_CLUSTER_ID, ANNOTATION_ZONE};
use crate::observe::Observed;
use crate::options;
use crate::render::{self, ClaimNotes, Evictions, NodePorts, RenderedConfig, StatefulSetTemplate};
use crate::restart::RestartReason;
use crate::status::{self, Verdict};
use crate::validate::{Problem, ValidatedCluster};
use crate::voters::{Disagreement, InitialVoters};

/// First at short intervals while a cluster changes, then at longer ones while it does not.
const LOOK_WHILE_MOVING: Duration = Duration::from_millis(500);
const LOOK_WHILE_STUCK: Duration = Duration::from_secs(5);
const LOOK_WHILE_READY: Duration = Duration::from_secs(30);
const MOVING_MAX: SignedDuration = SignedDuration::from_mins(2);

/// Ids that are used by a single reconcile in the life of a cluster.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub cluster_id: Uuid,
    pub token: ManagementToken,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub status: KafkaClusterStatus,
    pub look_again: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Fails if the object already exists.
    Create(Manifest),
    Apply(Manifest),
    /// Changes the fields in the manifest and leaves all others, even those that the operator applied before.
    Merge {
        verb: &'static str,
        change: Manifest,
    },
    Format {
        broker: BrokerId,
        target: AdminTarget,
        request: FormatRequest,
    },
    SetOptions {
        target: AdminTarget,
        changes: Vec<OptionChange>,
    },
    ChangeVoters {
        target: AdminTarget,
        change: VoterChange,
    },
    Restart {
        broker: BrokerId,
        pod: String,
        uid: String,
        reason: RestartReason,
        /// Requested before the pod is deleted. `None`: the broker serves no clients, or is the only one.
        grant: Option<GrantCall>,
    },
    Delete(Manifest),
}

impl Step {
    /// Whether later steps must wait for it. Not so for options: a broker may not know one before it is restarted
    /// with another version.
    pub fn comes_first(&self) -> bool {
        !matches!(self, Self::SetOptions { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(manifest) => write!(f, "create {}", manifest.key()),
            Self::Apply(manifest) => write!(f, "apply {}", manifest.key()),
            Self::Merge { verb, change } => write!(f, "{verb} {}", change.key()),
            Self::Delete(manifest) => write!(f, "delete {}", manifest.key()),
            Self::SetOptions { changes, .. } => {
                let told = changes.iter().map(|OptionChange { name, value }| match value {
                    Some(value) => format!("{name}={value}"),
                    None => format!("no {name}"),
                });
                write!(f, "set for all brokers {}", told.collect::<Vec<_>>().join(", "))
            }
            Self::ChangeVoters { change: VoterChange { broker, directory, vote, .. }, .. } => match vote {
                Vote::Add { .. } => write!(f, "give broker {broker} a vote on its volume {directory}"),
                Vote::Remove => write!(f, "take the vote of broker {broker} on volume {directory} away, which is gone"),
            },
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
    #[error("{0} belongs to a KafkaCluster of this name that was deleted; this one begins when it is gone.")]
    LeftOver(ObjectKey),
    #[error("Secret {0} holds no token for the brokers; delete it, and the operator makes another one.")]
    NoToken(String),
    #[error("the volumes belong to different clusters ({first} and {second}); remove the claims of the wrong one.")]
    ClusterIdConflict { first: ClusterId, second: ClusterId },
    #[error("the volumes name different first voters ({} and {}); remove the claims of the wrong ones.", .0.first, .0.second)]
    VotersConflict(Box<Disagreement>),
}

impl Blocked {
    /// The reason of the conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTaken(_) => "NameTaken",
            Self::LeftOver(_) => "LeftOver",
            Self::NoToken(_) => "NoToken",
            Self::ClusterIdConflict { .. } => "ClusterIdConflict",
            Self::VotersConflict(_) => "VotersConflict",
        }
    }

    /// Whether it ends by itself: Kubernetes is about to delete the object.
    pub fn passes(&self) -> bool {
        matches!(self, Self::LeftOver(_))
    }
}

/// With an invalid manifest only the steps of `keep_running` are taken: what runs keeps running and is still
/// reported.
pub fn refuse(observed: &Observed, problems: &[Problem], now: Timestamp) -> Plan {
    finish(observed, None, keep_running(observed), &Verdict::Invalid(problems.to_vec()), now)
}

/// What a cluster needs even if its manifest is invalid: claims that are to be kept, zones for pods that are
/// re-created, and how many brokers may be evicted.
fn keep_running(observed: &Observed) -> Vec<Step> {
    let mut steps = claims::release(observed);
    steps.extend(zone_steps(observed));
    steps.extend(restarts::standing_budget(observed));
    steps
}

pub fn plan(cluster: &ValidatedCluster, observed: &Observed, fresh: &Fresh, now: Timestamp) -> Plan {
    let brokers: Vec<_> = cluster.brokers.iter().map(|id| Broker::assess(observed, *id)).collect();
    let notes = match settle_notes(cluster, observed, &brokers, fresh) {
        Ok(notes) => notes,
        Err(blocked) => return block(cluster, observed, blocked, now),
    };
    let node_ports = NodePorts::observed(cluster, observed);
    let config = node_ports.missing(cluster).is_none().then(|| RenderedConfig::new(cluster, &node_ports));
    let pending = config.as_ref().map(|config| restarts::pending(cluster, observed, &brokers, config));
    let pending = pending.unwrap_or_default();
    let evictions = restarts::evictions(&cluster.controllers, observed, &brokers, &pending);
    let wanted = wanted_objects(cluster, observed, &notes.cluster_id, config.as_ref(), evictions, fresh);
    if let Some(blocked) = taken(cluster, observed, &wanted).or_else(|| without_token(cluster, observed)) {
        return block(cluster, observed, blocked, now);
    }
    let mut steps = claims::release(observed);
    steps.extend(zone_steps(observed));
    steps.extend(wanted.iter().filter_map(|manifest| object_step(manifest, observed)));
    steps.extend(brokers.iter().filter_map(|broker| claims::format(cluster, observed, &notes, broker)));
    steps.extend(option_step(cluster, observed));
    let mut waits = None;
    if config.is_some() {
        let settled = steps.iter().all(|step| is_repair(step, observed) || !step.comes_first());
        let movable = restarts::movable(&brokers, &pending);
        if settled && !movable.is_empty() && template_is_seen(observed) {
            match restarts::next(cluster, observed, &brokers, &movable) {
                Ok(restart) => steps.push(restart),
                Err(reason) => waits = Some(reason),
            }
        } else if settled {
            steps.extend(unreferenced(cluster, observed, &wanted).into_iter().map(Step::Delete));
        }
        if !steps.iter().any(|step| matches!(step, Step::Restart { .. })) {
            steps.extend(votes::next(cluster, observed, &notes.cluster_id, &brokers));
        }
    }
    steps.extend(brokers.iter().filter_map(|broker| claims::note(cluster, observed, &notes, broker)));
    steps.extend(brokers.iter().filter_map(|broker| claims::growth(cluster, observed, broker)));
    let restarts = pending.iter().map(|(id, reason)| format!("Restart broker {id}: {reason}.")).collect();
    let verdict = Verdict::Proceeding { cluster_id: notes.cluster_id, config, brokers, restarts, waits };
    finish(observed, Some(cluster), steps, &verdict, now)
}

/// The notes for every claim of the cluster. The voters are chosen only while no volume was ever formatted.
fn settle_notes(
    cluster: &ValidatedCluster,
    observed: &Observed,
    brokers: &[Broker],
    fresh: &Fresh,
) -> Result<ClaimNotes, Blocked> {
    let cluster_id = settle_cluster_id(observed)?.unwrap_or_else(|| ClusterId::from_uuid(fresh.cluster_id));
    let voters = match InitialVoters::noted(observed).map_err(Blocked::VotersConflict)? {
        None if brokers.iter().all(|broker| !broker.formatted) => InitialVoters::choose(&cluster.controllers, observed),
        noted => noted,
    };
    Ok(ClaimNotes { cluster_id, voters })
}

/// Options set by others are left alone: only those in the manifest, now or before, are changed.
fn option_step(cluster: &ValidatedCluster, observed: &Observed) -> Option<Step> {
    let (found, id) = (observed.known_options()?, observed.view_of?);
    let differs = |name: &str, value: &str| found.get(name).is_none_or(|found| !options::same(name, found, value));
    let wanted = cluster.dynamic.iter().filter(|(name, value)| differs(name, value));
    let wanted = wanted.map(|(name, value)| OptionChange { name: name.clone(), value: Some(value.clone()) });
    let said_before = observed.cluster.status.iter().flat_map(|status| &status.options);
    let dropped = said_before.filter(|name| !cluster.dynamic.contains_key(*name) && found.contains_key(*name));
    let dropped = dropped.map(|name| OptionChange { name: name.clone(), value: None });
    let changes: Vec<_> = wanted.chain(dropped).collect();
    let target = observed.targets().remove(&id)?;
    (!changes.is_empty()).then_some(Step::SetOptions { target, changes })
}

/// A single broker cannot be spread.
fn zone_steps(observed: &Observed) -> Vec<Step> {
    let zoned = |pod: &Pod| {
        let zone = observed.zone(pod)?;
        let noted = pod.annotations().get(ANNOTATION_ZONE);
        let change = || Step::Merge { verb: "annotate", change: render::zoned_pod(pod, zone) };
        (noted != render::zone_note(zone).get(ANNOTATION_ZONE)).then(change)
    };
    let several = 1 < known_brokers(observed).len();
    observed.pods.values().filter(|_| several).filter_map(zoned).collect()
}

fn block(cluster: &ValidatedCluster, observed: &Observed, blocked: Blocked, now: Timestamp) -> Plan {
    finish(observed, Some(cluster), keep_running(observed), &Verdict::Blocked(blocked), now)
}

fn finish(
    observed: &Observed,
    cluster: Option<&ValidatedCluster>,
    steps: Vec<Step>,
    verdict: &Verdict,
    now: Timestamp,
) -> Plan {
    let steps_left = steps.iter().any(|step| !is_repair(step, observed));
    let status = status::compose(observed, cluster, verdict, steps_left, now);
    let look_again = look_again(&status, steps_left, now);
    Plan { steps, status, look_again }
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
    evictions: Evictions,
    fresh: &Fresh,
) -> Vec<Manifest> {
    let mut wanted = vec![render::service_account(cluster), render::management_secret(cluster, &fresh.token)];
    wanted.extend(render::services(cluster));
    if let Some(config) = config {
        let born = StatefulSetTemplate::of(observed.statefulset().as_ref(), cluster);
        wanted.push(render::config_map(cluster, config));
        wanted.push(render::statefulset(cluster, cluster_id, config, &born));
        wanted.push(render::disruption_budget(cluster, evictions));
    }
    wanted
}

/// The first object under one of our names that has another owner.
fn taken(cluster: &ValidatedCluster, observed: &Observed, wanted: &[Manifest]) -> Option<Blocked> {
    let standing = wanted.iter().filter_map(|wanted| observed.standing.get(&wanted.key()));
    let mut foreign = standing.filter(|found| !found.is_owned_by(&cluster.uid));
    let claim = || observed.standing.values().find(|found| found.resource.kind == "PersistentVolumeClaim");
    let found = foreign.next().or_else(claim)?;
    let left_over = found.is_of_a_cluster_named(&cluster.names.cluster);
    Some(if left_over { Blocked::LeftOver(found.key()) } else { Blocked::NameTaken(found.key()) })
}

/// Without a token brokers and operator could not communicate.
fn without_token(cluster: &ValidatedCluster, observed: &Observed) -> Option<Blocked> {
    let name = cluster.names.management_secret();
    let stands = observed.standing.contains_key(&ObjectKey { kind: "Secret".to_owned(), name: name.clone() });
    (stands && observed.token.is_none()).then_some(Blocked::NoToken(name))
}

/// The Secret and the options are created once and never changed; everything else follows the manifest.
fn object_step(wanted: &Manifest, observed: &Observed) -> Option<Step> {
    let made_once = matches!(wanted.resource.kind.as_str(), "Secret" | "ConfigMap");
    match observed.standing.get(&wanted.key()) {
        None if made_once => Some(Step::Create(wanted.clone())),
        Some(_) if made_once => None,
        Some(standing) if covers(&standing.body, &wanted.body) => None,
        _ => Some(Step::Apply(wanted.clone())),
    }
}

/// Applies again what was applied already. A webhook may undo it for ever, which must not hold up other steps.
fn is_repair(step: &Step, observed: &Observed) -> bool {
    let Step::Apply(wanted) = step else { return false };
    let standing = observed.standing.get(&wanted.key());
    wanted.stamp().is_some() && standing.and_then(Manifest::stamp) == wanted.stamp()
}

/// Until then a deleted pod could come back unchanged.
fn template_is_seen(observed: &Observed) -> bool {
    observed
        .statefulset()
        .is_some_and(|set| set.status.and_then(|status| status.observed_generation) >= set.metadata.generation)
}

/// Services of removed listeners, and options with which no pod was started.
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

/// What others change back at once does not count as a step left: it is repaired at normal intervals. Nor does a step
/// that must wait.
pub fn look_again(status: &KafkaClusterStatus, steps_left: bool, now: Timestamp) -> Duration {
    let is_true = |kind: &str| status.condition(kind).is_some_and(|condition| condition.status == "True");
    if is_true(condition::READY) && !is_true(condition::RECONCILING) && !is_true(condition::STALLED) {
        return LOOK_WHILE_READY;
    }
    let since = status.condition(condition::RECONCILING).map_or(now, |condition| condition.last_transition_time.0);
    let moving = is_true(condition::RECONCILING) && now.duration_since(since) < MOVING_MAX || steps_left;
    if moving { LOOK_WHILE_MOVING } else { LOOK_WHILE_STUCK }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod plan_test;
