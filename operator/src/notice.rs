//! Events: what people should know, each once, when it happens.

use std::fmt;

use crate::crd::{BrokerPhase, BrokerStatus, KafkaClusterStatus, condition};
use crate::plan::Step;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

impl Notice {
    fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason, note: note.into() }
    }

    fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, note: note.into() }
    }

    /// The event after a step was taken.
    pub fn of(step: &Step) -> Option<Self> {
        match step {
            Step::Format { broker, request, .. } => Some(Self::normal(
                "Formatted",
                format!(
                    "Formatted broker {broker} for cluster {} on directory {}.",
                    request.cluster_id, request.directory_id
                ),
            )),
            Step::Restart { broker, reason, .. } => {
                Some(Self::normal("Restarting", format!("Restarting broker {broker}: {reason}.")))
            }
            Step::ChangeVoters { .. } => Some(Self::normal("VotersChanged", format!("Done: {step}."))),
            Step::SetOptions { .. } => Some(Self::normal("OptionsSet", format!("Done: {step}."))),
            Step::Create(_) | Step::Apply(_) | Step::Merge { .. } | Step::Delete(_) => None,
        }
    }
}

/// Reasons of `Ready` that people should know of although brokers may serve.
const TROUBLES: [&str; 1] = ["BrokersUnreachable"];

/// The events for a change of the status.
pub fn transitions(before: &KafkaClusterStatus, after: &KafkaClusterStatus) -> Vec<Notice> {
    let is_true =
        |status: &KafkaClusterStatus, kind: &str| status.condition(kind).is_some_and(|found| found.status == "True");
    let message = |status: &KafkaClusterStatus, kind: &str| {
        status.condition(kind).map(|found| found.message.clone()).unwrap_or_default()
    };
    let mut notices = Vec::new();
    if before.cluster_id.is_none()
        && let Some(cluster_id) = &after.cluster_id
    {
        notices.push(Notice::normal("Created", format!("Creating cluster {cluster_id}.")));
    }
    // A requested shutdown, most likely by the operator, which has published an event for it.
    let stopping = after.brokers.iter().any(|broker| broker.phase == BrokerPhase::Stopping);
    match (is_true(before, condition::READY), is_true(after, condition::READY)) {
        (false, true) => notices.push(Notice::normal("Ready", message(after, condition::READY))),
        (true, false) if !is_true(after, condition::STALLED) && !stopping => {
            notices.push(Notice::warning("NotReady", message(after, condition::READY)));
        }
        _ => {}
    }
    notices.extend(of_trouble(before, after));
    notices.extend(of_controller(before, after));
    notices.extend(
        after.brokers.iter().filter(|_| 1 < after.brokers.len()).filter_map(|broker| of_broker(before, broker)),
    );
    if !before.plan.is_empty() && after.plan.is_empty() {
        notices.push(Notice::normal("RestartsFinished", "Every broker runs with what the manifest says."));
    }
    let stalled = message(after, condition::STALLED);
    if is_true(after, condition::STALLED)
        && (!is_true(before, condition::STALLED) || message(before, condition::STALLED) != stalled)
    {
        notices.push(Notice::warning("Stalled", stalled));
    }
    notices
}

/// A trouble that came or went.
fn of_trouble(before: &KafkaClusterStatus, after: &KafkaClusterStatus) -> Option<Notice> {
    let ready = after.condition(condition::READY)?;
    let trouble = |status: &KafkaClusterStatus| {
        let reason = &status.condition(condition::READY)?.reason;
        TROUBLES.into_iter().find(|trouble| trouble == reason)
    };
    match (trouble(before), trouble(after)) {
        (former, Some(trouble)) if former != Some(trouble) => Some(Notice::warning(trouble, &ready.message)),
        (Some(_), None) if ready.status == "True" => Some(Notice::normal("Recovered", &ready.message)),
        _ => None,
    }
}

fn of_controller(before: &KafkaClusterStatus, after: &KafkaClusterStatus) -> Option<Notice> {
    let (former, active) = (before.controller?, after.controller?);
    let note = format!("Broker {active} is the active controller; it was broker {former}.");
    (former != active).then(|| Notice::normal("ControllerChanged", note))
}

/// Whether a broker serves, or no longer does. A shutdown was requested.
fn of_broker(before: &KafkaClusterStatus, broker: &BrokerStatus) -> Option<Notice> {
    let former = before.brokers.iter().find(|former| former.id == broker.id).map(|former| former.phase);
    let id = broker.id;
    let node = broker.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    match (former, broker.phase) {
        (Some(BrokerPhase::Running), BrokerPhase::Running | BrokerPhase::Stopping) => None,
        (_, BrokerPhase::Running) => Some(Notice::normal("BrokerReady", format!("Broker {id} serves{node}."))),
        (Some(BrokerPhase::Running), _) => {
            let reason = broker.message.as_deref().unwrap_or("it does not answer").trim_end_matches('.');
            Some(Notice::warning("BrokerLost", format!("Broker {id} no longer serves: {reason}.")))
        }
        _ => None,
    }
}
