//! The content of the conditions: the state of the cluster, a reason in one word and a sentence.
//!
//! `Ready` is about clients: a new cluster is Ready once every broker serves. From then on it is Ready while there is
//! an active controller and no partition is offline, however many brokers are away. The sentence tells which are, and
//! what only a person can mend, which is what `Stalled` is about: an invalid manifest, a volume, a lost node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use protocol::types::BrokerId;

use super::{Verdict, serving, shortened, was_formed};
use crate::admin::ClusterView;
use crate::brokers::{Broker, Storage};
use crate::crd::{BrokerPhase, KafkaClusterStatus, PartitionsStatus, condition};
use crate::names::ANNOTATION_PLACEMENT;
use crate::observe::Observed;
use crate::quantity;
use crate::validate::{Problem, claim_capacity, claim_request};

const MESSAGE_CHARS_MAX: usize = 4096;
/// Brokers named in the sentence.
const BROKERS_NAMED_MAX: usize = 3;
/// Nodes with several brokers, named in the sentence.
const NODES_NAMED_MAX: usize = 3;

pub(super) struct News {
    pub(super) stand: Stand,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Ready,
    /// Serves, while something is being changed.
    ReadyAndChanging,
    Changing,
    /// Nothing continues until a person acts.
    Stalled,
    /// The manifest or one broker is stalled, while clients are served.
    ReadyAndStalled,
}

impl Stand {
    fn changing(serves: bool) -> Self {
        if serves { Self::ReadyAndChanging } else { Self::Changing }
    }

    fn stalled(serves: bool) -> Self {
        if serves { Self::ReadyAndStalled } else { Self::Stalled }
    }

    fn conditions(self) -> [(&'static str, bool); 3] {
        [
            (condition::READY, matches!(self, Self::Ready | Self::ReadyAndChanging | Self::ReadyAndStalled)),
            (condition::RECONCILING, matches!(self, Self::ReadyAndChanging | Self::Changing)),
            (condition::STALLED, matches!(self, Self::Stalled | Self::ReadyAndStalled)),
        ]
    }
}

impl News {
    pub(super) fn new(stand: Stand, reason: &str, message: &str) -> Self {
        Self { stand, reason: reason.to_owned(), message: shortened(message, MESSAGE_CHARS_MAX) }
    }

    pub(super) fn of(
        verdict: &Verdict,
        observed: &Observed,
        brokers: &[Broker],
        partitions: PartitionsStatus,
        steps_left: bool,
    ) -> Self {
        match verdict {
            Verdict::Invalid(problems) => {
                let sentences: Vec<_> = problems.iter().map(|problem| sentence(&problem.to_string())).collect();
                let message = format!("{} The cluster is left as it is.", sentences.join(" "));
                Self::new(Stand::stalled(serves(observed, brokers)), &invalid_reason(problems), &message)
            }
            Verdict::Blocked(blocked) => {
                let serves = serves(observed, brokers);
                let stand = if blocked.passes() { Stand::changing(serves) } else { Stand::stalled(serves) };
                Self::new(stand, blocked.reason(), &blocked.to_string())
            }
            Verdict::Proceeding { config: None, .. } => {
                let message = "Waiting for Kubernetes to give the node ports.";
                Self::new(Stand::changing(serves(observed, brokers)), "WaitingForNodePorts", message)
            }
            Verdict::Proceeding { restarts, waits, .. } => {
                let head = format!("{} of {} brokers ready", serving(brokers), brokers.len());
                Self::of_stuck_brokers(&head, observed, brokers)
                    .or_else(|| Self::of_unreachable_brokers(&head, observed, brokers))
                    .or_else(|| Self::of_missing_brokers(&head, observed, brokers))
                    .unwrap_or_else(|| {
                        Self::of_whole_cluster(
                            &head,
                            observed,
                            brokers,
                            partitions,
                            restarts,
                            waits.as_deref(),
                            steps_left,
                        )
                    })
            }
        }
    }

    /// Only a person can help.
    fn of_stuck_brokers(head: &str, observed: &Observed, brokers: &[Broker]) -> Option<Self> {
        let phases = [
            (BrokerPhase::VolumeEmptied, "VolumeEmptied"),
            (BrokerPhase::ForeignVolume, "ForeignVolume"),
            (BrokerPhase::NodeLost, "NodeLost"),
        ];
        phases.into_iter().find_map(|(phase, reason)| {
            let told = named(brokers, |broker| broker.phase == phase)?;
            Some(Self::new(Stand::stalled(serves(observed, brokers)), reason, &headed(head, brokers, &told)))
        })
    }

    /// Their pods are ready, but none of them answers the operator. `Ready` is then what the probes of Kubernetes say.
    fn of_unreachable_brokers(head: &str, observed: &Observed, brokers: &[Broker]) -> Option<Self> {
        let asked = observed.brokers.len();
        let error = observed.brokers.values().last()?.as_ref().err()?;
        if serving(brokers) == 0 || observed.brokers.values().any(Result::is_ok) {
            return None;
        }
        let mut told = format!("{head}, but brokers that do not answer the operator: {asked} of {asked}: {error}.");
        if 1 < brokers.len() {
            told.push_str(" Until one does, none is restarted, no pod may be evicted and no option is set.");
        }
        if let Some(away) = away(brokers) {
            told = format!("{told} {away}");
        }
        Some(Self::new(Stand::changing(serves(observed, brokers)), "BrokersUnreachable", &told))
    }

    fn of_missing_brokers(head: &str, observed: &Observed, brokers: &[Broker]) -> Option<Self> {
        let away = away(brokers)?;
        Some(Self::new(Stand::changing(serves(observed, brokers)), "BrokersNotReady", &headed(head, brokers, &away)))
    }

    /// Brokers that serve, although not everything.
    fn of_storage(head: &str, brokers: &[Broker]) -> Option<Self> {
        let troubles = [(Storage::Full, "VolumeFull"), (Storage::LogsOffline, "LogsOffline")];
        troubles.into_iter().find_map(|(storage, reason)| {
            let told = named(brokers, |broker| broker.storage == storage)?;
            Some(Self::new(Stand::ReadyAndStalled, reason, &format!("{head}. {told}")))
        })
    }

    fn of_whole_cluster(
        head: &str,
        observed: &Observed,
        brokers: &[Broker],
        partitions: PartitionsStatus,
        restarts: &[String],
        waits: Option<&str>,
        steps_left: bool,
    ) -> Self {
        if observed.view.as_ref().is_some_and(|view| !is_led(view)) {
            return Self::new(Stand::Changing, "NoController", &format!("{head}, but no controller is active."));
        }
        if 0 < partitions.offline {
            let message = format!("{head}, but partitions without a leader: {}.", partitions.offline);
            return Self::new(Stand::Changing, "PartitionsOffline", &message);
        }
        if let Some(next) = restarts.first() {
            let more = if 1 < restarts.len() { format!(" {} more follow.", restarts.len() - 1) } else { String::new() };
            let waits = waits.map(|reason| format!(" It waits: {reason}.")).unwrap_or_default();
            return Self::new(Stand::ReadyAndChanging, "Restarting", &format!("{head}. {next}{more}{waits}"));
        }
        if let Some(of_storage) = Self::of_storage(head, brokers) {
            return of_storage;
        }
        if 0 < partitions.under_replicated {
            let message = format!("{head}; partitions that lack a replica: {}.", partitions.under_replicated);
            return Self::new(Stand::ReadyAndChanging, "UnderReplicated", &message);
        }
        if let Some(Err(error)) = &observed.options {
            let message = format!("{head}, but which options of spec.config they follow is not known: {error}.");
            return Self::new(Stand::ReadyAndChanging, "OptionsUnknown", &message);
        }
        if let Some(growing) = observed.claims.values().find_map(growing) {
            return Self::new(Stand::ReadyAndChanging, "VolumesGrow", &format!("{head}; {growing}"));
        }
        let stand = if steps_left { Stand::ReadyAndChanging } else { Stand::Ready };
        Self::new(stand, "BrokersReady", &format!("{head}{}{}.", together(&observed.pods), outdated(observed)))
    }

    pub(super) fn conditions(
        &self,
        before: &KafkaClusterStatus,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let conditions = self.stand.conditions();
        conditions
            .into_iter()
            .map(|(kind, holds)| {
                let message = if holds || kind == condition::READY { self.message.as_str() } else { "" };
                let next = Self::new(self.stand, &self.reason, message);
                next.condition(before, kind, holds, generation, now)
            })
            .collect()
    }

    /// The time of the last transition changes only with the truth of the condition.
    pub(super) fn condition(
        &self,
        before: &KafkaClusterStatus,
        kind: &str,
        holds: bool,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Condition {
        let truth = if holds { "True" } else { "False" };
        let unchanged = before.condition(kind).filter(|found| found.status == truth);
        Condition {
            type_: kind.to_owned(),
            status: truth.to_owned(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |found| found.last_transition_time.clone()),
        }
    }
}

/// Whether the cluster serves clients, whatever else is reported.
fn serves(observed: &Observed, brokers: &[Broker]) -> bool {
    if !brokers.is_empty() && serving(brokers) == brokers.len() {
        return observed.view.as_ref().is_none_or(|view| is_led(view) && view.partitions.offline == 0);
    }
    let view = observed.view.as_ref().filter(|view| view.partitions.offline == 0);
    observed.cluster.status.as_ref().is_some_and(was_formed)
        && view.and_then(|view| view.controller_id).is_some_and(|id| is_there(observed, brokers, BrokerId(id)))
}

fn is_led(view: &ClusterView) -> bool {
    view.controller_id.is_some_and(|id| 0 <= id)
}

/// Whether a controller named by others runs: a single missed answer does not mean that it is gone.
fn is_there(observed: &Observed, brokers: &[Broker], id: BrokerId) -> bool {
    let runs = || brokers.iter().any(|broker| broker.id == id && broker.phase == BrokerPhase::Running);
    observed.brokers.get(&id).is_some_and(Result::is_ok) || runs()
}

/// With a single broker no count is shown.
fn headed(head: &str, brokers: &[Broker], told: &str) -> String {
    if brokers.len() == 1 { told.to_owned() } else { format!("{head}. {told}") }
}

fn away(brokers: &[Broker]) -> Option<String> {
    named(brokers, |broker| broker.phase != BrokerPhase::Running)
}

/// A sentence for each of the first such brokers; `None` if there is none.
fn named(brokers: &[Broker], is_such: impl Fn(&Broker) -> bool) -> Option<String> {
    let sentences: Vec<_> = brokers.iter().filter(|broker| is_such(broker)).map(broker_sentence).collect();
    let named = sentences.iter().take(BROKERS_NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(" ");
    match sentences.len() {
        0 => None,
        count if count <= BROKERS_NAMED_MAX => Some(named),
        count => Some(format!("{named} And {} more.", count - BROKERS_NAMED_MAX)),
    }
}

/// Kubernetes spreads brokers only as far as there are nodes for them, and does not move any later.
fn together(pods: &BTreeMap<BrokerId, Pod>) -> String {
    let mut by_node = BTreeMap::<&str, Vec<String>>::new();
    for (id, pod) in pods {
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
            by_node.entry(node).or_default().push(id.to_string());
        }
    }
    let shared = by_node.into_iter().filter(|(_, ids)| 1 < ids.len()).take(NODES_NAMED_MAX);
    let told = shared.map(|(node, ids)| format!("; with node {node} brokers {} would be lost at once", ids.join(", ")));
    told.collect()
}

/// No pod is restarted for another `spec.pod`. Of pods of a former operator it is not known.
fn outdated(observed: &Observed) -> String {
    let template = observed.statefulset().and_then(|set| set.spec?.template.metadata?.annotations);
    let wanted = template.as_ref().and_then(|annotations| annotations.get(ANNOTATION_PLACEMENT));
    let has = |pod: &&Pod| pod.annotations().get(ANNOTATION_PLACEMENT).is_some_and(|has| Some(has) != wanted);
    match observed.pods.values().filter(has).count() {
        0 => String::new(),
        count => {
            let set = &observed.names.cluster;
            format!("; pods with a former spec.pod: {count}, until kubectl rollout restart statefulset/{set}")
        }
    }
}

/// By how much a volume is smaller than requested, and what Kubernetes says about it.
fn growing(claim: &PersistentVolumeClaim) -> Option<String> {
    let (has, wanted) = (claim_capacity(claim)?, claim_request(claim)?);
    if quantity::bytes(wanted)? <= quantity::bytes(has)? {
        return None;
    }
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let told = conditions.filter_map(|condition| condition.message.as_deref()).rfind(|message| !message.is_empty());
    let told = told.map(|message| format!(": {message}")).unwrap_or_default();
    Some(sentence(&format!("volume {} has {} of {}{told}", claim.name_any(), has.0, wanted.0)))
}

/// For the first broker whose volume is empty.
pub(super) fn volume_emptied(
    broker: &Broker,
    before: &KafkaClusterStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let news = News::new(Stand::Stalled, "VolumeEmptied", &broker_sentence(broker));
    news.condition(before, condition::VOLUME_EMPTIED, true, generation, now)
}

/// For an operator that may not read nodes.
pub(super) fn nodes_unseen(before: &KafkaClusterStatus, generation: Option<i64>, now: Timestamp) -> Condition {
    let message = "The operator has no right to read nodes (rbac.clusterScoped in its chart): brokers do not know their \
                   zone, so replicas are not spread over zones, and a lost node is not told from a slow broker.";
    let news = News::new(Stand::Ready, "NoClusterScope", message);
    news.condition(before, condition::NODES_VISIBLE, false, generation, now)
}

fn broker_sentence(broker: &Broker) -> String {
    format!("Broker {}: {}.", broker.id, broker.message.as_deref().unwrap_or("not ready").trim_end_matches('.'))
}

pub(super) fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// The invalid field, in one word: `spec.config["x"]` gives `InvalidConfig`.
fn invalid_reason(problems: &[Problem]) -> String {
    let field = problems.first().map(|problem| problem.field.as_str()).unwrap_or_default();
    let name: String = field.trim_start_matches("spec.").chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut letters = name.chars();
    letters.next().map_or_else(
        || "InvalidSpec".to_owned(),
        |first| format!("Invalid{}{}", first.to_ascii_uppercase(), letters.as_str()),
    )
}

#[cfg(test)]
#[path = "news_test.rs"]
mod news_test;
