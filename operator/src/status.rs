//! The status that follows from what was observed and decided.

mod news;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use protocol::types::ClusterId;

use crate::brokers::{Broker, known_brokers};
use crate::crd::{
    BootstrapStatus, BrokerPhase, BrokerStatus, KafkaClusterStatus, PartitionsStatus, VoterStatus, condition,
};
use crate::names::{ANNOTATION_IMAGE, MANAGER};
use crate::observe::{Observed, Refusal};
use crate::plan::Blocked;
use crate::render::{NodePorts, RenderedConfig};
use crate::restart::config_hash;
use crate::validate::{Exposure, Listener, Problem, ValidatedCluster};
use news::{News, Stand, sentence};

/// Numbers that change while nothing else does are written at this interval. Every write triggers all watchers.
const MOVING_NUMBERS_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// As limited by the CRD: a longer status would be refused as a whole.
const ADDRESSES_MAX: usize = 64;
const OPTIONS_MAX: usize = 256;
const PLAN_LINES_MAX: usize = 64;
const LINE_CHARS_MAX: usize = 1024;

/// The result of validation and planning.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Invalid(Vec<Problem>),
    Blocked(Blocked),
    Proceeding {
        cluster_id: ClusterId,
        /// `None` until Kubernetes has assigned every node port.
        config: Option<RenderedConfig>,
        brokers: Vec<Broker>,
        restarts: Vec<String>,
        /// Why the next of them is not begun.
        waits: Option<String>,
    },
}

pub fn compose(
    observed: &Observed,
    cluster: Option<&ValidatedCluster>,
    verdict: &Verdict,
    steps_left: bool,
    now: Timestamp,
) -> KafkaClusterStatus {
    let before = observed.cluster.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let mut brokers = match verdict {
        Verdict::Proceeding { brokers, .. } => brokers.clone(),
        Verdict::Invalid(_) | Verdict::Blocked(_) => {
            known_brokers(observed).into_iter().map(|id| Broker::assess(observed, id)).collect()
        }
    };
    let was_just_written = was_just_written(observed, now);
    if was_just_written {
        keep_progress(&before, &mut brokers);
    }
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
        let voters =
            voters.map(|voter| VoterStatus { id: voter.id, directory_id: voter.directory_id.clone(), lag: voter.lag });
        status.voters = voters.collect();
    }
    if was_just_written {
        keep_moving_numbers(&before, &mut status);
    }
    if let (Some(cluster), Verdict::Proceeding { cluster_id, restarts, .. }) = (cluster, verdict) {
        status.cluster_id = Some(cluster_id.to_string());
        status.version = Some(version(cluster, observed, &before, &brokers));
        status.bootstrap = bootstrap(cluster, observed);
        status.plan = plan_lines(restarts, &before, &brokers);
        status.options = options_set(cluster, observed, &before);
    }
    let partitions = observed.view.as_ref().and(status.partitions).unwrap_or_default();
    let news = News::of(verdict, observed, &brokers, partitions, steps_left);
    status.conditions = news.conditions(&before, status.observed_generation, now);
    status.formed = was_formed(&before) || is_ready(&status);
    let emptied = brokers.iter().find(|broker| broker.phase == BrokerPhase::VolumeEmptied);
    let emptied = emptied.map(|broker| news::volume_emptied(broker, &before, status.observed_generation, now));
    let unseen = observed.nodes.is_none() && cluster.is_some_and(|cluster| 1 < cluster.brokers.len());
    let unseen = unseen.then(|| news::nodes_unseen(&before, status.observed_generation, now));
    status.conditions.extend(emptied.into_iter().chain(unseen));
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}

/// The former version, to which the cluster may be set back, until every broker serves with the new image.
fn version(cluster: &ValidatedCluster, observed: &Observed, before: &KafkaClusterStatus, brokers: &[Broker]) -> String {
    let serves = |broker: &Broker| {
        broker.phase == BrokerPhase::Running && started_image(observed, broker).as_ref() == Some(&cluster.image)
    };
    let former = before.version.clone().filter(|_| !brokers.iter().all(serves));
    former.unwrap_or_else(|| cluster.version.clone())
}

fn started_image(observed: &Observed, broker: &Broker) -> Option<String> {
    observed.pods.get(&broker.id)?.annotations().get(ANNOTATION_IMAGE).cloned()
}

fn is_ready(status: &KafkaClusterStatus) -> bool {
    status.condition(condition::READY).is_some_and(|ready| ready.status == "True")
}

fn was_formed(before: &KafkaClusterStatus) -> bool {
    before.formed || is_ready(before)
}

/// Restarts are over once every broker serves again, which a further restart would wait for.
fn plan_lines(restarts: &[String], before: &KafkaClusterStatus, brokers: &[Broker]) -> Vec<String> {
    let mut lines: Vec<_> = restarts.iter().map(|line| shortened(line, LINE_CHARS_MAX)).collect();
    if lines.is_empty() && !before.plan.is_empty() {
        let away = brokers.iter().filter(|broker| broker.phase != BrokerPhase::Running);
        lines.extend(away.map(|broker| format!("Wait until broker {} serves.", broker.id)));
    }
    let more = (lines.len() + 1).saturating_sub(PLAN_LINES_MAX);
    if 1 < more {
        lines.truncate(PLAN_LINES_MAX - 1);
        lines.push(format!("And {more} more."));
    }
    lines
}

/// The options of the manifest, and former ones that are still set. While they cannot be read: what is known.
fn options_set(cluster: &ValidatedCluster, observed: &Observed, before: &KafkaClusterStatus) -> Vec<String> {
    let Some(found) = observed.known_options() else { return before.options.clone() };
    let former = before.options.iter().filter(|name| found.contains_key(*name));
    let names: BTreeSet<_> = cluster.dynamic.keys().chain(former).cloned().collect();
    names.into_iter().take(OPTIONS_MAX).collect()
}

/// By the clock of the API server, which may differ from this one.
fn was_just_written(observed: &Observed, now: Timestamp) -> bool {
    let managed = observed.cluster.metadata.managed_fields.iter().flatten();
    let own = managed.filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let written =
        own.filter(|entry| entry.subresource.as_deref() == Some("status")).filter_map(|entry| entry.time.as_ref());
    let age = written.map(|time| now.duration_since(time.0)).min();
    age.is_some_and(|age| (SignedDuration::ZERO..MOVING_NUMBERS_EVERY).contains(&age))
}

/// Keeps the reported progress of a broker that checks its logs.
fn keep_progress(before: &KafkaClusterStatus, brokers: &mut [Broker]) {
    for broker in brokers.iter_mut().filter(|broker| broker.phase == BrokerPhase::Recovering) {
        let mut known = before.brokers.iter().filter(|known| known.id == broker.id.0 && known.phase == broker.phase);
        let told = known.next().and_then(|known| known.message.clone());
        broker.message = told.or_else(|| broker.message.take());
    }
}

/// Changes to or from zero, and removed values, are reported at once.
fn keep_moving_numbers(before: &KafkaClusterStatus, status: &mut KafkaClusterStatus) {
    if let (Some(before), Some(counts)) = (before.partitions, &mut status.partitions) {
        let keep = |before: i32, count: &mut i32| *count = if before == 0 || *count == 0 { *count } else { before };
        keep(before.under_replicated, &mut counts.under_replicated);
        keep(before.at_min_isr, &mut counts.at_min_isr);
        keep(before.offline, &mut counts.offline);
    }
    for voter in &mut status.voters {
        let known = before.voters.iter().find(|known| known.id == voter.id && known.directory_id == voter.directory_id);
        voter.lag = known.map_or(voter.lag, |known| known.lag);
    }
}

/// Whether a refused step is worth repeating unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Passing,
    Lasting,
}

/// A step that Kubernetes or a broker refused.
pub fn with_failure(
    status: KafkaClusterStatus,
    before: &KafkaClusterStatus,
    failure: &str,
    persistence: Persistence,
    now: Timestamp,
) -> KafkaClusterStatus {
    let stand = if persistence == Persistence::Lasting { Stand::Stalled } else { Stand::Changing };
    with_sentence(status, before, &News::new(stand, "StepFailed", &sentence(failure)), now)
}

/// A step that must wait.
pub fn with_wait(
    status: KafkaClusterStatus,
    before: &KafkaClusterStatus,
    reason: &str,
    now: Timestamp,
) -> KafkaClusterStatus {
    with_sentence(status, before, &News::new(Stand::Changing, "Waiting", &sentence(reason)), now)
}

/// Added to the sentence of `Ready`, whose truth is kept: brokers may serve all the same. Transitions are relative to
/// `before`, so that the same news leads to the same status.
fn with_sentence(
    mut status: KafkaClusterStatus,
    before: &KafkaClusterStatus,
    news: &News,
    now: Timestamp,
) -> KafkaClusterStatus {
    let ready = status.condition(condition::READY).filter(|found| found.status == "True");
    let serves = ready.is_some();
    let told = ready.map_or_else(|| news.message.clone(), |ready| format!("{} {}", ready.message, news.message));
    let stalled = news.stand == Stand::Stalled;
    let only_if = |holds: bool| if holds { news.message.clone() } else { String::new() };
    let conditions = [
        (condition::READY, serves, told),
        (condition::RECONCILING, !stalled, only_if(!stalled)),
        (condition::STALLED, stalled, only_if(stalled)),
    ];
    let generation = status.observed_generation;
    let told = |(kind, holds, message): (&str, bool, String)| {
        News::new(news.stand, &news.reason, &message).condition(before, kind, holds, generation, now)
    };
    replace(&mut status.conditions, conditions.map(told));
    status
}

/// What the operator could not observe. Whether clients are served stays as last known.
pub fn unseen(
    mut status: KafkaClusterStatus,
    refusal: &Refusal,
    generation: Option<i64>,
    now: Timestamp,
) -> KafkaClusterStatus {
    let changes =
        [(condition::STALLED, true, sentence(&refusal.message)), (condition::RECONCILING, false, String::new())];
    let conditions = changes.map(|(kind, holds, message)| {
        News::new(Stand::Stalled, refusal.reason, &message).condition(&status, kind, holds, generation, now)
    });
    replace(&mut status.conditions, conditions);
    status
}

fn replace<const N: usize>(conditions: &mut Vec<Condition>, others: [Condition; N]) {
    conditions.retain(|found| others.iter().all(|other| other.type_ != found.type_));
    conditions.extend(others);
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
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
        zone: pod.and_then(|pod| observed.zone(pod)).filter(|zone| !zone.is_empty()).map(str::to_owned),
        directory_id: broker.directory.filter(|_| broker.formatted).map(|directory| directory.to_string()),
        image: started_image(observed, broker),
        config_hash: pod.and_then(|pod| config_hash(pod, broker.id)),
        phase: broker.phase,
        message: broker.message.as_deref().map(|message| shortened(message, LINE_CHARS_MAX)),
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
            cluster.brokers.iter().filter_map(address).take(ADDRESSES_MAX).collect()
        }
    };
    let entry =
        |listener: &Listener| BootstrapStatus { listener: listener.name.clone(), addresses: addresses(listener) };
    cluster.listeners.iter().map(entry).collect()
}

#[cfg(test)]
#[path = "status_test.rs"]
mod status_test;
