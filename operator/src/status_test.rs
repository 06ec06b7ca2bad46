use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::ToSpan as _;
use kube::CustomResourceExt as _;
use protocol::types::BrokerId;
use serde_json::{Value, json};

use super::*;
use crate::admin::{BrokerState, ClusterView, PartitionCounts, RecoveryView, VoterView};
use crate::crd::KafkaCluster;
use crate::manifest::ObjectKey;
use crate::plan::refuse;
use crate::testing::{
    answer, cluster, elect, fall_silent, notices, now, parsed, plan_of, release, running, running_three,
};
use crate::validate::validate;

fn sentence_of(status: &KafkaClusterStatus) -> &str {
    &status.condition(condition::READY).unwrap().message
}

#[test]
fn an_invalid_manifest_is_told_while_the_cluster_is_left_as_it_is() {
    let mut observed = running(json!({}));
    observed.cluster.spec.config = parsed(json!({"log.retention.hour": 4}));
    observed.cluster.metadata.generation = Some(2);
    let problems = validate(&observed, &release()).unwrap_err();
    let plan = refuse(&observed, &problems, now());
    assert_eq!(plan.steps, []);
    let ready = plan.status.condition(condition::READY).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "InvalidConfig"), "clients are served");
    let expected = r#"spec.config["log.retention.hour"]: unknown option; did you mean log.retention.hours? The cluster is left as it is."#;
    assert_eq!(ready.message, expected);
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().status, "True");
    assert_eq!(plan.status.observed_generation, Some(2));
    assert_eq!(plan.status.ready_replicas, 1);
    assert_eq!(notices(&observed, &plan)[0].reason, "Stalled");

    observed.view = Some(ClusterView { controller_id: Some(-1), ..ClusterView::default() });
    let observed = [observed, Observed::nothing(cluster(json!({"config": {"log.retention.hour": 4}})))];
    for observed in observed {
        let status = refuse(&observed, &problems, now()).status;
        let ready = status.condition(condition::READY).unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_str()), ("False", expected));
    }
}

#[test]
fn what_blocks_the_operator_does_not_hide_that_brokers_serve() {
    let mut observed = running_three(json!({}));
    observed.cluster.status.as_mut().unwrap().cluster_id = Some("another".to_owned());
    for (disturb, expected) in [(None, "True"), (Some(BrokerId(1)), "True"), (Some(BrokerId(0)), "False")] {
        let mut observed = observed.clone();
        if let Some(id) = disturb {
            fall_silent(&mut observed, id);
        }
        let status = plan_of(&observed).status;
        let truth = |kind: &str| status.condition(kind).unwrap().status.as_str();
        assert_eq!((truth(condition::READY), truth(condition::STALLED)), (expected, "True"), "{disturb:?} is away");
    }
}

#[test]
fn a_broker_that_is_not_ready_says_why() {
    let scheduling = |message: &str| json!([{"type": "PodScheduled", "status": "False", "message": message}]);
    let container = |reason: &str, ended: Value| {
        json!([{"name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"waiting": {"reason": reason, "message": "back-off"}}, "lastState": {"terminated": ended}}])
    };
    let pulling = container("ErrImagePull", json!(null));
    let crashing = container("CrashLoopBackOff", json!({"exitCode": 3, "message": "a line\nno such volume\n\n"}));
    let killed = container("CrashLoopBackOff", json!({"exitCode": 137, "reason": "OOMKilled"}));
    for (status, expected) in [
        (
            json!({"conditions": scheduling("0/3 nodes are available")}),
            "Broker 0: pod demo-0 cannot be scheduled: 0/3 nodes are available.",
        ),
        (
            json!({"conditions": scheduling("unbound PersistentVolumeClaims.")}),
            "Broker 0: pod demo-0 cannot be scheduled: unbound PersistentVolumeClaims; claim data-demo-0 waits for storage class fast.",
        ),
        (json!({"containerStatuses": pulling}), "Broker 0: pod demo-0 does not start: ErrImagePull: back-off."),
        (
            json!({"containerStatuses": crashing}),
            "Broker 0: pod demo-0 does not start: CrashLoopBackOff, exit code 3: no such volume.",
        ),
        (
            json!({"containerStatuses": killed}),
            "Broker 0: pod demo-0 does not start: CrashLoopBackOff, out of memory, exit code 137.",
        ),
        (json!({}), "Broker 0: pod demo-0 starts."),
    ] {
        let mut observed = running(json!({"storage": {"size": "10Gi", "class": "fast"}}));
        observed.brokers.clear();
        observed.pods.get_mut(&BrokerId(0)).unwrap().status = Some(parsed(status));
        let plan = plan_of(&observed);
        assert_eq!(sentence_of(&plan.status), expected);
        assert_eq!(plan.status.condition(condition::RECONCILING).unwrap().status, "True");
    }
}

#[test]
fn recovery_shows_its_progress() {
    let mut observed = running(json!({}));
    answer(&mut observed, BrokerId(0), BrokerState::Recovering);
    let view = observed.brokers.get_mut(&BrokerId(0)).unwrap().as_mut().unwrap();
    view.recovery = Some(RecoveryView { logs_total: 9, logs_done: 3 });
    let expected = "Broker 0: checks its logs: 3 of 9 done.";
    assert_eq!(sentence_of(&plan_of(&observed).status), expected);
}

#[test]
fn a_ready_pod_is_ready_while_one_answer_is_missing() {
    let mut observed = running(json!({}));
    observed.brokers.clear();
    assert_eq!(sentence_of(&plan_of(&observed).status), "1 of 1 brokers ready.");
}

#[test]
fn the_controllers_view_is_reported() {
    let mut observed = running(json!({"listeners": [
        {"name": "clients", "port": 9092}, {"name": "out", "port": 9094, "type": "nodeport"},
    ]}));
    observed.view = Some(ClusterView {
        controller_id: Some(0),
        voters: vec![VoterView { id: 0, directory_id: "abc".to_owned(), lag: 5 }],
        partitions: PartitionCounts { under_replicated: 2, at_min_isr: 1, offline: 0 },
        ..ClusterView::default()
    });
    let status = plan_of(&observed).status;
    assert_eq!(status.controller, Some(0));
    assert_eq!(status.voters[0].directory_id, "abc");
    assert_eq!(status.partitions.unwrap().under_replicated, 2);
    assert_eq!(status.bootstrap[0].addresses, ["demo-bootstrap.shop.svc:9092"]);
    assert_eq!(status.bootstrap[1].addresses, ["10.9.9.9:30092"]);
    assert_eq!(status.selector.unwrap(), "app.kubernetes.io/name=millrace,millrace.dev/cluster=demo");
}

#[test]
fn a_refused_step_is_told_and_does_not_hide_that_brokers_serve() {
    let serving = plan_of(&running(json!({}))).status;
    let later = now() + 1.minute();
    let failed = with_failure(serving.clone(), &serving, "StatefulSet demo: no quota", Persistence::Passing, later);
    assert_eq!(sentence_of(&failed), "1 of 1 brokers ready. StatefulSet demo: no quota.");
    assert_eq!(failed.condition(condition::READY).unwrap().last_transition_time, Time(now()));
    assert_eq!(failed.condition(condition::RECONCILING).unwrap().message, "StatefulSet demo: no quota.");
    let refused = |before: &KafkaClusterStatus, now| {
        with_failure(serving.clone(), before, "StatefulSet demo: no quota", Persistence::Lasting, now)
    };
    let lasting = refused(&serving, later);
    assert_eq!(lasting.condition(condition::STALLED).unwrap().status, "True");
    assert_eq!(refused(&lasting, later + 1.minute()), lasting, "the same refusal changes nothing");
    let nothing = KafkaClusterStatus::default();
    let starting = with_failure(nothing.clone(), &nothing, "StatefulSet demo: no quota", Persistence::Passing, later);
    assert_eq!(sentence_of(&starting), "StatefulSet demo: no quota.");
}

#[test]
fn a_cluster_that_lost_a_broker_serves_and_says_what_is_missing() {
    let mut observed = running_three(json!({}));
    assert_eq!(sentence_of(&plan_of(&observed).status), "3 of 3 brokers ready.");
    fall_silent(&mut observed, BrokerId(1));
    let node =
        json!({"metadata": {"name": "node1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    observed.nodes = Some(BTreeMap::from([("node1".to_owned(), parsed(node))]));
    observed.view.as_mut().unwrap().partitions.under_replicated = 4;
    let plan = plan_of(&observed);
    let truth = |kind: &str| plan.status.condition(kind).unwrap().status.as_str();
    let lost = "its node node1 does not answer; once that machine is off for good, kubectl delete pod demo-1 --force; \
                before it, only where the volume went with the machine, kubectl delete pvc data-demo-1 --wait=false.";
    assert_eq!(sentence_of(&plan.status), format!("2 of 3 brokers ready. Broker 1: {lost}"));
    assert_eq!([condition::READY, condition::STALLED, condition::RECONCILING].map(truth), ["True", "True", "False"]);
    assert_eq!(plan.status.condition(condition::READY).unwrap().reason, "NodeLost");
    assert_eq!((plan.status.ready_replicas, plan.status.brokers[1].phase), (2, BrokerPhase::NodeLost));
    let told: Vec<_> = notices(&observed, &plan).into_iter().map(|notice| notice.note).collect();
    assert!(told.contains(&format!("Broker 1 no longer serves: {lost}")), "{told:?}");

    observed.view.as_mut().unwrap().partitions.offline = 1;
    assert_eq!(plan_of(&observed).status.condition(condition::READY).unwrap().status, "False");
    observed.view.as_mut().unwrap().partitions.offline = 0;
    observed.cluster.status = None;
    assert_eq!(plan_of(&observed).status.condition(condition::READY).unwrap().status, "False", "it never was ready");
}

#[test]
fn ready_comes_back_while_a_broker_is_away() {
    type Disturbance = fn(&mut Observed);
    let cases: [(&str, &str, Disturbance); 5] = [
        ("False", "a partition has no leader", |observed| observed.view.as_mut().unwrap().partitions.offline = 1),
        ("False", "no controller is active", |observed| observed.view.as_mut().unwrap().controller_id = Some(-1)),
        ("False", "the controller is the one away", |observed| {
            observed.view.as_mut().unwrap().controller_id = Some(1);
        }),
        ("False", "nobody answers", |observed| observed.view = None),
        ("True", "the controller does not answer", |observed| {
            observed.view_of = Some(BrokerId(2));
            observed.brokers.remove(&BrokerId(0));
        }),
    ];
    for (expected, reason, disturb) in cases {
        let mut calm = running_three(json!({}));
        fall_silent(&mut calm, BrokerId(1));
        let mut disturbed = calm.clone();
        disturb(&mut disturbed);
        let status = plan_of(&disturbed).status;
        assert_eq!(status.condition(condition::READY).unwrap().status, expected, "{reason}");
        calm.cluster.status = Some(status);
        assert_eq!(plan_of(&calm).status.condition(condition::READY).unwrap().status, "True", "after {reason}");
    }
}

#[test]
fn a_broker_that_serves_without_its_zone_is_told_of() {
    let mut observed = running_three(json!({}));
    let node = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}});
    observed.nodes = Some(BTreeMap::from([("node1".to_owned(), parsed(node))]));
    let help = "it takes the zone up by a restart, kubectl rollout restart statefulset/demo";
    for (rack, expected) in [
        (Some("a"), None),
        (Some("b"), Some(format!("registered in rack b, while its node is in zone a; {help}"))),
        (None, Some(format!("registered without a rack, while its node is in zone a; {help}"))),
    ] {
        observed.view.as_mut().unwrap().brokers[1].rack = rack.map(str::to_owned);
        let brokers = plan_of(&observed).status.brokers;
        assert_eq!((&brokers[1].message, &brokers[0].message), (&expected, &None));
        assert_eq!(brokers[1].phase, BrokerPhase::Running);
    }
}

#[test]
fn what_clients_would_notice_is_said_although_every_broker_serves() {
    type Disturbance = fn(&mut ClusterView);
    let cases: [(Disturbance, &str, &str); 3] = [
        (
            |view| view.partitions.under_replicated = 2,
            "True",
            "3 of 3 brokers ready; partitions that lack a replica: 2.",
        ),
        (|view| view.partitions.offline = 1, "False", "3 of 3 brokers ready, but partitions without a leader: 1."),
        (|view| view.controller_id = Some(-1), "False", "3 of 3 brokers ready, but no controller is active."),
    ];
    for (change, truth, expected) in cases {
        let mut observed = running_three(json!({}));
        change(observed.view.as_mut().unwrap());
        let status = plan_of(&observed).status;
        assert_eq!((sentence_of(&status), &*status.condition(condition::READY).unwrap().status), (expected, truth));
    }
}

#[test]
fn a_change_of_the_controller_is_an_event() {
    let mut observed = running_three(json!({}));
    elect(&mut observed, 2);
    let notes: Vec<_> = notices(&observed, &plan_of(&observed)).into_iter().map(|notice| notice.note).collect();
    assert_eq!(notes, ["Broker 2 is the active controller; it was broker 0."]);
}

#[test]
fn numbers_that_move_are_written_every_ten_seconds() {
    let mut observed = running_three(json!({}));
    let view = observed.view.as_mut().unwrap();
    view.voters = vec![VoterView { id: 0, directory_id: "abc".to_owned(), lag: 5 }];
    view.partitions.under_replicated = 9;
    observed.cluster.status = Some(plan_of(&observed).status);
    let view = observed.view.as_mut().unwrap();
    view.voters[0].lag = 7;
    view.partitions.under_replicated = 8;
    for (written, expected) in [("2025-12-31T23:59:55Z", (5, 9)), ("2025-12-31T23:59:50Z", (7, 8))] {
        let entry = json!([{"manager": "millrace-operator", "subresource": "status", "time": written}]);
        observed.cluster.metadata.managed_fields = Some(parsed(entry));
        let status = plan_of(&observed).status;
        assert_eq!((status.voters[0].lag, status.partitions.unwrap().under_replicated), expected, "{written}");
    }
    observed.view.as_mut().unwrap().partitions.under_replicated = 0;
    assert_eq!(plan_of(&observed).status.partitions.unwrap().under_replicated, 0);
}

#[test]
fn sentences_with_numbers_that_move_are_written_no_faster() {
    let mut observed = running_three(json!({}));
    let written = |time: &str| parsed(json!([{"manager": "millrace-operator", "subresource": "status", "time": time}]));
    observed.view.as_mut().unwrap().partitions.under_replicated = 9;
    observed.cluster.status = Some(plan_of(&observed).status);
    observed.view.as_mut().unwrap().partitions.under_replicated = 8;
    for (time, expected) in [("2025-12-31T23:59:55Z", 9), ("2025-12-31T23:59:50Z", 8), ("2026-01-01T00:05:00Z", 8)] {
        observed.cluster.metadata.managed_fields = Some(written(time));
        let expected = format!("3 of 3 brokers ready; partitions that lack a replica: {expected}.");
        assert_eq!(sentence_of(&plan_of(&observed).status), expected, "{time}");
    }

    let recovering = |observed: &mut Observed, logs_done| {
        answer(observed, BrokerId(1), BrokerState::Recovering);
        let view = observed.brokers.get_mut(&BrokerId(1)).unwrap().as_mut().unwrap();
        view.recovery = Some(RecoveryView { logs_total: 9, logs_done });
    };
    recovering(&mut observed, 3);
    observed.cluster.status = Some(plan_of(&observed).status);
    recovering(&mut observed, 4);
    for (time, expected) in [("2025-12-31T23:59:55Z", 3), ("2025-12-31T23:59:50Z", 4)] {
        observed.cluster.metadata.managed_fields = Some(written(time));
        let expected = format!("2 of 3 brokers ready. Broker 1: checks its logs: {expected} of 9 done.");
        assert_eq!(sentence_of(&plan_of(&observed).status), expected, "{time}");
    }
}

#[test]
fn one_wrong_volume_does_not_hide_that_the_others_serve() {
    let mut observed = running_three(json!({}));
    answer(&mut observed, BrokerId(1), BrokerState::Unformatted);
    let status = plan_of(&observed).status;
    let truth = |kind: &str| status.condition(kind).unwrap().status.as_str();
    let truths = [condition::READY, condition::STALLED, condition::VOLUME_EMPTIED].map(truth);
    assert_eq!((truths, truth(condition::RECONCILING)), (["True"; 3], "False"));
    let told = sentence_of(&status);
    assert!(
        told.starts_with("2 of 3 brokers ready. Broker 1: volume data-demo-1 held data and is empty now"),
        "{told}"
    );
}

#[test]
fn a_pod_that_cannot_end_says_what_it_waits_for() {
    let mut observed = running_three(json!({}));
    fall_silent(&mut observed, BrokerId(1));
    let ended = parsed(json!("2026-01-01T00:00:00Z"));
    observed.pods.get_mut(&BrokerId(1)).unwrap().metadata.deletion_timestamp = Some(ended);
    let phase = |observed: &Observed| plan_of(observed).status.brokers[1].phase;
    assert_eq!(phase(&observed), BrokerPhase::Stopping);
    let node = json!({"metadata": {"name": "node1"}, "status": {"conditions": []}});
    observed.nodes = Some(BTreeMap::from([("node1".to_owned(), parsed(node))]));
    assert_eq!(phase(&observed), BrokerPhase::NodeLost);
    let expected = "2 of 3 brokers ready. Broker 1: its node node1 does not answer, so pod demo-1 does not end; once \
                    that machine is off for good, kubectl delete pod demo-1 --force; before it, only where the volume \
                    went with the machine, kubectl delete pvc data-demo-1 --wait=false.";
    assert_eq!(sentence_of(&plan_of(&observed).status), expected);
}

#[test]
fn a_pod_of_a_deleted_statefulset_serves_no_longer() {
    let mut observed = running(json!({}));
    let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
    observed.standing.get_mut(&key).unwrap().body["metadata"]["uid"] = json!("present");
    for (uid, expected) in [("present", BrokerPhase::Running), ("former", BrokerPhase::Stopping)] {
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid, "controller": true}]);
        observed.pods.get_mut(&BrokerId(0)).unwrap().metadata.owner_references = Some(parsed(owner));
        assert_eq!(plan_of(&observed).status.brokers[0].phase, expected);
    }
}

/// The API server would refuse the whole status for a single list or string that is too long.
fn fits(value: &Value, schema: &Value, path: &str) {
    let within = |limit: &str, length: usize| {
        let limit = schema[limit].as_u64();
        assert!(limit.is_none_or(|limit| length as u64 <= limit), "{path} has {length}, {limit:?} may be");
    };
    match value {
        Value::String(text) => within("maxLength", text.chars().count()),
        Value::Array(items) => {
            within("maxItems", items.len());
            for item in items {
                fits(item, &schema["items"], &format!("{path}[]"));
            }
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| fits(field, &schema["properties"][name], &format!("{path}.{name}")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn the_status_of_a_large_cluster_fits_its_definition() {
    let listeners = json!([{"name": "out", "port": 9094, "type": "nodeport"}]);
    let image = format!("registry.example/{}", "a".repeat(495));
    let mut observed = running(json!({"replicas": 70, "listeners": listeners, "image": image}));
    observed.cluster.spec.image = Some(format!("registry.example/{}", "b".repeat(495)));
    let status = plan_of(&observed).status;
    assert_eq!((status.brokers.len(), status.plan.last().unwrap().as_str()), (70, "And 7 more."));
    let crd = serde_json::to_value(KafkaCluster::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    fits(&serde_json::to_value(status).unwrap(), schema, "status");
}

#[test]
fn an_operator_without_a_view_of_nodes_says_what_is_lost() {
    let mut observed = running_three(json!({}));
    let unseen = plan_of(&observed).status.condition(condition::NODES_VISIBLE).cloned().unwrap();
    assert_eq!((unseen.status.as_str(), unseen.reason.as_str()), ("False", "NoClusterScope"));
    observed.nodes = Some(BTreeMap::new());
    assert_eq!(plan_of(&observed).status.condition(condition::NODES_VISIBLE), None);
}
