//! Why a broker must be restarted: a difference between what its pod was started with and what it should run, never a
//! revision of the StatefulSet, which also changes with labels and with the operator itself. Or a restart was
//! requested.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use protocol::types::BrokerId;

use crate::brokers::broker_container;
use crate::names::{
    ANNOTATION_CONFIG, ANNOTATION_IMAGE, ANNOTATION_RESOURCES, ANNOTATION_RESTARTED, ANNOTATION_TEMPLATE,
};
use crate::render::{RenderedConfig, pod_facts, template_hash};
use crate::validate::ValidatedCluster;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartReason {
    ImageChanged {
        from: String,
        to: String,
    },
    ResourcesChanged,
    ConfigChanged,
    /// By `kubectl rollout restart`.
    Asked,
    /// The pod cannot start as it is; placement and pull secrets count, too.
    NeverStarted,
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageChanged { from, to } => write!(f, "its image changes from {from} to {to}"),
            Self::ResourcesChanged => f.write_str("its CPU or memory changed"),
            Self::ConfigChanged => f.write_str("its options or listeners changed"),
            Self::Asked => f.write_str("somebody asked for it by kubectl rollout restart"),
            Self::NeverStarted => f.write_str("its pod never started, and would be another one now"),
        }
    }
}

pub fn restart_reason(
    pod: &Pod,
    broker: BrokerId,
    cluster: &ValidatedCluster,
    config: &RenderedConfig,
    asked_at: Option<&str>,
) -> Option<RestartReason> {
    let desired = pod_facts(cluster, config);
    let started_with = |name: &str| pod.annotations().get(name).cloned().unwrap_or_default();
    let from = started_with(ANNOTATION_IMAGE);
    if from != cluster.image {
        return Some(RestartReason::ImageChanged { from, to: cluster.image.clone() });
    }
    if desired.get(ANNOTATION_RESOURCES) != Some(&started_with(ANNOTATION_RESOURCES)) {
        return Some(RestartReason::ResourcesChanged);
    }
    if config_hash(pod, broker) != config.hash_of(broker) {
        return Some(RestartReason::ConfigChanged);
    }
    if asked_at.is_some_and(|time| started_with(ANNOTATION_RESTARTED) != time) {
        return Some(RestartReason::Asked);
    }
    let stuck = !has_started(pod) && started_with(ANNOTATION_TEMPLATE) != template_hash(cluster, config);
    stuck.then_some(RestartReason::NeverStarted)
}

fn has_started(pod: &Pod) -> bool {
    broker_container(pod).is_some_and(|container| {
        let states = [&container.state, &container.last_state].into_iter().flatten();
        let ran = states.into_iter().any(|state| state.running.is_some() || state.terminated.is_some());
        ran || 0 < container.restart_count
    })
}

/// The hash of the options with which the pod was started.
pub fn config_hash(pod: &Pod, broker: BrokerId) -> Option<String> {
    let hashes = pod.annotations().get(ANNOTATION_CONFIG)?;
    let own = hashes.split(',').filter_map(|entry| entry.split_once(':')).find(|(id, _)| *id == broker.to_string());
    own.map(|(_, hash)| hash.to_owned())
}
