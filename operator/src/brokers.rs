//! The state of a broker, from its pod, its claim and its own answer.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Node, PersistentVolumeClaim, Pod,
};
use kube::ResourceExt as _;
use protocol::types::{BrokerId, ClusterId, DirectoryId};

use crate::admin::{AdminError, BrokerState, BrokerView, DiskView, RegisteredState, RegisteredView};
use crate::crd::BrokerPhase;
use crate::names::{ANNOTATION_CLUSTER_ID, ANNOTATION_FORMATTED, CONTAINER};
use crate::observe::Observed;

#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    pub id: BrokerId,
    pub phase: BrokerPhase,
    pub message: Option<String>,
    /// The volume of the current claim.
    pub directory: Option<DirectoryId>,
    /// Whether a broker was ever formatted on that volume.
    pub formatted: bool,
    pub storage: Storage,
}

/// What a broker says of its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Or nothing is known of it.
    Sound,
    /// Producers are told to retry.
    Full,
    /// Logs failed and are not served.
    LogsOffline,
}

impl Storage {
    fn of(view: &BrokerView) -> Self {
        match view {
            BrokerView { disk: DiskView { is_low: true }, .. } => Self::Full,
            view if !view.offline_replicas.is_empty() => Self::LogsOffline,
            _ => Self::Sound,
        }
    }
}

impl Broker {
    pub fn assess(observed: &Observed, id: BrokerId) -> Self {
        let pod = observed.pods.get(&id);
        let claim = observed.claims.get(&id);
        let answer = observed.brokers.get(&id);
        let view = answer.and_then(|answer| answer.as_ref().ok());
        let directory = claim.and_then(directory);
        let formatted = directory.is_some_and(|directory| is_known(observed, id, directory, view));
        let (phase, message) = match pod {
            None => (BrokerPhase::Pending, Some(format!("waiting for pod {} to be created", observed.names.pod(id)))),
            Some(pod) if pod.metadata.deletion_timestamp.is_some() => ending_pod(observed, id, pod),
            Some(pod) if is_left_over(observed, pod) => {
                (BrokerPhase::Stopping, Some(format!("pod {} goes with its deleted StatefulSet", pod.name_any())))
            }
            Some(pod) => match view {
                Some(view) => running(observed, id, pod, view, formatted),
                None => lost_node(observed, pod).map_or_else(
                    || not_answering(pod, claim, answer.and_then(|answer| answer.as_ref().err())),
                    |lost| (BrokerPhase::NodeLost, Some(format!("{lost}; {}", once_off(observed, id, pod)))),
                ),
            },
        };
        let storage = view.map_or(Storage::Sound, Storage::of);
        Self { id, phase, message, directory, formatted, storage }
    }
}

/// The status of the broker's own container.
pub fn broker_container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|container| container.name == CONTAINER)
}

/// Every broker that exists or existed: those of the pods and of the status.
pub fn known_brokers(observed: &Observed) -> Vec<BrokerId> {
    let reported = observed.cluster.status.iter().flat_map(|status| &status.brokers).map(|broker| BrokerId(broker.id));
    let mut ids: Vec<_> = observed.pods.keys().copied().chain(reported).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The UID of a claim is the id of the data directory on it: another claim is another replica.
pub fn directory(claim: &PersistentVolumeClaim) -> Option<DirectoryId> {
    claim.metadata.uid.as_deref()?.parse().ok()
}

fn is_known(observed: &Observed, id: BrokerId, directory: DirectoryId, view: Option<&BrokerView>) -> bool {
    let same = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok()) == Some(directory);
    let annotated =
        observed.claims.get(&id).is_some_and(|claim| claim.annotations().contains_key(ANNOTATION_FORMATTED));
    let statuses = observed.cluster.status.iter().flat_map(|status| &status.brokers);
    let reported = statuses.filter(|broker| broker.id == id.0).any(|broker| same(&broker.directory_id));
    let answers = view.is_some_and(|view| match view.state {
        BrokerState::Running | BrokerState::Registering | BrokerState::Leaving | BrokerState::Recovering => true,
        BrokerState::Other => same(&view.directory_id),
        BrokerState::Unformatted => false,
    });
    annotated || reported || answers
}

fn running(
    observed: &Observed,
    id: BrokerId,
    pod: &Pod,
    view: &BrokerView,
    formatted: bool,
) -> (BrokerPhase, Option<String>) {
    if let Some(message) = foreign(observed, id, pod, view) {
        return (BrokerPhase::ForeignVolume, Some(message));
    }
    match view.state {
        BrokerState::Unformatted if formatted => {
            let claim = observed.names.claim(id);
            let message = format!(
                "volume {claim} held data and is empty now, so it is not formatted again. Put the data back and delete \
                 pod {pod}; or, to start without it, delete claim {claim} and pod {pod}",
                pod = pod.name_any()
            );
            (BrokerPhase::VolumeEmptied, Some(message))
        }
        BrokerState::Unformatted => (BrokerPhase::Unformatted, Some("waits to be formatted".to_owned())),
        BrokerState::Recovering => {
            let progress = view.recovery.unwrap_or_default();
            let message = format!("checks its logs: {} of {} done", progress.logs_done, progress.logs_total);
            (BrokerPhase::Recovering, Some(message))
        }
        BrokerState::Running if is_ready(pod) => {
            (BrokerPhase::Running, storage_trouble(observed, id, view).or_else(|| missed_zone(observed, id, pod)))
        }
        BrokerState::Leaving => (BrokerPhase::Stopping, Some("hands over what it leads".to_owned())),
        BrokerState::Registering => (BrokerPhase::Starting, Some("waits for the controller to count on it".to_owned())),
        BrokerState::Running if is_fenced(observed, id) => {
            (BrokerPhase::Starting, Some("runs; the controller does not count on it yet".to_owned()))
        }
        BrokerState::Running => {
            (BrokerPhase::Starting, Some("serves; Kubernetes has not seen it ready yet".to_owned()))
        }
        BrokerState::Other => (BrokerPhase::Starting, Some("starts".to_owned())),
    }
}

fn is_fenced(observed: &Observed, id: BrokerId) -> bool {
    registered(observed, id).is_some_and(|broker| broker.state != RegisteredState::Unfenced)
}

fn registered(observed: &Observed, id: BrokerId) -> Option<&RegisteredView> {
    observed.view.as_ref()?.brokers.iter().find(|broker| broker.id == id.0)
}

fn storage_trouble(observed: &Observed, id: BrokerId, view: &BrokerView) -> Option<String> {
    let claim = observed.names.claim(id);
    match Storage::of(view) {
        Storage::Sound => None,
        Storage::Full => {
            let help = "enlarge spec.storage.size, or keep less";
            Some(format!("volume {claim} is full, so producers are told to try again; {help}"))
        }
        Storage::LogsOffline => {
            let first = view.offline_replicas.first()?;
            let count = view.offline_replicas.len();
            Some(format!(
                "logs on volume {claim} that failed and are not served: {count}, the first {}: {}; they are tried again \
                 when it is restarted, kubectl rollout restart statefulset/{}",
                first.partition, first.reason, observed.names.cluster
            ))
        }
    }
}

/// At its start a broker waits for its zone only for a while, and the operator may have been down.
fn missed_zone(observed: &Observed, id: BrokerId, pod: &Pod) -> Option<String> {
    let zone = observed.zone(pod).filter(|zone| !zone.is_empty() && 1 < observed.pods.len())?;
    let rack = registered(observed, id)?.rack.as_deref();
    let known = rack.map_or_else(|| "without a rack".to_owned(), |rack| format!("in rack {rack}"));
    let help =
        format!("it takes the zone up by a restart, kubectl rollout restart statefulset/{}", observed.names.cluster);
    (rack != Some(zone)).then(|| format!("registered {known}, while its node is in zone {zone}; {help}"))
}

/// What is wrong if the volume was formatted under another directory or cluster id than the claim's. This is so with
/// a copy of a volume, even of this broker's own: it lacks what was acknowledged after it was made, so it must not
/// stand in for the replica.
fn foreign(observed: &Observed, id: BrokerId, pod: &Pod, view: &BrokerView) -> Option<String> {
    let claim = observed.claims.get(&id)?;
    let own_directory = directory(claim)?;
    let found_directory: Option<DirectoryId> = view.directory_id.as_deref().and_then(|text| text.parse().ok());
    let own_cluster: Option<ClusterId> =
        claim.annotations().get(ANNOTATION_CLUSTER_ID).and_then(|text| text.parse().ok());
    let found_cluster: Option<ClusterId> = view.cluster_id.as_deref().and_then(|text| text.parse().ok());
    let (claim, pod) = (observed.names.claim(id), pod.name_any());
    let anew = format!("delete claim {claim} and pod {pod}");
    match (own_cluster, found_cluster, found_directory) {
        (Some(own), Some(found), _) if own != found => Some(format!(
            "volume {claim} was formatted for cluster {found} and not for {own}. Put the data of this broker back and \
             delete pod {pod}; or, to start without it, {anew}"
        )),
        (_, _, Some(found)) if own_directory != found => Some(format!(
            "volume {claim} was formatted for directory {found} and not for {own_directory}: a copy, as one restored \
             from a snapshot, is not the broker's volume, as it lacks what came after it. Bind claim {claim} to the \
             volume it had and delete pod {pod}; or, to start without it, {anew}"
        )),
        _ => None,
    }
}

/// Kubernetes is about to delete it, however ready it may still be.
fn is_left_over(observed: &Observed, pod: &Pod) -> bool {
    let mut owners = pod.owner_references().iter().filter(|owner| owner.controller == Some(true));
    owners.any(|owner| owner.kind == "StatefulSet" && observed.statefulset_uid() != Some(owner.uid.as_str()))
}

/// Only its node can confirm that a pod has ended.
fn ending_pod(observed: &Observed, id: BrokerId, pod: &Pod) -> (BrokerPhase, Option<String>) {
    let name = pod.name_any();
    match lost_node(observed, pod) {
        None => (BrokerPhase::Stopping, Some(format!("pod {name} shuts down"))),
        Some(lost) => {
            let help = once_off(observed, id, pod);
            (BrokerPhase::NodeLost, Some(format!("{lost}, so pod {name} does not end; {help}")))
        }
    }
}

/// While the broker may still run, its replacement would be a second broker with the same id.
fn once_off(observed: &Observed, id: BrokerId, pod: &Pod) -> String {
    format!(
        "once that machine is off for good, kubectl delete pod {} --force; before it, only where the volume went with \
         the machine, kubectl delete pvc {} --wait=false",
        pod.name_any(),
        observed.names.claim(id)
    )
}

/// What is wrong with the node of a pod that is not ready.
fn lost_node(observed: &Observed, pod: &Pod) -> Option<String> {
    let name = pod.spec.as_ref()?.node_name.as_deref()?;
    match observed.nodes.as_ref()?.get(name) {
        None => Some(format!("its node {name} is gone")),
        Some(node) if !is_ready(pod) && !answers(node) => Some(format!("its node {name} does not answer")),
        Some(_) => None,
    }
}

/// Whether the kubelet still reports.
fn answers(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A ready pod stays ready while one answer is missing: its probes decide, every second. If the process runs it may
/// still serve clients, and must not be restarted without permission, however it ended before.
fn not_answering(
    pod: &Pod,
    claim: Option<&PersistentVolumeClaim>,
    refusal: Option<&AdminError>,
) -> (BrokerPhase, Option<String>) {
    if is_ready(pod) {
        return (BrokerPhase::Running, refusal.map(|error| format!("its management API does not answer: {error}")));
    }
    if let Some(reason) = unscheduled(pod) {
        let volume = claim.filter(|_| reason.contains("PersistentVolumeClaim")).map(unbound).unwrap_or_default();
        let reason = reason.trim_end_matches('.');
        return (BrokerPhase::Pending, Some(format!("pod {} cannot be scheduled: {reason}{volume}", pod.name_any())));
    }
    match container_trouble(pod) {
        Some(trouble) if runs(pod) => {
            (BrokerPhase::Starting, Some(format!("pod {} starts again: {trouble}", pod.name_any())))
        }
        Some(trouble) => (BrokerPhase::Pending, Some(format!("pod {} does not start: {trouble}", pod.name_any()))),
        None => (BrokerPhase::Starting, Some(format!("pod {} starts", pod.name_any()))),
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

pub fn runs(pod: &Pod) -> bool {
    let state = broker_container(pod).and_then(|container| container.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

fn unscheduled(pod: &Pod) -> Option<String> {
    condition(pod, "PodScheduled").filter(|(status, _)| *status == "False").map(|(_, message)| message)
}

/// The scheduler does not name the class that cannot supply a volume.
fn unbound(claim: &PersistentVolumeClaim) -> String {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let class =
        class.map_or_else(|| "has no storage class".to_owned(), |class| format!("waits for storage class {class}"));
    format!("; claim {} {class}", claim.name_any())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.as_str(), found.message.clone().unwrap_or_default()))
}

/// Why the container does not run, in the words of the kubelet and of the broker.
fn container_trouble(pod: &Pod) -> Option<String> {
    let status = broker_container(pod)?;
    let exit = |state: &Option<ContainerState>| state.as_ref()?.terminated.as_ref().map(ending);
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting
        .and_then(|waiting| waiting.reason.clone())
        .filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing");
    let detail = waiting.and_then(|waiting| waiting.message.clone());
    match (reason, exit(&status.state).or_else(|| exit(&status.last_state)), detail) {
        (Some(reason), Some(exit), _) => Some(format!("{reason}, {exit}")),
        (Some(reason), None, Some(detail)) => Some(format!("{reason}: {detail}")),
        (Some(reason), None, None) => Some(reason),
        (None, exit, _) => exit,
    }
}

/// The last log line of a broker tells why it ends. One that is killed logs nothing.
fn ending(ended: &ContainerStateTerminated) -> String {
    let killed = ended.reason.as_deref().filter(|reason| *reason == "OOMKilled").map(|_| "out of memory, ");
    let code = format!("{}exit code {}", killed.unwrap_or_default(), ended.exit_code);
    let said = ended.message.iter().flat_map(|message| message.lines()).rfind(|line| !line.trim().is_empty());
    said.map_or_else(|| code.clone(), |said| format!("{code}: {}", said.trim()))
}
