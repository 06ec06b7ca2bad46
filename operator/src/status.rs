//! The status that follows from what was observed and decided.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use protocol::types::ClusterId;

use crate::brokers::{Broker, known_brokers};
use crate::crd::{
    BootstrapStatus, BrokerPhase, BrokerStatus, KafkaClusterStatus, PartitionsStatus, VoterStatus, condition,
};
use crate::names::ANNOTATION_IMAGE;
use crate::observe::Observed;
use crate::plan::Blocked;
use crate::render::{NodePorts, RenderedConfig};
use crate::restart::config_hash;
use crate::validate::{Exposure, Listener, Problem, ValidatedCluster};

const MESSAGE_CHARS_MAX: usize = 4096;

/// What validation and planning came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Invalid(Vec<Problem>),
    Blocked(Blocked),
    Proceeding {
        cluster_id: ClusterId,
        /// `None` while Kubernetes has not given every node port.
        config: Option<RenderedConfig>,
        brokers: Vec<Broker>,
        restarts: Vec<String>,
    },
}

pub fn compose(
    observed: &Observed,
    cluster: Option<&ValidatedCluster>,
    verdict: &Verdict,
    steps_left: bool,
    now: Timestamp,
) -> KafkaClusterStatus {
    let mut status = observed.cluster.status.clone().unwrap_or_default();
    let brokers = match verdict {
        Verdict::Proceeding { brokers, .. } => brokers.clone(),
        Verdict::Invalid(_) | Verdict::Blocked(_) => {
            known_brokers(observed).into_iter().map(|id| Broker::assess(observed, id)).collect()
        }
    };
    status.observed_generation = observed.cluster.metadata.generation;
    status.selector = Some(observed.names.selector_text());
    status.replicas = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
    status.ready_replicas = i32::try_from(serving(&brokers)).unwrap_or(i32::MAX);
    status.brokers = brokers.iter().map(|broker| broker_status(observed, broker)).collect();
    if let Some(view) = &observed.view {
        let counts = view.partitions;
        status.partitions = Some(PartitionsStatus {
            under_replicated: counts.under_replicated,
            at_min_isr: counts.at_min_isr,
            offline: counts.offline,
        });
        status.controller = view.controller_id.filter(|id| 0 <= *id);
        let voters = view.voters.iter();
        status.voters =
            voters.map(|voter| VoterStatus { id: voter.id, directory_id: voter.directory_id.clone() }).collect();
    }
    if let (Some(cluster), Verdict::Proceeding { cluster_id, restarts, .. }) = (cluster, verdict) {
        status.cluster_id = Some(cluster_id.to_string());
        status.version = Some(cluster.version.clone());
        status.bootstrap = bootstrap(cluster, observed);
        status.plan.clone_from(restarts);
    }
    let news = News::of(verdict, &brokers, steps_left);
    status.conditions =
        news.conditions(&observed.cluster.status.clone().unwrap_or_default(), status.observed_generation, now);
    status
}

/// Whether a refused step is worth trying again as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Passing,
    Lasting,
}

/// A step that Kubernetes or a broker refused, told without hiding that the brokers serve. Transitions are those since
/// `before`, so that the same refusal leaves the same status.
pub fn with_failure(
    mut status: KafkaClusterStatus,
    before: &KafkaClusterStatus,
    failure: &str,
    persistence: Persistence,
    now: Timestamp,
) -> KafkaClusterStatus {
    let failure = sentence(failure);
    let ready = status.condition(condition::READY).filter(|found| found.status == "True");
    let serves = ready.is_some();
    let told = ready.map_or_else(|| failure.clone(), |ready| format!("{} {failure}", ready.message));
    let stalled = persistence == Persistence::Lasting;
    let conditions = [
        (condition::READY, serves, told),
        (condition::RECONCILING, !stalled, if stalled { String::new() } else { failure.clone() }),
        (condition::STALLED, stalled, if stalled { failure } else { String::new() }),
    ];
    for (kind, holds, message) in conditions {
        let stand = if stalled { Stand::Stalled } else { Stand::Changing };
        let next =
            News::new(stand, "StepFailed", &message).condition(before, kind, holds, status.observed_generation, now);
        status.conditions.retain(|found| found.type_ != kind);
        status.conditions.push(next);
    }
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}

fn serving(brokers: &[Broker]) -> usize {
    brokers.iter().filter(|broker| broker.phase == BrokerPhase::Running).count()
}

fn broker_status(observed: &Observed, broker: &Broker) -> BrokerStatus {
    let pod = observed.pods.get(&broker.id);
    BrokerStatus {
        id: broker.id.0,
        pod: observed.names.pod(broker.id),
        node: pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
        directory_id: broker.directory.filter(|_| broker.formatted).map(|directory| directory.to_string()),
        image: pod.and_then(|pod| pod.annotations().get(ANNOTATION_IMAGE).cloned()),
        config_hash: pod.and_then(|pod| config_hash(pod, broker.id)),
        phase: broker.phase,
        message: broker.message.as_deref().map(|message| shortened(message, 1024)),
    }
}

fn shortened(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

fn bootstrap(cluster: &ValidatedCluster, observed: &Observed) -> Vec<BootstrapStatus> {
    let node_ports = NodePorts::observed(cluster, observed);
    let addresses = |listener: &Listener| match &listener.exposure {
        Exposure::Internal => vec![format!("{}:{}", cluster.names.bootstrap_host(), listener.port)],
        Exposure::NodePort { advertised_host } => {
            let address = |id: &protocol::types::BrokerId| {
                let node = observed.pods.get(id).and_then(|pod| pod.status.as_ref()?.host_ip.clone());
                let host = advertised_host.clone().or(node)?;
                Some(format!("{host}:{}", node_ports.get(listener, *id)?))
            };
            cluster.brokers.iter().filter_map(address).collect()
        }
    };
    let entry =
        |listener: &Listener| BootstrapStatus { listener: listener.name.clone(), addresses: addresses(listener) };
    cluster.listeners.iter().map(entry).collect()
}

/// What the conditions have to say: where the cluster stands, a reason in one word and a sentence.
struct News {
    stand: Stand,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Ready,
    /// Serves, while something is being changed.
    ReadyAndChanging,
    Changing,
    /// Nothing goes on until somebody does something.
    Stalled,
    VolumeEmptied,
}

impl Stand {
    fn conditions(self) -> Vec<(&'static str, bool)> {
        let mut conditions = vec![
            (condition::READY, matches!(self, Self::Ready | Self::ReadyAndChanging)),
            (condition::RECONCILING, matches!(self, Self::ReadyAndChanging | Self::Changing)),
            (condition::STALLED, matches!(self, Self::Stalled | Self::VolumeEmptied)),
        ];
        if self == Self::VolumeEmptied {
            conditions.push((condition::VOLUME_EMPTIED, true));
        }
        conditions
    }
}

impl News {
    fn new(stand: Stand, reason: &str, message: &str) -> Self {
        Self { stand, reason: reason.to_owned(), message: shortened(message, MESSAGE_CHARS_MAX) }
    }

    fn of(verdict: &Verdict, brokers: &[Broker], steps_left: bool) -> Self {
        match verdict {
            Verdict::Invalid(problems) => {
                let sentences: Vec<_> = problems.iter().map(|problem| sentence(&problem.to_string())).collect();
                let message = format!("{} The cluster is left as it is.", sentences.join(" "));
                Self::new(Stand::Stalled, &invalid_reason(problems), &message)
            }
            Verdict::Blocked(blocked) => Self::new(Stand::Stalled, blocked.reason(), &blocked.to_string()),
            Verdict::Proceeding { config, restarts, .. } => {
                let emptied = brokers.iter().find(|broker| broker.phase == BrokerPhase::VolumeEmptied);
                let foreign = brokers.iter().find(|broker| broker.phase == BrokerPhase::ForeignVolume);
                match emptied {
                    Some(emptied) => Self::new(Stand::VolumeEmptied, "VolumeEmptied", &broker_sentence(emptied)),
                    None => foreign.map_or_else(
                        || Self::progress(brokers, config.is_some(), restarts, steps_left),
                        |foreign| Self::new(Stand::Stalled, "ForeignVolume", &broker_sentence(foreign)),
                    ),
                }
            }
        }
    }

    fn progress(brokers: &[Broker], ports_known: bool, restarts: &[String], steps_left: bool) -> Self {
        let count = brokers.len();
        if let Some(waiting) = brokers.iter().find(|broker| broker.phase != BrokerPhase::Running) {
            let (reason, message) = if ports_known {
                ("BrokersNotReady", broker_sentence(waiting))
            } else {
                ("WaitingForNodePorts", "Waiting for Kubernetes to give the node ports.".to_owned())
            };
            return Self::new(Stand::Changing, reason, &message);
        }
        if !restarts.is_empty() {
            return Self::new(Stand::ReadyAndChanging, "Restarting", &restarts.join(" "));
        }
        let stand = if steps_left || !ports_known { Stand::ReadyAndChanging } else { Stand::Ready };
        Self::new(stand, "BrokersReady", &format!("{count} of {count} brokers ready."))
    }

    fn conditions(&self, before: &KafkaClusterStatus, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        let conditions = self.stand.conditions().into_iter();
        conditions
            .map(|(kind, holds)| {
                let message = if holds || kind == condition::READY { self.message.as_str() } else { "" };
                let next = Self::new(self.stand, &self.reason, message);
                next.condition(before, kind, holds, generation, now)
            })
            .collect()
    }

    /// The time of the last transition moves only with the truth of the condition.
    fn condition(
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

fn broker_sentence(broker: &Broker) -> String {
    format!("Broker {}: {}.", broker.id, broker.message.as_deref().unwrap_or("not ready").trim_end_matches('.'))
}

fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// The field that is wrong, in one word: `spec.config["x"]` gives `InvalidConfig`.
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
#[path = "status_test.rs"]
mod status_test;
