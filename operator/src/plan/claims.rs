//! The steps that concern the volumes: owners of the claims, notes on them, their growth, and formatting.

use super::Step;
use crate::admin::{FormatRequest, InitialVoter};
use crate::brokers::Broker;
use crate::crd::BrokerPhase;
use crate::manifest::{Manifest, covers};
use crate::names::PORT_CONTROLLERS;
use crate::observe::{Observed, target};
use crate::quantity;
use crate::render::{self, ClaimNotes};
use crate::validate::{ValidatedCluster, claim_request};
use crate::voters::InitialVoters;

/// From the manifest as written: data that is to be kept must not depend on other fields being valid.
pub(super) fn release(observed: &Observed) -> Vec<Step> {
    if observed.cluster.spec.storage.delete_claim {
        return Vec::new();
    }
    let uid = observed.cluster.metadata.uid.as_deref().unwrap_or_default();
    let owned = observed.claims.values().filter(|claim| Manifest::new(*claim).is_owned_by(uid));
    owned.map(|claim| Step::Apply(render::released_claim(claim))).collect()
}

pub(super) fn note(
    cluster: &ValidatedCluster,
    observed: &Observed,
    notes: &ClaimNotes,
    broker: &Broker,
) -> Option<Step> {
    let standing = observed.claims.get(&broker.id)?;
    let wanted = render::claim(cluster, standing, notes, broker.formatted);
    let found = Manifest::new(standing);
    let owned = found.is_owned_by(&cluster.uid);
    let settled = covers(&found.body, &wanted.body) && (owned || !cluster.storage.delete_claim);
    (!settled).then_some(Step::Apply(wanted))
}

/// A claim that requested more than its volume can get may request less again.
pub(super) fn growth(cluster: &ValidatedCluster, observed: &Observed, broker: &Broker) -> Option<Step> {
    let standing = observed.claims.get(&broker.id)?;
    let requested = quantity::bytes(claim_request(standing)?)?;
    let change = || render::grown_claim(standing, &cluster.storage.size);
    (requested != cluster.storage.size_bytes).then(|| Step::Merge { verb: "grow", change: change() })
}

/// Once its claim has the initial voters. A broker that is not among them, or not on its former volume, gets none and
/// looks for the quorum.
pub(super) fn format(
    cluster: &ValidatedCluster,
    observed: &Observed,
    notes: &ClaimNotes,
    broker: &Broker,
) -> Option<Step> {
    let voters = notes.voters.as_ref()?;
    let on_claim = InitialVoters::on(observed.claims.get(&broker.id)?);
    if broker.phase != BrokerPhase::Unformatted || on_claim.as_ref() != Some(voters) {
        return None;
    }
    let directory = broker.directory?;
    let target = target(observed.pods.get(&broker.id)?, observed.token.as_ref()?)?;
    let is_voter = voters.contains(broker.id, directory);
    let initial_voters = voters.iter().filter(|_| is_voter).map(|(id, directory)| InitialVoter {
        id: id.0,
        directory_id: directory.to_string(),
        endpoint: format!("{}:{PORT_CONTROLLERS}", cluster.names.pod_host(id)),
    });
    let request = FormatRequest {
        cluster_id: notes.cluster_id.to_string(),
        node_id: broker.id.0,
        directory_id: directory.to_string(),
        initial_voters: initial_voters.collect(),
    };
    Some(Step::Format { broker: broker.id, target, request })
}

#[cfg(test)]
#[path = "claims_test.rs"]
mod claims_test;
