//! Clusters in various states, for tests.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSetSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use protocol::types::BrokerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::{
    AdminError, BrokerState, BrokerView, ClusterView, ManagementToken, RegisteredState, RegisteredView, Vote,
    VoterChange, VoterView,
};
use crate::crd::KafkaCluster;
use crate::manifest::Manifest;
use crate::names::{ANNOTATION_FORMATTED, ANNOTATION_VOTERS};
use crate::notice::{Notice, transitions};
use crate::observe::Observed;
use crate::plan::{Fresh, Plan, Step, plan};
use crate::render::merge;
use crate::validate::{Release, ValidatedCluster, validate};

/// The claim of broker 0; the others' end in another digit.
pub(crate) const CLAIM_UID: &str = "3f0b5a0e-6a0e-4c7e-9d0a-0f5d3c1b2a10";

pub(crate) fn claim_uid(broker: BrokerId) -> String {
    format!("{}{broker}", &CLAIM_UID[..CLAIM_UID.len() - 1])
}

/// The minimal manifest, with the spec's other fields merged in.
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
    Release { version: "0.1.0".to_owned(), broker_image: "example/millrace-broker".to_owned() }
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

/// The events of a first status.
pub(crate) fn notices(observed: &Observed, plan: &Plan) -> Vec<Notice> {
    transitions(&observed.cluster.status.clone().unwrap_or_default(), &plan.status)
}

/// Simulates the effects of the steps: node ports, notes on claims, formatted volumes.
pub(crate) fn settle(observed: &mut Observed, plan: &Plan) {
    for step in &plan.steps {
        match step {
            Step::Create(manifest) | Step::Apply(manifest) => stand(observed, manifest.clone()),
            Step::Merge { change, .. } => match observed.standing.get_mut(&change.key()) {
                Some(standing) => merge(&mut standing.body, change.body.clone()),
                None => stand(observed, change.clone()),
            },
            Step::Delete(manifest) => drop(observed.standing.remove(&manifest.key())),
            Step::SetOptions { changes, .. } => {
                let options = options_of(observed);
                for change in changes {
                    match &change.value {
                        Some(value) => drop(options.insert(change.name.clone(), value.clone())),
                        None => drop(options.remove(&change.name)),
                    }
                }
            }
            Step::ChangeVoters { change: VoterChange { broker, directory, vote, .. }, .. } => {
                let voters = &mut observed.view.as_mut().unwrap().voters;
                match vote {
                    Vote::Add { .. } => {
                        voters.push(VoterView { id: broker.0, directory_id: directory.to_string(), lag: 0 });
                    }
                    Vote::Remove => voters.retain(|voter| voter.id != broker.0),
                }
            }
            Step::Format { broker, .. } => answer(observed, *broker, BrokerState::Running),
            Step::Restart { broker, .. } => drop(observed.pods.remove(broker)),
        }
    }
    observed.cluster.status = Some(plan.status.clone());
    observed.token = Some(fresh().token);
}

fn stand(observed: &mut Observed, mut manifest: Manifest) {
    let named = |prefix: &str| Some(BrokerId(manifest.name.strip_prefix(prefix)?.parse().ok()?));
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
            let claim = observed.claims.get_mut(&named("data-demo-").unwrap()).unwrap();
            *claim = merged(claim, manifest.body);
            return;
        }
        "Pod" => {
            let pod = observed.pods.get_mut(&named("demo-").unwrap()).unwrap();
            *pod = merged(pod, manifest.body);
            return;
        }
        _ => {}
    }
    observed.standing.insert(manifest.key(), manifest);
}

fn merged<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned>(standing: &K, change: Value) -> K {
    let mut manifest = Manifest::new(standing);
    merge(&mut manifest.body, change);
    manifest.parse().unwrap()
}

/// Simulates the StatefulSet controller and the kubelet for the missing pods.
pub(crate) fn start_pods(observed: &mut Observed) {
    let set = observed.statefulset().unwrap().spec.unwrap();
    let missing = (0..set.replicas.unwrap()).map(BrokerId).filter(|id| !observed.pods.contains_key(id));
    for id in missing.collect::<Vec<_>>() {
        start_pod(observed, &set, id);
    }
}

fn start_pod(observed: &mut Observed, set: &StatefulSetSpec, id: BrokerId) {
    let template = &set.template;
    let mut pod = Pod {
        metadata: template.metadata.clone().unwrap(),
        spec: template.spec.clone(),
        status: Some(parsed(json!({
            "podIP": format!("10.1.2.{id}"),
            "hostIP": "10.9.9.9",
            "conditions": [{ "type": "Ready", "status": "False" }, { "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [{
                "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "running": {} },
            }],
        }))),
    };
    pod.metadata.name = Some(format!("demo-{id}"));
    pod.metadata.uid = Some(format!("uid-of-pod-{id}"));
    pod.spec.as_mut().unwrap().node_name = Some(format!("node{id}"));
    observed.pods.insert(id, pod);
    let claim = &set.volume_claim_templates.as_ref().unwrap()[0];
    let mut claim = PersistentVolumeClaim { spec: claim.spec.clone(), metadata: claim.metadata.clone(), status: None };
    claim.metadata.name = Some(format!("data-demo-{id}"));
    claim.metadata.uid = Some(claim_uid(id));
    observed.claims.entry(id).or_insert(claim);
    answer(observed, id, BrokerState::Unformatted);
}

pub(crate) fn answer(observed: &mut Observed, id: BrokerId, state: BrokerState) {
    let directory_id = observed.claims.get(&id).and_then(ResourceExt::uid);
    let directory_id = directory_id.filter(|_| state != BrokerState::Unformatted);
    observed.brokers.insert(id, Ok(BrokerView { state, directory_id, ..BrokerView::default() }));
    let ready = if state == BrokerState::Running { "True" } else { "False" };
    let pod = observed.pods.get_mut(&id).unwrap();
    pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = ready.to_owned();
}

/// The pod exists but nothing in it answers, as Kubernetes sees it after a while.
pub(crate) fn fall_silent(observed: &mut Observed, id: BrokerId) {
    let error = AdminError::TimedOut { url: format!("http://10.1.2.{id}"), limit_ms: 2000 };
    observed.brokers.insert(id, Err(error));
    let pod = observed.pods.get_mut(&id).unwrap();
    pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".to_owned();
}

/// The view of broker `id` as the active controller of brokers that all serve.
pub(crate) fn elect(observed: &mut Observed, id: i32) {
    let registered =
        |id: &BrokerId| RegisteredView { id: id.0, epoch: 100, state: RegisteredState::Unfenced, rack: None };
    let brokers = observed.pods.keys().map(registered).collect();
    let voter = |id: BrokerId| VoterView { id: id.0, directory_id: claim_uid(id), lag: 0 };
    let voters = observed.pods.keys().take(3).copied().map(voter).collect();
    observed.view = Some(ClusterView { controller_id: Some(id), brokers, voters, ..ClusterView::default() });
    observed.view_of = Some(BrokerId(id));
    options_of(observed);
}

pub(crate) fn options_of(observed: &mut Observed) -> &mut BTreeMap<String, String> {
    observed.options.get_or_insert_with(|| Ok(BTreeMap::new())).as_mut().unwrap()
}

/// Another claim of the same name, with an empty volume.
pub(crate) fn take_new_volume(observed: &mut Observed, id: i32) {
    let claim = observed.claims.get_mut(&BrokerId(id)).unwrap();
    claim.metadata.uid = Some(format!("7d1a2c3e-0000-4000-8000-00000000000{id}"));
    claim.annotations_mut().remove(ANNOTATION_FORMATTED);
    claim.annotations_mut().remove(ANNOTATION_VOTERS);
    answer(observed, BrokerId(id), BrokerState::Unformatted);
}

/// A cluster that runs, and whose every step is done.
pub(crate) fn running(spec: Value) -> Observed {
    let mut observed = Observed::nothing(cluster(spec));
    for _ in 0..5 {
        let plan = plan_of(&observed);
        settle(&mut observed, &plan);
        if observed.statefulset().is_some() {
            start_pods(&mut observed);
        }
    }
    observed
}

/// Three brokers, broker 0 the active controller.
pub(crate) fn running_three(spec: Value) -> Observed {
    let mut spec = spec;
    spec["replicas"] = json!(3);
    let mut observed = running(spec);
    elect(&mut observed, 0);
    for _ in 0..2 {
        let plan = plan_of(&observed);
        settle(&mut observed, &plan);
    }
    observed
}
