//! A Kubernetes object the operator wants, and whether the existing one already agrees with it.

use kube::core::ApiResource;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::crd::KafkaCluster;
use crate::names::ANNOTATION_APPLIED;
use crate::quantity;

/// Kind and name: identifies an object in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub kind: String,
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// An object as JSON, with what is needed to send it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub resource: ApiResource,
    pub name: String,
    pub body: Value,
}

impl Manifest {
    pub fn new<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let body = serde_json::to_value(object).expect("every Kubernetes type has a form in JSON");
        Self { resource: ApiResource::erase::<K>(&()), name: object.name_any(), body }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.resource.kind.clone(), name: self.name.clone() }
    }

    /// The typed object; `None` if this is another kind.
    pub fn parse<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Option<K> {
        if self.resource.kind != K::kind(&()) {
            return None;
        }
        serde_json::from_value(self.body.clone()).ok()
    }

    /// The hash with which it was applied.
    pub fn stamp(&self) -> Option<&str> {
        self.body.get("metadata")?.get("annotations")?.get(ANNOTATION_APPLIED)?.as_str()
    }

    /// Whether the object belongs to the owner with this UID.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owners().any(|owner| owner["uid"] == uid)
    }

    /// Whether the object belongs to a cluster of this name, perhaps a former one.
    pub fn is_of_a_cluster_named(&self, name: &str) -> bool {
        self.owners().any(|owner| owner["kind"] == *KafkaCluster::kind(&()) && owner["name"] == name)
    }

    fn owners(&self) -> impl Iterator<Item = &Value> {
        self.body.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
    }
}

/// Whether everything in `desired` is also in `standing`, which has additions of the API server and webhooks. Fields
/// that `desired` no longer has are not noticed here: the hash in its annotations covers that.
pub fn covers(standing: &Value, desired: &Value) -> bool {
    match (standing, desired) {
        (Value::Object(standing), Value::Object(desired)) => desired.iter().all(|(name, wanted)| {
            let amounts = matches!(name.as_str(), "requests" | "limits");
            let covered = if amounts { covers_amounts } else { covers };
            standing.get(name).map_or_else(|| is_hollow(wanted), |found| covered(found, wanted))
        }),
        (Value::Array(standing), Value::Array(desired)) => {
            desired.iter().all(|wanted| standing.iter().any(|found| covers(found, wanted)))
        }
        (standing, desired) => desired.is_null() || standing == desired,
    }
}

/// `covers` for maps of quantities, which come back in another notation.
fn covers_amounts(standing: &Value, desired: &Value) -> bool {
    let (Value::Object(found), Value::Object(wanted)) = (standing, desired) else { return covers(standing, desired) };
    wanted.iter().all(|(name, wanted)| match (found.get(name).and_then(Value::as_str), wanted.as_str()) {
        (Some(found), Some(wanted)) => quantity::same(found, wanted),
        _ => false,
    })
}

/// Has no content, so the API server does not keep it.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_hollow),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_covered_when_it_says_at_least_what_is_wanted() {
        let wanted = json!({"spec": {"ports": [{"port": 9092}], "type": "ClusterIP"}});
        for covering in [
            json!({"spec": {"ports": [{"port": 9092, "protocol": "TCP"}], "type": "ClusterIP"}, "x": 1}),
            json!({"spec": {"ports": [{"port": 1}, {"port": 9092}], "type": "ClusterIP"}}),
        ] {
            assert!(covers(&covering, &wanted), "{covering}");
        }
        for drifted in [
            json!({"spec": {"ports": [{"port": 9093}], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [{"port": 9092}]}}),
            json!({}),
        ] {
            assert!(!covers(&drifted, &wanted), "{drifted}");
        }
    }

    #[test]
    fn quantities_are_compared_by_value_and_only_where_they_are_quantities() {
        let wanted = json!({"resources": {"requests": {"cpu": "1000m"}, "limits": {}}, "label": "1.0"});
        assert!(covers(&json!({"resources": {"requests": {"cpu": "1"}}, "label": "1.0"}), &wanted));
        assert!(!covers(&json!({"resources": {"requests": {"cpu": "2"}}, "label": "1.0"}), &wanted));
        assert!(!covers(&json!({"resources": {"requests": {}}, "label": "1.0"}), &wanted));
        assert!(!covers(&json!({"resources": {"requests": {"cpu": "1"}}, "label": "1"}), &wanted));
    }
}
