//! The number of brokers, and which of them are controllers. Both stay as they were when the cluster was created:
//! data and votes would have to move first.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use protocol::types::BrokerId;

use super::Problem;
use crate::crd::KafkaClusterSpec;
use crate::manifest::Manifest;
use crate::names::{ANNOTATION_CONFIG, ANNOTATION_FORMATTED};
use crate::observe::Observed;
use crate::voters::InitialVoters;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) brokers: Vec<BrokerId>,
    /// The first of them.
    pub(super) controllers: Vec<BrokerId>,
}

pub(super) fn size(observed: &Observed) -> Result<Size, Problem> {
    let spec = &observed.cluster.spec;
    let controllers = controller_count(spec);
    if let Some(problem) = broker_problem(observed).or_else(|| controller_problem(observed, controllers)) {
        return Err(problem);
    }
    let first = |count: i32| (0..count).map(BrokerId).collect();
    Ok(Size { brokers: first(spec.replicas), controllers: first(controllers) })
}

fn controller_count(spec: &KafkaClusterSpec) -> i32 {
    let by_size = match spec.replicas {
        ..3 => 1,
        3..5 => 3,
        _ => 5,
    };
    spec.controllers.map_or(by_size, |controllers| controllers.replicas)
}

fn broker_problem(observed: &Observed) -> Option<Problem> {
    let replicas = observed.cluster.spec.replicas;
    let uid = observed.cluster.metadata.uid.as_deref().unwrap_or_default();
    let set = observed.statefulset().filter(|set| Manifest::new(set).is_owned_by(uid));
    let message = match set.as_ref().and_then(made_with) {
        Some(running) if running == replicas => return None,
        Some(running) => format!(
            "the cluster was created with {running}, and this version cannot move data to another number of brokers; \
             set it back to {running}"
        ),
        None => {
            let (id, claim) = observed.claims.iter().rfind(|(id, claim)| replicas <= id.0 && holds_data(claim))?;
            let count = id.0.saturating_add(1);
            let name = claim.name_any();
            format!("volume {name} of a former life of this cluster holds data of broker {id}; set it to {count}")
        }
    };
    Some(Problem::new("spec.replicas", message))
}

/// As set by the operator itself: the StatefulSet may have been scaled since, which is corrected.
fn made_with(set: &StatefulSet) -> Option<i32> {
    let template = set.spec.as_ref()?.template.metadata.as_ref()?;
    let hashes = template.annotations.as_ref()?.get(ANNOTATION_CONFIG)?;
    i32::try_from(hashes.split(',').count()).ok()
}

fn controller_problem(observed: &Observed, controllers: i32) -> Option<Problem> {
    let voters = InitialVoters::noted(observed).ok()??.count();
    let differs = i32::try_from(voters) != Ok(controllers);
    let message = format!(
        "the cluster was created with {voters} and not {controllers}, and this version cannot change who votes; set it \
         to {voters}"
    );
    differs.then(|| Problem::new("spec.controllers.replicas", message))
}

fn holds_data(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().contains_key(ANNOTATION_FORMATTED)
}
