use serde_json::json;

use super::*;
use crate::observe::Observed;
use crate::testing::{cluster, release, running, validated};

#[test]
fn the_options_of_a_broker_are_rendered_whole() {
    let spec = json!({
        "listeners": [
            {"name": "clients", "port": 9092},
            {"name": "outside", "port": 9094, "type": "nodeport"},
            {"name": "fixed", "port": 9096, "type": "nodeport", "advertisedHost": "kafka.example"},
        ],
        "config": {"log.retention.hours": 4, "auto.create.topics.enable": false, "min.insync.replicas": "1"},
    });
    let observed = running(spec);
    let cluster = validated(serde_json::to_value(&observed.cluster.spec).unwrap());
    let file = server_properties(&cluster, BrokerId(0), &NodePorts::observed(&cluster, &observed));
    let expected = "\
# Written by the Millrace operator from the KafkaCluster; changes here are lost.
process.roles=broker,controller
node.id=0
controller.quorum.bootstrap.servers=demo-0.demo-brokers.shop.svc:9093
listeners=BROKERS://0.0.0.0:9091,CONTROLLERS://0.0.0.0:9093,CLIENTS://0.0.0.0:9092,OUTSIDE://0.0.0.0:9094,FIXED://0.0.0.0:9096
advertised.listeners=BROKERS://demo-0.demo-brokers.shop.svc:9091,CONTROLLERS://demo-0.demo-brokers.shop.svc:9093,CLIENTS://demo-0.demo-brokers.shop.svc:9092,OUTSIDE://${env:HOST_IP}:30092,FIXED://kafka.example:30092
listener.security.protocol.map=BROKERS:PLAINTEXT,CONTROLLERS:PLAINTEXT,CLIENTS:PLAINTEXT,OUTSIDE:PLAINTEXT,FIXED:PLAINTEXT
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLERS
log.dirs=/var/lib/millrace/data
millrace.format=await
millrace.management.listener=0.0.0.0:9095
millrace.management.tokens.file=/etc/millrace/management/tokens
auto.create.topics.enable=false
default.replication.factor=1
log.retention.hours=4
offsets.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.replication.factor=1
min.insync.replicas=1
";
    assert_eq!(file, expected);
}

/// Every option that the operator renders must be known to the broker, with a valid value.
#[test]
fn the_broker_knows_every_rendered_option() {
    use protocol::config::{Scope, properties, validate};
    let file = server_properties(&validated(json!({})), BrokerId(0), &NodePorts::default());
    for (name, value) in properties::parse(&file).unwrap() {
        assert!(validate(Scope::Broker, &name, &value).is_ok(), "{name}={value}");
    }
}

#[test]
fn values_are_read_back_as_they_were_written() {
    let odd = " a\\b\nc=d # e";
    let cluster = ValidatedCluster {
        config: BTreeMap::from([("group.initial.rebalance.delay.ms".to_owned(), odd.to_owned())]),
        dynamic: BTreeMap::new(),
        ..validated(json!({}))
    };
    let file = server_properties(&cluster, BrokerId(0), &NodePorts::default());
    let read = protocol::config::properties::parse(&file).unwrap();
    assert_eq!(read.last().unwrap().1, odd);
}

#[test]
fn pods_are_restricted_and_stay_where_they_are() {
    let observed = running(json!({"pod": {"tolerations": [{"key": "kafka", "operator": "Exists"}]}}));
    let set = observed.standing.values().find(|manifest| manifest.resource.kind == "StatefulSet").unwrap();
    let spec = &set.body["spec"];
    assert_eq!(spec["updateStrategy"], json!({"type": "OnDelete"}));
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 120);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["containers"][0]["args"], json!(["--config", "/etc/millrace/server-$(ORDINAL).properties"]));
    let endless = pod["tolerations"].as_array().unwrap().iter().filter(|one| one["effect"] == "NoExecute");
    assert!(endless.map(|one| &one["tolerationSeconds"]).all(Value::is_null));
    assert_eq!(pod["tolerations"].as_array().unwrap().len(), 3);
}

#[test]
fn services_lead_to_the_right_pods() {
    let services = services(&validated(json!({"listeners": [
        {"name": "a", "port": 9092}, {"name": "b", "port": 9094, "type": "nodeport"},
    ]})));
    let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["demo-brokers", "demo-bootstrap", "demo-b-0"]);
    let always = |index: usize| services[index].body["spec"]["publishNotReadyAddresses"].as_bool();
    assert_eq!([0, 1, 2].map(always), [Some(true), None, Some(true)], "only the bootstrap leads to ready ones alone");
    assert_eq!(services[1].body["spec"]["ports"].as_array().unwrap().len(), 1);
    assert_eq!(services[2].body["spec"]["selector"]["apps.kubernetes.io/pod-index"], "0");
    assert_eq!(services[2].body["spec"]["externalTrafficPolicy"], "Local");
}

#[test]
fn claims_are_owned_only_on_request_and_grow_apart() {
    let observed = running(json!({}));
    let standing = &observed.claims[&BrokerId(0)];
    let notes = ClaimNotes { cluster_id: "cluster-id".parse().unwrap(), voters: None };
    for (delete, owners) in [(true, 1), (false, 0)] {
        let storage = json!({"storage": {"size": "20Gi", "deleteClaim": delete}});
        let wanted = claim(&validated(storage), standing, &notes, true).body;
        assert_eq!(wanted.get("spec"), None);
        assert_eq!(wanted["metadata"]["ownerReferences"].as_array().unwrap().len(), owners);
        assert_eq!(wanted["metadata"]["uid"], crate::testing::CLAIM_UID);
    }
    let grown = grown_claim(standing, &Quantity("20Gi".to_owned())).body;
    assert_eq!(grown["spec"]["resources"]["requests"]["storage"], "20Gi");
    assert_eq!(grown["metadata"].get("ownerReferences"), None);
}

#[test]
fn only_controllers_bind_the_listener_of_controllers() {
    let spec = json!({"replicas": 4});
    let file = |id: i32| server_properties(&validated(spec.clone()), BrokerId(id), &NodePorts::default());
    let read = |id: i32, name: &str| {
        let read = protocol::config::properties::parse(&file(id)).unwrap();
        read.into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap()
    };
    assert_eq!((read(2, "process.roles"), read(3, "process.roles")), ("broker,controller".into(), "broker".into()));
    assert_eq!(read(3, "listeners"), "BROKERS://0.0.0.0:9091,CLIENTS://0.0.0.0:9092");
    assert!(!read(3, "advertised.listeners").contains("CONTROLLERS"));
    assert!(read(3, "listener.security.protocol.map").contains("CONTROLLERS:PLAINTEXT"));
    let quorum = (0..3).map(|id| format!("demo-{id}.demo-brokers.shop.svc:9093")).collect::<Vec<_>>().join(",");
    assert_eq!(
        (read(0, "controller.quorum.bootstrap.servers"), read(3, "controller.quorum.bootstrap.servers")),
        (quorum.clone(), quorum)
    );
    assert_eq!(read(0, "min.insync.replicas"), "2");
    assert_eq!(read(0, "offsets.topic.replication.factor"), "3");
}

#[test]
fn brokers_learn_their_zone_where_the_operator_sees_nodes() {
    let mut observed = Observed::nothing(cluster(json!({"replicas": 3})));
    for (nodes, expected) in [(None, false), (Some(BTreeMap::new()), true)] {
        observed.nodes = nodes;
        let cluster = crate::validate::validate(&observed, &release()).unwrap();
        let config = RenderedConfig::new(&cluster, &NodePorts::default());
        let template = StatefulSetTemplate::of(None, &cluster);
        let set = statefulset(&cluster, &"cluster-id".parse().unwrap(), &config, &template).body.to_string();
        assert_eq!(set.contains("metadata.annotations['millrace.dev/zone']"), expected);
        assert_eq!(config.files[&BrokerId(0)].contains("millrace.rack.file=/etc/millrace/pod/zone\n"), expected);
    }
}
