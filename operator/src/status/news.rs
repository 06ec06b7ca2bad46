//! What the conditions say: where the cluster stands, a reason in one word and a sentence.
//!
//! `Ready` is about clients: a new cluster is Ready once every broker serves, and stays so while some are away as long
//! as a controller is active and no partition is offline. That brokers are missing is said in the sentence.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Verdict, serving, shortened};
use crate::brokers::Broker;
use crate::crd::{BrokerPhase, KafkaClusterStatus, condition};
use crate::observe::Observed;
use crate::validate::Problem;

const MESSAGE_CHARS_MAX: usize = 4096;
/// Of brokers that do not serve, how many the sentence names.
const BROKERS_NAMED_MAX: usize = 3;

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
    pub(super) fn new(stand: Stand, reason: &str, message: &str) -> Self {
        Self { stand, reason: reason.to_owned(), message: shortened(message, MESSAGE_CHARS_MAX) }
    }

    pub(super) fn of(verdict: &Verdict, observed: &Observed, brokers: &[Broker], steps_left: bool) -> Self {
        let in_phase = |phase| brokers.iter().find(|broker| broker.phase == phase);
        match verdict {
            Verdict::Invalid(problems) => {
                let sentences: Vec<_> = problems.iter().map(|problem| sentence(&problem.to_string())).collect();
                let message = format!("{} The cluster is left as it is.", sentences.join(" "));
                Self::new(Stand::Stalled, &invalid_reason(problems), &message)
            }
            Verdict::Blocked(blocked) => Self::new(Stand::Stalled, blocked.reason(), &blocked.to_string()),
            Verdict::Proceeding { config: None, .. } => {
                let message = "Waiting for Kubernetes to give the node ports.";
                let stand = if serving(brokers) == brokers.len() { Stand::ReadyAndChanging } else { Stand::Changing };
                Self::new(stand, "WaitingForNodePorts", message)
            }
            Verdict::Proceeding { restarts, waits, .. } => {
                if let Some(emptied) = in_phase(BrokerPhase::VolumeEmptied) {
                    return Self::new(Stand::VolumeEmptied, "VolumeEmptied", &broker_sentence(emptied));
                }
                if let Some(foreign) = in_phase(BrokerPhase::ForeignVolume) {
                    return Self::new(Stand::Stalled, "ForeignVolume", &broker_sentence(foreign));
                }
                Self::progress(observed, brokers, restarts, waits.as_deref(), steps_left)
            }
        }
    }

    fn progress(
        observed: &Observed,
        brokers: &[Broker],
        restarts: &[String],
        waits: Option<&str>,
        steps_left: bool,
    ) -> Self {
        let (serving, count) = (serving(brokers), brokers.len());
        let head = format!("{serving} of {count} brokers ready");
        if serving < count {
            let stand = if stays_ready(observed) { Stand::ReadyAndChanging } else { Stand::Changing };
            return Self::new(stand, "BrokersNotReady", &away(&head, brokers));
        }
        let partitions = observed.view.as_ref().map(|view| view.partitions).unwrap_or_default();
        if observed.view.as_ref().is_some_and(|view| view.controller_id.is_none_or(|id| id < 0)) {
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
        if 0 < partitions.under_replicated {
            let message = format!("{head}; partitions that lack a replica: {}.", partitions.under_replicated);
            return Self::new(Stand::ReadyAndChanging, "UnderReplicated", &message);
        }
        let stand = if steps_left { Stand::ReadyAndChanging } else { Stand::Ready };
        Self::new(stand, "BrokersReady", &format!("{head}."))
    }

    pub(super) fn conditions(
        &self,
        before: &KafkaClusterStatus,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Vec<Condition> {
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

/// Whether clients of a cluster that was ready are still served.
fn stays_ready(observed: &Observed) -> bool {
    let before = observed.cluster.status.as_ref().and_then(|status| status.condition(condition::READY));
    before.is_some_and(|ready| ready.status == "True")
        && observed.controller().is_some_and(|(_, view)| view.partitions.offline == 0)
}

/// A single broker needs no counting.
fn away(head: &str, brokers: &[Broker]) -> String {
    let away = || brokers.iter().filter(|broker| broker.phase != BrokerPhase::Running);
    let named: Vec<_> = away().take(BROKERS_NAMED_MAX).map(broker_sentence).collect();
    let named = named.join(" ");
    let more = away().count().saturating_sub(BROKERS_NAMED_MAX);
    match (brokers.len(), more) {
        (1, _) => named,
        (_, 0) => format!("{head}. {named}"),
        (_, more) => format!("{head}. {named} And {more} more."),
    }
}

/// Of an operator that may not read nodes.
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
