//! A Kubernetes object the operator wants, and whether the one that stands already says so.

use kube::core::ApiResource;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Kind and name: what tells the objects of one namespace apart.
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

    /// The typed object; `None` where this is another kind.
    pub fn parse<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Option<K> {
        if self.resource.kind != K::kind(&()) {
            return None;
        }
        serde_json::from_value(self.body.clone()).ok()
    }

    /// Whether the object belongs to the owner with this UID.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        let owners = self.body.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.is_some_and(|owners| owners.iter().any(|owner| owner.get("uid").and_then(Value::as_str) == Some(uid)))
    }
}

/// Whether everything `desired` says is in `standing`, which also holds what the API server has filled in. What was
/// dropped from `desired` since is not seen here: the hash in the annotations of `desired` covers that.
pub fn covers(standing: &Value, desired: &Value) -> bool {
    match (standing, desired) {
        (Value::Object(standing), Value::Object(desired)) => desired
            .iter()
            .all(|(name, wanted)| wanted.is_null() || standing.get(name).is_some_and(|found| covers(found, wanted))),
        (Value::Array(standing), Value::Array(desired)) => {
            standing.len() == desired.len() && standing.iter().zip(desired).all(|(found, wanted)| covers(found, wanted))
        }
        (standing, desired) => standing == desired,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_covered_when_it_says_at_least_what_is_wanted() {
        let wanted = json!({"spec": {"ports": [{"port": 9092}], "type": "ClusterIP"}});
        let defaulted = json!({"spec": {"ports": [{"port": 9092, "protocol": "TCP"}], "type": "ClusterIP"}, "x": 1});
        assert!(covers(&defaulted, &wanted));
        for drifted in [
            json!({"spec": {"ports": [{"port": 9093}], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [{"port": 9092}, {"port": 1}], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [{"port": 9092}]}}),
            json!({}),
        ] {
            assert!(!covers(&drifted, &wanted), "{drifted}");
        }
    }
}
