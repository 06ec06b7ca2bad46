//! Placement of the broker pods, and other pod options of a manifest.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, Toleration};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::Problem;
use crate::crd::{PodOptions, TolerationSpec};

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PodPlacement {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub affinity: Option<Affinity>,
    pub priority_class_name: Option<String>,
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

impl PodPlacement {
    pub(super) fn new(spec: Option<&PodOptions>) -> Result<Self, Problem> {
        let spec = spec.cloned().unwrap_or_default();
        for (field, map) in [("labels", &spec.labels), ("annotations", &spec.annotations)] {
            if let Some(name) = map.keys().find(|name| is_taken(name)) {
                return Err(Problem::new(
                    format!("spec.pod.{field}[{name:?}]"),
                    "set by the operator; choose another name",
                ));
            }
        }
        Ok(Self {
            labels: spec.labels,
            annotations: spec.annotations,
            node_selector: spec.node_selector,
            tolerations: spec.tolerations.into_iter().map(toleration).collect(),
            affinity: spec.affinity.as_ref().map(affinity).transpose()?,
            priority_class_name: spec.priority_class_name,
            image_pull_secrets: spec
                .image_pull_secrets
                .into_iter()
                .map(|secret| LocalObjectReference { name: secret.name })
                .collect(),
        })
    }
}

fn is_taken(name: &str) -> bool {
    name.contains("millrace.dev/") || matches!(name, "app.kubernetes.io/name" | "app.kubernetes.io/managed-by")
}

/// The CRD allows anything here, so an unknown field would be dropped silently.
fn affinity(given: &Value) -> Result<Affinity, Problem> {
    let problem = |message: String| Problem::new("spec.pod.affinity", message);
    let affinity: Affinity =
        Affinity::deserialize(given).map_err(|error| problem(format!("not an affinity: {error}")))?;
    let understood = serde_json::to_value(&affinity).unwrap_or_default();
    match unknown_field(given, &understood) {
        Some(path) => Err(problem(format!("there is no field {path}"))),
        None => Ok(affinity),
    }
}

fn unknown_field(given: &Value, understood: &Value) -> Option<String> {
    match given {
        Value::Object(fields) => fields.iter().filter(|(_, given)| !given.is_null()).find_map(|(name, given)| {
            let Some(understood) = understood.get(name) else { return Some(name.clone()) };
            unknown_field(given, understood).map(|rest| format!("{name}.{rest}"))
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, given)| {
            unknown_field(given, understood.get(index)?).map(|rest| format!("{index}.{rest}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn toleration(spec: TolerationSpec) -> Toleration {
    Toleration {
        key: spec.key,
        operator: spec.operator,
        value: spec.value,
        effect: spec.effect,
        toleration_seconds: spec.toleration_seconds,
    }
}
