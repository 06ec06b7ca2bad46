//! Clusters in the states that the tests speak of.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use protocol::types::BrokerId;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::{BrokerState, BrokerView, ManagementToken};
use crate::crd::KafkaCluster;
use crate::manifest::Manifest;
use crate::observe::Observed;
use crate::plan::{Fresh, Plan, Step, plan};
use crate::render::merge;
use crate::validate::{Release, ValidatedCluster, validate};

pub(crate) const CLAIM_UID: &str = "3f0b5a0e-6a0e-4c7e-9d0a-0f5d3c1b2a19";

/// The eight lines, with the spec's other fields merged in.
pub(crate) fn cluster(spec: Value) -> KafkaCluster {
    let mut body = json!({
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "KafkaCluster",
        "metadata": { "name": "demo", "namespace": "shop", "uid": "uid-of-demo", "generation": 1 },
        "spec": { "replicas": 1, "storage": { "size": "10Gi" } },
    });
    if let (Some(target), Value::Object(spec)) = (body["spec"].as_object_mut(), spec) {
        target.extend(spec);
    }
    parsed(body)
}

pub(crate) fn parsed<T: DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

pub(crate) fn release() -> Release {
    Release { version: "0.1.0".to_owned(), broker_image: "example/millrace-broker:0.1.0".to_owned() }
}

pub(crate) fn validated(spec: Value) -> ValidatedCluster {
    validate(&Observed::nothing(cluster(spec)), &release()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn fresh() -> Fresh {
    Fresh { cluster_id: Uuid::from_u128(7), token: ManagementToken("secret".to_owned()) }
}

pub(crate) fn plan_of(observed: &Observed) -> Plan {
    plan(&validate(observed, &release()).unwrap(), observed, &fresh(), now())
}

/// What Kubernetes makes of the applied objects: node ports, the claim and the pod of broker 0.
pub(crate) fn settle(observed: &mut Observed, plan: &Plan) {
    for step in &plan.steps {
        match step {
            Step::Create(manifest) | Step::Apply(manifest) | Step::Grow(manifest) => stand(observed, manifest.clone()),
            Step::Delete(manifest) => drop(observed.standing.remove(&manifest.key())),
            Step::Format { .. } => answer(observed, BrokerState::Running),
            Step::Restart { broker, .. } => drop(observed.pods.remove(broker)),
        }
    }
    observed.cluster.status = Some(plan.status.clone());
    observed.token = Some(fresh().token);
}

fn stand(observed: &mut Observed, mut manifest: Manifest) {
    match manifest.resource.kind.as_str() {
        "Service" if manifest.body["spec"]["type"] == "NodePort" => {
            manifest.body["spec"]["ports"][0]["nodePort"] = json!(30092);
        }
        "StatefulSet" => {
            let before = observed.standing.get(&manifest.key());
            let generation = before.and_then(|set| set.body["metadata"]["generation"].as_i64()).unwrap_or(0) + 1;
            manifest.body["metadata"]["generation"] = json!(generation);
            manifest.body["status"] = json!({ "replicas": 1, "observedGeneration": generation });
        }
        "PersistentVolumeClaim" => {
            let mut claim = Manifest::new(&observed.claims[&BrokerId(0)]);
            merge(&mut claim.body, manifest.body);
            let _ = observed.claims.insert(BrokerId(0), claim.parse().unwrap());
            return;
        }
        _ => {}
    }
    observed.standing.insert(manifest.key(), manifest);
}

/// The StatefulSet controller and the kubelet do their part.
pub(crate) fn start_pod(observed: &mut Observed) {
    let set = observed.statefulset().unwrap().spec.unwrap();
    let template = &set.template;
    let mut pod = Pod {
        metadata: template.metadata.clone().unwrap(),
        spec: template.spec.clone(),
        status: Some(parsed(json!({
            "podIP": "10.1.2.3",
            "hostIP": "10.9.9.9",
            "conditions": [{ "type": "Ready", "status": "False" }, { "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [{
                "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "running": {} },
            }],
        }))),
    };
    pod.metadata.name = Some("demo-0".to_owned());
    pod.metadata.uid = Some("uid-of-pod".to_owned());
    observed.pods.insert(BrokerId(0), pod);
    let claim = &set.volume_claim_templates.unwrap()[0];
    let mut claim = PersistentVolumeClaim { spec: claim.spec.clone(), metadata: claim.metadata.clone(), status: None };
    claim.metadata.name = Some("data-demo-0".to_owned());
    claim.metadata.uid = Some(CLAIM_UID.to_owned());
    observed.claims.entry(BrokerId(0)).or_insert(claim);
    answer(observed, BrokerState::Unformatted);
}

pub(crate) fn answer(observed: &mut Observed, state: BrokerState) {
    let directory_id = (state != BrokerState::Unformatted).then(|| CLAIM_UID.to_owned());
    observed.brokers.insert(BrokerId(0), Ok(BrokerView { state, directory_id, ..BrokerView::default() }));
    let ready = if state == BrokerState::Running { "True" } else { "False" };
    let pod = observed.pods.get_mut(&BrokerId(0)).unwrap();
    pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = ready.to_owned();
}

/// A cluster that runs, and whose every step is done.
pub(crate) fn running(spec: Value) -> Observed {
    let mut observed = Observed::nothing(cluster(spec));
    for _ in 0..4 {
        let plan = plan_of(&observed);
        settle(&mut observed, &plan);
        if !observed.pods.contains_key(&BrokerId(0)) && observed.statefulset().is_some() {
            start_pod(&mut observed);
        }
    }
    observed
}
