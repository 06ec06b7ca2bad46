//! Which broker is restarted next, and under which conditions.
//!
//! 1. A broker that cannot start as it is goes first: it serves no clients.
//! 2. So does a broker that is the only one away and is fenced: it may be waiting for the restart.
//! 3. Others only while every broker serves, one at a time, the active controller last: each change of the controller
//!    costs the others a moment.
//! 4. While a broker lacks the vote that it should have, no other broker.
//! 5. With more than one broker, the controller must agree (see `grant`).

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use protocol::types::BrokerId;

use super::{Step, votes};
use crate::admin::{ClusterView, RegisteredState};
use crate::brokers::{Broker, known_brokers};
use crate::crd::BrokerPhase;
use crate::grant::GrantCall;
use crate::manifest::{Manifest, covers};
use crate::names::ANNOTATION_RESTARTED;
use crate::observe::Observed;
use crate::render::{self, Evictions, RenderedConfig};
use crate::restart::{RestartReason, restart_reason};
use crate::validate::ValidatedCluster;
use crate::voters::InitialVoters;

/// Brokers that do not run what the manifest says.
pub(super) fn pending(
    cluster: &ValidatedCluster,
    observed: &Observed,
    brokers: &[Broker],
    config: &RenderedConfig,
) -> Vec<(BrokerId, RestartReason)> {
    let template = observed.statefulset().and_then(|set| set.spec?.template.metadata);
    let asked_at = template.as_ref().and_then(|metadata| metadata.annotations.as_ref()?.get(ANNOTATION_RESTARTED));
    let asked_at = asked_at.map(String::as_str);
    let reason = |broker: &Broker| restart_reason(observed.pods.get(&broker.id)?, broker.id, cluster, config, asked_at);
    brokers.iter().filter_map(|broker| Some((broker.id, reason(broker)?))).collect()
}

/// Those of them that can be restarted now. A broker that checks its logs is left alone, as a restart would begin the
/// check anew; so is one on a foreign volume, or on a lost node.
pub(super) fn movable(brokers: &[Broker], pending: &[(BrokerId, RestartReason)]) -> Vec<(BrokerId, RestartReason)> {
    use BrokerPhase::{ForeignVolume, NodeLost, Recovering, Stopping};
    let stays = |phase| matches!(phase, Stopping | Recovering | ForeignVolume | NodeLost);
    let moves = |id: BrokerId| brokers.iter().any(|broker| broker.id == id && !stays(broker.phase));
    pending.iter().filter(|(id, _)| moves(*id)).cloned().collect()
}

/// A single broker can always be evicted: otherwise its node could not be drained. Of several, one at a time while no
/// partition is under-replicated, every voter votes and no other broker is about to be restarted.
pub(super) fn evictions(
    controllers: &[BrokerId],
    observed: &Observed,
    brokers: &[Broker],
    pending: &[(BrokerId, RestartReason)],
) -> Evictions {
    let whole = |view: &ClusterView| {
        let partitions = view.partitions.under_replicated == 0 && view.partitions.offline == 0;
        partitions && view.grants.is_empty() && votes::missing(controllers, view, brokers).is_none()
    };
    let calm = || pending.is_empty() && observed.controller().is_some_and(|(_, view)| whole(view));
    if brokers.len() == 1 || calm() { Evictions::One } else { Evictions::None }
}

/// Nodes are drained even if the manifest is invalid: then the existing budget is kept up to date.
pub(super) fn standing_budget(observed: &Observed) -> Option<Step> {
    let uid = observed.cluster.metadata.uid.as_deref().unwrap_or_default();
    let budget: PodDisruptionBudget = observed.get(&observed.names.cluster)?;
    let standing = Some(Manifest::new(&budget)).filter(|standing| standing.is_owned_by(uid))?;
    let controllers: Vec<_> = InitialVoters::noted(observed).ok()??.iter().map(|(id, _)| id).collect();
    let brokers: Vec<_> = known_brokers(observed).into_iter().map(|id| Broker::assess(observed, id)).collect();
    let change = render::changed_budget(&budget, evictions(&controllers, observed, &brokers, &[]));
    (!covers(&standing.body, &change.body)).then_some(Step::Merge { verb: "change", change })
}

/// The next restart among those that are possible, or why it must wait.
pub(super) fn next(
    cluster: &ValidatedCluster,
    observed: &Observed,
    brokers: &[Broker],
    movable: &[(BrokerId, RestartReason)],
) -> Result<Step, String> {
    let phase = |id: BrokerId| brokers.iter().find(|broker| broker.id == id).map(|broker| broker.phase);
    let stuck = movable.iter().find(|(id, _)| phase(*id) == Some(BrokerPhase::Pending));
    if let Some((id, reason)) = stuck {
        return step(observed, *id, reason, None);
    }
    if let ([_], [(id, reason)]) = (brokers, movable) {
        return step(observed, *id, reason, None);
    }
    let (controller, view) =
        observed.controller().ok_or_else(|| "no active controller answers, which has to agree".to_owned())?;
    let missing = votes::missing(&cluster.controllers, view, brokers);
    let away: Vec<_> = brokers.iter().filter(|broker| broker.phase != BrokerPhase::Running).collect();
    if let Some(away_first) = away.first().map(|broker| broker.id) {
        let no_other = missing.into_iter().chain(view.grants.iter().copied().map(BrokerId)).all(|id| id == away_first);
        let spared = away.len() == 1 && is_fenced_or_unknown(view, away_first) && no_other;
        let due = movable.iter().find(|(id, _)| *id == away_first).filter(|_| spared);
        let (id, reason) = due.ok_or_else(|| format!("broker {away_first} has to serve first"))?;
        return step(observed, *id, reason, None);
    }
    let order = |id: BrokerId| (missing != Some(id), !view.grants.contains(&id.0), id == controller, id);
    let next = movable.iter().min_by_key(|(id, _)| order(*id));
    let (id, reason) = next.ok_or_else(|| "there is nothing to restart".to_owned())?;
    if let Some(missing) = missing.filter(|missing| missing != id) {
        return Err(format!("broker {missing} has to vote first, on the volume that it has now"));
    }
    if let Some(other) = view.grants.iter().find(|granted| **granted != id.0) {
        return Err(format!("broker {other} was granted a restart that has not ended"));
    }
    let registered = view.brokers.iter().find(|broker| broker.id == id.0);
    let registered = registered.filter(|broker| broker.state == RegisteredState::Unfenced);
    let epoch = registered.ok_or_else(|| format!("the controller does not count on broker {id} yet"))?.epoch;
    let grant = GrantCall::new(controller, observed.targets(), *id, epoch, reason.to_string());
    step(observed, *id, reason, Some(grant))
}

/// A fenced broker is in no ISR, and leads nothing.
fn is_fenced_or_unknown(view: &ClusterView, id: BrokerId) -> bool {
    let mut registered = view.brokers.iter().filter(|broker| broker.id == id.0);
    registered.all(|broker| broker.state == RegisteredState::Fenced)
}

fn step(
    observed: &Observed,
    broker: BrokerId,
    reason: &RestartReason,
    grant: Option<GrantCall>,
) -> Result<Step, String> {
    let pod = observed.pods.get(&broker).and_then(|pod| Some((pod.name_any(), pod.uid()?)));
    let (pod, uid) = pod.ok_or_else(|| format!("broker {broker} has no pod"))?;
    Ok(Step::Restart { broker, pod, uid, reason: reason.clone(), grant })
}

#[cfg(test)]
#[path = "restarts_test.rs"]
mod restarts_test;
