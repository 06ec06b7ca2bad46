use serde_json::json;

use super::*;
use crate::admin::BrokerState;
use crate::crd::BrokerPhase;
use crate::names::{ANNOTATION_FORMATTED, ANNOTATION_VOTERS};
use crate::testing::{CLAIM_UID, answer, cluster, fresh, notices, parsed, plan_of, running, settle, start_pods};

fn told(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn kinds(plan: &Plan) -> Vec<String> {
    told(plan).into_iter().map(|step| step.split("-config-").next().unwrap().to_owned()).collect()
}

fn ready_message(plan: &Plan) -> String {
    plan.status.condition(condition::READY).unwrap().message.clone()
}

#[test]
fn a_new_cluster_comes_up_in_four_looks() {
    let mut observed = Observed::nothing(cluster(json!({})));
    let first = plan_of(&observed);
    let expected = [
        "apply ServiceAccount demo",
        "create Secret demo-management",
        "apply Service demo-brokers",
        "apply Service demo-bootstrap",
        "create ConfigMap demo",
        "apply StatefulSet demo",
        "apply PodDisruptionBudget demo",
    ];
    assert_eq!(kinds(&first), expected);
    assert_eq!(ready_message(&first), "Broker 0: waiting for pod demo-0 to be created.");
    assert_eq!(notices(&observed, &first)[0].reason, "Created");
    assert_eq!(first.look_again, LOOK_WHILE_MOVING);

    settle(&mut observed, &first);
    start_pods(&mut observed);
    let second = plan_of(&observed);
    assert_eq!(told(&second), ["apply PersistentVolumeClaim data-demo-0"], "the voters are written down");
    settle(&mut observed, &second);
    let second = plan_of(&observed);
    assert_eq!(told(&second), ["format broker 0"]);
    let Step::Format { request, .. } = &second.steps[0] else { panic!("{:?}", second.steps) };
    assert_eq!(request.cluster_id, ClusterId::from_uuid(fresh().cluster_id).to_string());
    assert_eq!(request.directory_id.parse(), CLAIM_UID.parse::<protocol::types::DirectoryId>());
    assert_eq!(request.initial_voters[0].endpoint, "demo-0.demo-brokers.shop.svc:9093");

    settle(&mut observed, &second);
    let third = plan_of(&observed);
    assert_eq!(told(&third), ["apply PersistentVolumeClaim data-demo-0"]);
    assert_eq!(ready_message(&third), "1 of 1 brokers ready.");
    assert_eq!(notices(&observed, &third)[0].reason, "Ready");

    settle(&mut observed, &third);
    let rest = plan_of(&observed);
    assert_eq!(told(&rest), [""; 0]);
    assert_eq!(rest.look_again, LOOK_WHILE_READY);
    assert_eq!(notices(&observed, &rest), []);
    settle(&mut observed, &rest);
    assert_eq!(Some(plan_of(&observed).status), observed.cluster.status, "nothing is written while nothing changes");
}

#[test]
fn options_wait_until_the_node_ports_are_known() {
    let mut observed =
        Observed::nothing(cluster(json!({"listeners": [{"name": "out", "port": 9094, "type": "nodeport"}]})));
    let first = plan_of(&observed);
    let expected = [
        "apply ServiceAccount demo",
        "create Secret demo-management",
        "apply Service demo-brokers",
        "apply Service demo-out-0",
    ];
    assert_eq!(told(&first), expected);
    settle(&mut observed, &first);
    assert_eq!(
        kinds(&plan_of(&observed)),
        ["create ConfigMap demo", "apply StatefulSet demo", "apply PodDisruptionBudget demo"]
    );
}

#[test]
fn changed_options_restart_the_broker_once_the_template_is_seen() {
    let mut observed = running(json!({}));
    observed.cluster.spec.config = parsed(json!({"log.retention.hours": 4}));
    let first = plan_of(&observed);
    assert_eq!(kinds(&first), ["create ConfigMap demo", "apply StatefulSet demo"]);
    assert_eq!(first.status.plan, ["Restart broker 0: its options or listeners changed."]);
    assert_eq!(first.status.ready_replicas, 1);

    settle(&mut observed, &first);
    let mut unseen = observed.clone();
    let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
    unseen.standing.get_mut(&key).unwrap().body["status"]["observedGeneration"] = json!(1);
    assert_eq!(told(&plan_of(&unseen)), [""; 0]);

    let second = plan_of(&observed);
    assert_eq!(told(&second), ["restart broker 0: its options or listeners changed"]);
    settle(&mut observed, &second);
    assert_eq!(kinds(&plan_of(&observed)), ["delete ConfigMap demo"], "no pod mounts the old options any more");
    start_pods(&mut observed);
    answer(&mut observed, BrokerId(0), BrokerState::Running);
    assert_eq!(plan_of(&observed).status.plan, [""; 0]);
}

#[test]
fn each_kind_of_change_has_its_reason_to_restart() {
    for (change, expected) in [
        (
            json!({"image": "other:1"}),
            Some("restart broker 0: its image changes from example/millrace-broker:0.1.0 to other:1"),
        ),
        (json!({"resources": {"limits": {"memory": "2Gi"}}}), Some("restart broker 0: its CPU or memory changed")),
        (
            json!({"listeners": [{"name": "clients", "port": 9099}]}),
            Some("restart broker 0: its options or listeners changed"),
        ),
        (json!({"pod": {"labels": {"team": "shop"}}}), None),
        (json!({"pod": {"nodeSelector": {"disk": "fast"}}}), None),
        (json!({"storage": {"size": "20Gi"}}), None),
    ] {
        let mut observed = running(json!({}));
        observed.cluster.spec = cluster(change).spec;
        let plan = plan_of(&observed);
        settle(&mut observed, &plan);
        let restart = told(&plan_of(&observed)).into_iter().find(|step| step.starts_with("restart"));
        assert_eq!(restart.as_deref(), expected);
    }
}

#[test]
fn kubectl_rollout_restart_is_followed_once() {
    let mut observed = running(json!({}));
    let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
    let template = &mut observed.standing.get_mut(&key).unwrap().body["spec"]["template"];
    template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("2026-01-01T00:00:00Z");
    let plan = plan_of(&observed);
    assert_eq!(told(&plan), ["restart broker 0: somebody asked for it by kubectl rollout restart"]);
    settle(&mut observed, &plan);
    start_pods(&mut observed);
    answer(&mut observed, BrokerId(0), BrokerState::Running);
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
}

#[test]
fn a_broker_that_checks_its_logs_is_left_alone() {
    let mut observed = running(json!({}));
    observed.cluster.spec.image = Some("other:1".to_owned());
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    answer(&mut observed, BrokerId(0), BrokerState::Recovering);
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
}

#[test]
fn an_emptied_volume_is_never_formatted_again() {
    let annotated = |observed: &mut Observed| observed.cluster.status = None;
    let reported = |observed: &mut Observed| {
        let claim = observed.claims.get_mut(&BrokerId(0)).unwrap();
        claim.metadata.annotations.as_mut().unwrap().remove(ANNOTATION_FORMATTED);
    };
    for forget in [annotated as fn(&mut Observed), reported] {
        let mut observed = running(json!({}));
        answer(&mut observed, BrokerId(0), BrokerState::Unformatted);
        forget(&mut observed);
        let plan = plan_of(&observed);
        assert!(!told(&plan).iter().any(|step| step.starts_with("format")), "{:?}", told(&plan));
        assert_eq!(plan.status.condition(condition::VOLUME_EMPTIED).unwrap().status, "True");
        assert_eq!(plan.status.condition(condition::STALLED).unwrap().status, "True");
        assert!(ready_message(&plan).starts_with("Broker 0: volume data-demo-0 held data and is empty now"));
    }
}

#[test]
fn a_new_claim_is_a_new_directory() {
    let mut observed = running(json!({}));
    answer(&mut observed, BrokerId(0), BrokerState::Unformatted);
    let claim = observed.claims.get_mut(&BrokerId(0)).unwrap();
    claim.metadata.uid = Some("7d1a2c3e-0000-4000-8000-000000000000".to_owned());
    claim.metadata.annotations.as_mut().unwrap().remove(ANNOTATION_FORMATTED);
    claim.metadata.annotations.as_mut().unwrap().remove(ANNOTATION_VOTERS);
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    assert!(told(&plan_of(&observed)).contains(&"format broker 0".to_owned()));
}

#[test]
fn kept_claims_bring_their_cluster_back() {
    let before = running(json!({}));
    let id = before.cluster.status.as_ref().unwrap().cluster_id.clone();
    let mut again = Observed::nothing(cluster(json!({})));
    again.claims = before.claims;
    let other = Fresh { cluster_id: Uuid::from_u128(8), ..fresh() };
    let cluster = crate::validate::validate(&again, &crate::testing::release()).unwrap();
    assert_eq!(plan(&cluster, &again, &other, crate::testing::now()).status.cluster_id, id);
}

#[test]
fn volumes_of_another_cluster_block_everything() {
    let mut observed = running(json!({}));
    observed.cluster.status.as_mut().unwrap().cluster_id = Some("another".to_owned());
    let plan = plan_of(&observed);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().reason, "ClusterIdConflict");
}

#[test]
fn foreign_objects_are_named_and_not_touched() {
    let mut claim = running(json!({})).claims.remove(&BrokerId(0)).unwrap();
    claim.metadata.labels = None;
    let service: Service = parsed(json!({"metadata": {"name": "demo-brokers"}}));
    for foreign in [Manifest::new(&service), Manifest::new(&claim)] {
        let mut observed = Observed::nothing(cluster(json!({})));
        observed.standing.insert(foreign.key(), foreign.clone());
        let plan = plan_of(&observed);
        assert_eq!(plan.steps, []);
        assert_eq!(plan.status.condition(condition::READY).unwrap().reason, "NameTaken");
        assert!(ready_message(&plan).starts_with(&foreign.key().to_string()), "{}", ready_message(&plan));
    }
}

#[test]
fn what_is_left_of_a_deleted_cluster_is_waited_for() {
    let mut again = Observed::nothing(cluster(json!({})));
    let former = running(json!({}));
    again.standing = former.standing;
    again.claims = former.claims;
    again.cluster.metadata.uid = Some("uid-of-its-successor".to_owned());
    let plan = plan_of(&again);
    assert_eq!(plan.steps, []);
    let ready = plan.status.condition(condition::READY).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "LeftOver"));
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().status, "False", "nobody has to do anything");
    again.standing.clear();
    assert_eq!(kinds(&plan_of(&again))[0], "apply ServiceAccount demo");
}

#[test]
fn a_secret_without_a_token_is_named() {
    let mut observed = running(json!({}));
    observed.token = None;
    let plan = plan_of(&observed);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().reason, "NoToken");
}

#[test]
fn a_statefulset_that_was_scaled_by_hand_is_put_right() {
    for replicas in [0, 2, 5] {
        let mut observed = crate::testing::running_three(json!({}));
        let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
        observed.standing.get_mut(&key).unwrap().body["spec"]["replicas"] = json!(replicas);
        assert_eq!(told(&plan_of(&observed)), ["apply StatefulSet demo"], "{replicas}");
    }
}

#[test]
fn a_listener_that_goes_takes_its_service_along() {
    let mut observed = running(json!({"listeners": [{"name": "out", "port": 9094, "type": "nodeport"}]}));
    observed.cluster.spec.listeners.clear();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let plan = plan_of(&observed);
        seen.extend(told(&plan));
        settle(&mut observed, &plan);
        if observed.pods.is_empty() {
            start_pods(&mut observed);
            answer(&mut observed, BrokerId(0), BrokerState::Running);
        }
    }
    assert!(seen.contains(&"delete Service demo-out-0".to_owned()), "{seen:?}");
}

#[test]
fn volumes_grow_by_their_claims() {
    let mut observed = running(json!({}));
    observed.cluster.spec.storage.size = parsed(json!("20Gi"));
    let plan = plan_of(&observed);
    assert_eq!(told(&plan), ["grow PersistentVolumeClaim data-demo-0"]);
    settle(&mut observed, &plan);
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
}

#[test]
fn claims_are_released_first_and_also_by_an_invalid_manifest() {
    let mut observed = running(json!({"storage": {"size": "10Gi", "deleteClaim": true}}));
    let uid = observed.cluster.metadata.uid.clone().unwrap();
    assert!(Manifest::new(&observed.claims[&BrokerId(0)]).is_owned_by(&uid));
    observed.cluster.spec.storage = parsed(json!({"size": "20Gi"}));
    let steps = ["apply PersistentVolumeClaim data-demo-0", "grow PersistentVolumeClaim data-demo-0"];
    assert_eq!(told(&plan_of(&observed)), steps);
    observed.cluster.spec.config = parsed(json!({"node.id": 1}));
    let problems = crate::validate::validate(&observed, &crate::testing::release()).unwrap_err();
    let plan = refuse(&observed, &problems, crate::testing::now());
    assert_eq!(told(&plan), steps[..1]);
    settle(&mut observed, &plan);
    let claim = &observed.claims[&BrokerId(0)];
    assert!(!Manifest::new(claim).is_owned_by(&uid));
    assert!(claim.annotations().contains_key(ANNOTATION_FORMATTED));
    assert_eq!(refuse(&observed, &problems, crate::testing::now()).steps, []);
}

/// An applied object as the API server stores it.
fn normalise(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(normalise);
            fields.retain(|_, value| *value != json!({}) && *value != json!([]) && !value.is_null());
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(normalise),
        serde_json::Value::String(text) => {
            let forms = [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi")];
            if let Some((_, canonical)) = forms.iter().find(|(written, _)| written == text) {
                *text = (*canonical).to_owned();
            }
        }
        _ => {}
    }
}

#[test]
fn what_the_api_server_rewrites_is_not_applied_again() {
    let mut observed = running(json!({
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": "0.5", "memory": "1.5Gi"}},
        "pod": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}},
    }));
    observed.standing.values_mut().for_each(|manifest| normalise(&mut manifest.body));
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
    let mut observed = running(json!({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}));
    observed.standing.values_mut().for_each(|manifest| normalise(&mut manifest.body));
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
}

#[test]
fn a_field_that_others_keep_changing_does_not_hold_up_restarts() {
    let mut observed = running(json!({}));
    observed.cluster.spec.image = Some("other:1".to_owned());
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
    observed.standing.get_mut(&key).unwrap().body["spec"]["template"]["spec"]["enableServiceLinks"] = json!(true);
    let restart = "restart broker 0: its image changes from example/millrace-broker:0.1.0 to other:1";
    assert_eq!(told(&plan_of(&observed)), ["apply StatefulSet demo", restart]);
}

#[test]
fn a_field_that_others_keep_changing_is_put_right_now_and_then() {
    let mut observed = running(json!({}));
    let key = ObjectKey { kind: "StatefulSet".to_owned(), name: "demo".to_owned() };
    observed.standing.get_mut(&key).unwrap().body["spec"]["template"]["spec"]["enableServiceLinks"] = json!(true);
    let plan = plan_of(&observed);
    assert_eq!(told(&plan), ["apply StatefulSet demo"]);
    assert_eq!(plan.look_again, LOOK_WHILE_READY);
    assert_eq!(plan.status.condition(condition::RECONCILING).unwrap().status, "False");
}

#[test]
fn a_pod_that_never_started_follows_every_change() {
    let mut observed = running(json!({}));
    observed.pods.get_mut(&BrokerId(0)).unwrap().status = None;
    observed.brokers.clear();
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
    observed.cluster.spec = cluster(json!({"pod": {"nodeSelector": {"disk": "fast"}}})).spec;
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    let expected = "restart broker 0: its pod never started, and would be another one now";
    assert_eq!(told(&plan_of(&observed)), [expected]);
}

#[test]
fn a_container_beside_the_brokers_does_not_count() {
    let mut observed = running(json!({}));
    observed.brokers.clear();
    observed.pods.get_mut(&BrokerId(0)).unwrap().status = Some(parsed(json!({
        "podIP": "10.1.2.0",
        "containerStatuses": [
            {"name": "a-proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        ],
    })));
    assert!(observed.targets().is_empty());
    assert_eq!(ready_message(&plan_of(&observed)), "Broker 0: pod demo-0 does not start: ImagePullBackOff.");
    observed.cluster.spec = cluster(json!({"pod": {"nodeSelector": {"disk": "fast"}}})).spec;
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    let expected = "restart broker 0: its pod never started, and would be another one now";
    assert_eq!(told(&plan_of(&observed)), [expected]);
}

#[test]
fn a_volume_of_another_broker_is_told_and_never_formatted() {
    let other = "7d1a2c3e-0000-4000-8000-000000000000";
    let mut observed = running(json!({}));
    observed.cluster.status.as_mut().unwrap().brokers.clear();
    let claim = observed.claims.get_mut(&BrokerId(0)).unwrap();
    claim.metadata.annotations.as_mut().unwrap().remove(ANNOTATION_FORMATTED);
    observed.brokers.get_mut(&BrokerId(0)).unwrap().as_mut().unwrap().directory_id = Some(other.to_owned());
    let plan = plan_of(&observed);
    assert_eq!(told(&plan), ["apply PersistentVolumeClaim data-demo-0"], "it is noted that it holds data");
    assert_eq!(plan.status.brokers[0].phase, BrokerPhase::ForeignVolume);
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().reason, "ForeignVolume");
    assert!(ready_message(&plan).starts_with("Broker 0: volume data-demo-0 was formatted for directory "));
    settle(&mut observed, &plan);
    answer(&mut observed, BrokerId(0), BrokerState::Unformatted);
    assert_eq!(plan_of(&observed).status.brokers[0].phase, BrokerPhase::VolumeEmptied);
}

#[test]
fn drift_is_put_right() {
    let mut observed = running(json!({}));
    let key = ObjectKey { kind: "Service".to_owned(), name: "demo-bootstrap".to_owned() };
    observed.standing.get_mut(&key).unwrap().body["spec"]["ports"][0]["port"] = json!(1);
    assert_eq!(told(&plan_of(&observed)), ["apply Service demo-bootstrap"]);
}

#[test]
fn the_zone_of_its_node_is_noted_on_a_pod() {
    let mut observed = crate::testing::running_three(json!({}));
    let node = |zone: &str| parsed(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}));
    let bare = parsed(json!({"metadata": {}}));
    let nodes = [("node0".to_owned(), node("a")), ("node1".to_owned(), bare)];
    observed.nodes = Some(nodes.into());
    let annotated =
        |plan: &Plan| -> Vec<_> { told(plan).into_iter().filter(|step| step.starts_with("annotate")).collect() };
    let due = ["annotate Pod demo-0", "annotate Pod demo-1"];
    let mut invalid = observed.clone();
    invalid.cluster.spec.config = parsed(json!({"node.id": 1}));
    let problems = crate::validate::validate(&invalid, &crate::testing::release()).unwrap_err();
    assert_eq!(annotated(&refuse(&invalid, &problems, crate::testing::now())), due, "whatever the manifest says");
    let blocked = Observed { token: None, ..observed.clone() };
    assert_eq!(annotated(&plan_of(&blocked)), due, "whatever is in the way");
    let plan = plan_of(&observed);
    assert_eq!(annotated(&plan), due, "the node of demo-2 is gone");
    settle(&mut observed, &plan);
    let zone = |id: i32| observed.pods[&BrokerId(id)].annotations()[ANNOTATION_ZONE].clone();
    assert_eq!((zone(0), zone(1)), ("a\n".to_owned(), "\n".to_owned()));
    let status = plan_of(&observed).status;
    assert_eq!((status.brokers[0].zone.as_deref(), status.brokers[1].zone.as_deref()), (Some("a"), None));
    assert!(!told(&plan_of(&observed)).iter().any(|step| step.starts_with("annotate")));
}

#[test]
fn options_that_live_in_the_metadata_change_without_a_restart() {
    let mut observed = crate::testing::running_three(json!({"config": {"log.retention.bytes": 100}}));
    assert_eq!(observed.known_options().unwrap()["min.insync.replicas"], "2");
    crate::testing::options_of(&mut observed).insert("log.cleaner.backoff.ms".to_owned(), "7".to_owned());
    for (config, expected) in [
        (json!({"log.retention.bytes": "0100"}), ""),
        (json!({"log.retention.bytes": 200}), "set for all brokers log.retention.bytes=200"),
        (json!({"min.insync.replicas": 1}), "set for all brokers min.insync.replicas=1, no log.retention.bytes"),
        (json!({}), "set for all brokers min.insync.replicas=2"),
    ] {
        observed.cluster.spec.config = parsed(config);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let plan = plan_of(&observed);
            assert_eq!(plan.status.plan, [""; 0], "no restart");
            seen.extend(told(&plan).into_iter().filter(|step| step.starts_with("set")));
            settle(&mut observed, &plan);
        }
        assert_eq!(seen.join("; "), expected);
    }
    assert_eq!(observed.known_options().unwrap()["log.cleaner.backoff.ms"], "7", "what others set stays");
    assert_eq!(observed.cluster.status.unwrap().options, ["min.insync.replicas"]);
}
