use kube::ResourceExt as _;
use serde_json::json;

use super::*;
use crate::admin::BrokerState;
use crate::names::ANNOTATION_IMAGE;
use crate::testing::{answer, cluster, fresh, now, release, running, running_three, settle, start_pods, validated};

fn problems(spec: Value) -> Vec<String> {
    let refused = validate(&Observed::nothing(cluster(spec)), &release());
    refused.err().into_iter().flatten().map(|problem| problem.to_string()).collect()
}

#[test]
fn eight_lines_are_enough() {
    let cluster = validated(json!({}));
    assert_eq!(cluster.image, "example/millrace-broker:0.1.0");
    assert_eq!(cluster.version, "0.1.0");
    assert_eq!(cluster.brokers, [BrokerId(0)]);
    assert_eq!(cluster.storage.size_bytes, 10 << 30);
    assert_eq!(cluster.listeners, [Listener { name: "clients".into(), port: 9092, exposure: Exposure::Internal }]);
}

#[test]
fn names_the_field_and_says_what_would_be_right() {
    let listener = |name: &str, port: u16| json!({"listeners": [{"name": name, "port": port}]});
    for (spec, expected) in [
        (
            json!({"replicas": 2}),
            "spec.replicas: use 1, or 3 or more (at most 1024); with two, the loss of either would stop the cluster",
        ),
        (
            json!({"replicas": 4, "controllers": {"replicas": 4}}),
            "spec.controllers.replicas: use 1, 3 or 5: an even number tolerates no more losses than one less",
        ),
        (
            json!({"replicas": 3, "controllers": {"replicas": 5}}),
            "spec.controllers.replicas: every controller is a broker, so there cannot be more of them than spec.replicas",
        ),
        (
            json!({"config": {"broker.rack": "a"}}),
            r#"spec.config["broker.rack"]: set by the operator; it is the zone of the broker's node"#,
        ),
        (
            json!({"config": {"log.retention.hour": 4}}),
            r#"spec.config["log.retention.hour"]: unknown option; did you mean log.retention.hours?"#,
        ),
        (json!({"config": {"zzz": 4}}), r#"spec.config["zzz"]: unknown option"#),
        (
            json!({"config": {"offsets.topic.replication.factor": 3}}),
            r#"spec.config["offsets.topic.replication.factor"]: 3 replicas need as many brokers; spec.replicas is 1"#,
        ),
        (
            json!({"replicas": 3, "config": {"default.replication.factor": "4", "offsets.topic.replication.factor": 3}}),
            r#"spec.config["default.replication.factor"]: 4 replicas need as many brokers; spec.replicas is 3"#,
        ),
        (
            json!({"config": {"broker.heartbeat.interval.ms": 700, "broker.session.timeout.ms": 700}}),
            r#"spec.config["broker.session.timeout.ms"]: 700 does not go with broker.heartbeat.interval.ms=700: it must be more"#,
        ),
        (
            json!({"config": {"broker.heartbeat.interval.ms": 5000}}),
            r#"spec.config["broker.session.timeout.ms"]: 3000 does not go with broker.heartbeat.interval.ms=5000: it must be more"#,
        ),
        (
            json!({"config": {"listeners": "PLAINTEXT://:9092"}}),
            r#"spec.config["listeners"]: set by the operator; use spec.listeners instead"#,
        ),
        (
            json!({"config": {"millrace.management.listener": ""}}),
            r#"spec.config["millrace.management.listener"]: set by the operator; remove it"#,
        ),
        (
            json!({"config": {"log.retention.hours": [1]}}),
            r#"spec.config["log.retention.hours"]: a list or an object; write a string, a number, true or false, with commas between the items of a list"#,
        ),
        (json!({"storage": {"size": "10GB"}}), r#"spec.storage.size: "10GB" is not a size; write one such as 10Gi"#),
        (json!({"storage": {"size": 0}}), r#"spec.storage.size: "0" is not a size; write one such as 10Gi"#),
        (
            json!({"version": "0.2.0"}),
            "spec.version: 0.2.0 is newer than this operator (0.1.0); upgrade the operator first",
        ),
        (
            json!({"pod": {"labels": {"millrace.dev/cluster": "x"}}}),
            r#"spec.pod.labels["millrace.dev/cluster"]: set by the operator; choose another name"#,
        ),
        (
            json!({"pod": {"labels": {"app.kubernetes.io/managed-by": "x"}}}),
            r#"spec.pod.labels["app.kubernetes.io/managed-by"]: set by the operator; choose another name"#,
        ),
        (
            json!({"resources": {"limits": {"memory": "lots"}}}),
            r#"spec.resources.limits.memory: "lots" is not a quantity"#,
        ),
        (
            listener("brokers", 9092),
            "spec.listeners[0]: the names brokers, controllers and management are taken by the brokers themselves",
        ),
        (
            listener("clients", 9093),
            "spec.listeners[0]: the ports 9091, 9093 and 9095 are taken by the brokers themselves",
        ),
        (
            json!({"listeners": [{"name": "a", "port": 9092}, {"name": "b", "port": 9092}]}),
            "spec.listeners: two listeners have the same port",
        ),
        (
            json!({"listeners": [{"name": "a", "port": 9092, "advertisedHost": "x"}]}),
            "spec.listeners[0]: advertisedHost is for listeners of type nodeport",
        ),
    ] {
        assert_eq!(problems(spec), [expected]);
    }
    let wrong_type = problems(json!({"config": {"log.retention.hours": "four"}}));
    assert!(wrong_type[0].starts_with(r#"spec.config["log.retention.hours"]: "four" is not "#), "{wrong_type:?}");
    let affinity = problems(json!({"pod": {"affinity": {"nodeAffinity": 3}}}));
    assert!(affinity[0].starts_with("spec.pod.affinity: not an affinity: "), "{affinity:?}");
    let weighted = json!([{"weight": 1, "preference": {"matchExpression": []}}]);
    let affinity = problems(
        json!({"pod": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}}),
    );
    let expected = "spec.pod.affinity: there is no field \
                    nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.preference.matchExpression";
    assert_eq!(affinity, [expected]);
}

#[test]
fn tells_every_problem_at_once() {
    let found =
        problems(json!({"replicas": 2, "storage": {"size": ""}, "config": {"node.id": 1, "process.roles": "broker"}}));
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn the_name_must_leave_room_for_those_made_from_it() {
    let mut cluster = cluster(json!({}));
    for (name, legal) in
        [("d", true), ("a1-b", true), ("1a", false), ("a-", false), (&*"a".repeat(41), false), ("A", false)]
    {
        cluster.metadata.name = Some(name.to_owned());
        assert_eq!(validate(&Observed::nothing(cluster.clone()), &release()).is_ok(), legal, "{name}");
    }
}

#[test]
fn the_class_of_volumes_stays() {
    let with_class = |class: &str| cluster(json!({"storage": {"size": "10Gi", "class": class}}));
    let changed = kube::core::cel::validate_cel_update(&with_class("slow"), &with_class("fast"));
    assert_eq!(changed.unwrap_err()[0].field_path, "spec.storage");
    let removed = kube::core::cel::validate_cel_update(&cluster(json!({})), &with_class("fast"));
    assert!(removed.is_err());
    let grown = cluster(json!({"storage": {"size": "20Gi", "class": "fast"}}));
    assert!(kube::core::cel::validate_cel_update(&grown, &with_class("fast")).is_ok());
}

#[test]
fn volumes_never_shrink() {
    let mut observed = running(json!({}));
    observed.cluster.spec.storage.size = Quantity("5Gi".to_owned());
    let refused = validate(&observed, &release()).unwrap_err();
    let expected =
        "spec.storage.size: 5Gi is less than volume data-demo-0 has; volumes cannot shrink, set it to at least 10Gi";
    assert_eq!(refused[0].to_string(), expected);
}

fn refusal(observed: &Observed) -> Vec<String> {
    let refused = validate(observed, &release()).err();
    refused.into_iter().flatten().map(|problem| problem.to_string()).collect()
}

#[test]
fn the_first_1_3_or_5_brokers_are_controllers() {
    for (spec, controllers) in [
        (json!({}), 1),
        (json!({"replicas": 3}), 3),
        (json!({"replicas": 4}), 3),
        (json!({"replicas": 9}), 5),
        (json!({"replicas": 9, "controllers": {"replicas": 3}}), 3),
    ] {
        let expected: Vec<_> = (0..controllers).map(BrokerId).collect();
        assert_eq!(validated(spec).controllers, expected);
    }
}

#[test]
fn a_cluster_stays_as_large_as_it_is() {
    let mut observed = running_three(json!({}));
    observed.cluster.spec.replicas = 4;
    let expected = "spec.replicas: the cluster was created with 3, and this version cannot move data to another number of brokers; set it back to 3";
    assert_eq!(refusal(&observed), [expected]);
    observed.cluster.spec = cluster(json!({"replicas": 3, "controllers": {"replicas": 1}})).spec;
    let expected = "spec.controllers.replicas: the cluster was created with 3 and not 1, and this version cannot change who votes; set it to 3";
    assert_eq!(refusal(&observed), [expected]);
}

#[test]
fn kept_volumes_keep_the_size_of_their_cluster() {
    let kept = running_three(json!({})).claims;
    let again = |spec| Observed { claims: kept.clone(), ..Observed::nothing(cluster(spec)) };
    assert_eq!(refusal(&again(json!({"replicas": 3}))), [""; 0]);
    let expected =
        "spec.replicas: volume data-demo-2 of a former life of this cluster holds data of broker 2; set it to 3";
    assert_eq!(refusal(&again(json!({}))), [expected]);
    assert!(
        refusal(&again(json!({"replicas": 5})))[0]
            .starts_with("spec.controllers.replicas: the cluster was created with 3")
    );
}

#[test]
fn a_newer_operator_restarts_no_broker_and_another_image_of_its_own_does() {
    let by = |version: &str, image: &str| Release { version: version.to_owned(), broker_image: image.to_owned() };
    for (image, runs) in [
        ("example/broker", "example/broker:0.1.0"),
        ("host:5000/broker", "host:5000/broker:0.1.0"),
        ("host:5000/broker:0.1.0-r3", "host:5000/broker:0.1.0-r3"),
        ("broker@sha256:abc", "broker@sha256:abc"),
    ] {
        let mut observed = Observed::nothing(cluster(json!({})));
        let plan = |observed: &Observed, release: &Release| {
            let cluster = validate(observed, release).unwrap();
            assert_eq!(cluster.version, "0.1.0");
            (cluster.image.clone(), crate::plan::plan(&cluster, observed, &fresh(), now()))
        };
        for _ in 0..5 {
            let (_, plan) = plan(&observed, &by("0.1.0", image));
            settle(&mut observed, &plan);
            start_pods(&mut observed);
        }
        let (newer, upgraded) = plan(&observed, &by("0.2.0", image));
        assert_eq!((newer.as_str(), upgraded.steps, upgraded.status.plan), (runs, vec![], vec![]));
        let (other, moved) = plan(&observed, &by("0.2.0", "mirror/broker"));
        let expected = format!("Restart broker 0: its image changes from {runs} to {other}.");
        assert_eq!((other.as_str(), moved.status.plan), ("mirror/broker:0.1.0", vec![expected]));
    }
}

#[test]
fn a_version_goes_back_only_until_every_broker_has_run_it() {
    let newer = Release { version: "0.2.0".to_owned(), ..release() };
    let mut observed = running_three(json!({}));
    for round in 0..6 {
        observed.cluster.spec.version = Some("0.1.0".to_owned());
        assert_eq!(validate(&observed, &newer).err(), None, "round {round}");
        observed.cluster.spec.version = Some("0.2.0".to_owned());
        let cluster = validate(&observed, &newer).unwrap();
        let plan = crate::plan::plan(&cluster, &observed, &fresh(), now());
        let ran = observed.pods.values().filter(|pod| pod.annotations()[ANNOTATION_IMAGE] == cluster.image).count();
        settle(&mut observed, &plan);
        if ran == 3 {
            break;
        }
        assert_eq!(plan.status.version.as_deref(), Some("0.1.0"), "{ran} of 3 brokers run the other");
        start_pods(&mut observed);
        (0..3).for_each(|id| answer(&mut observed, BrokerId(id), BrokerState::Running));
    }
    assert_eq!(observed.cluster.status.as_ref().unwrap().version.as_deref(), Some("0.2.0"));
    observed.cluster.spec.version = Some("0.1.0".to_owned());
    let refused = validate(&observed, &newer).unwrap_err();
    let expected =
        "spec.version: 0.1.0 is older than 0.2.0, which every broker has run; set it to 0.2.0 or a later one";
    assert_eq!(refused[0].to_string(), expected);
}

#[test]
fn resources_that_are_named_are_left_as_they_are() {
    let cluster = validated(json!({"resources": {"limits": {"memory": "512Mi"}}}));
    let requests = cluster.resources.requests.unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["cpu"]);
    assert_eq!(cluster.resources.limits.unwrap()["memory"].0, "512Mi");
}
