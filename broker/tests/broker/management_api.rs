//! The management API as probes, Prometheus and the operator use it.

use std::fs;
use std::net::TcpStream;

use crate::harness::http::{call, get};
use crate::harness::wire::Wire;
use crate::harness::{Broker, Site, eventually};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::protocol::StrBytes;

const TOKEN: &str = "right";
const DIRECTORY: &str = "b1b5a1f0-8d3c-4a68-9e55-0123456789ab";

/// A node as the operator starts one: not formatted, waiting.
fn awaiting() -> (Site, Broker) {
    let site = Site::new(&[]);
    let directory = site.directory.path();
    fs::write(directory.join("tokens"), format!("old\n{TOKEN}\n")).unwrap();
    let properties = format!(
        "process.roles=broker,controller\nnode.id=0\nlisteners=CLIENTS://127.0.0.1:{},CONTROLLERS://127.0.0.1:{}\n\
         listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLERS:PLAINTEXT\ninter.broker.listener.name=CLIENTS\n\
         controller.listener.names=CONTROLLERS\ncontroller.quorum.bootstrap.servers=127.0.0.1:{}\nlog.dirs={}\n\
         millrace.format=await\nmillrace.management.listener=127.0.0.1:{}\nmillrace.management.tokens.file={}\n",
        site.port,
        site.controller_port,
        site.controller_port,
        site.data().display(),
        site.management_port,
        directory.join("tokens").display()
    );
    fs::write(directory.join("server.properties"), properties).unwrap();
    let broker = restart(&site);
    (site, broker)
}

fn restart(site: &Site) -> Broker {
    let path = site.directory.path().join("server.properties").display().to_string();
    let broker = Broker::spawn(&["--config".to_owned(), path], site.directory.path(), site.port);
    eventually("the management API answers", || TcpStream::connect(("127.0.0.1", site.management_port)).ok());
    broker
}

fn format_call(node: i32, directory: &str) -> String {
    format!(
        r#"{{"clusterId":"4L6g3nShT-eMCtK--X86sw","nodeId":{node},"directoryId":"{directory}",
            "initialVoters":[{{"id":{node},"directoryId":"{directory}","endpoint":"127.0.0.1:9093"}}]}}"#
    )
}

#[test]
fn an_unformatted_node_waits_is_formatted_once_and_serves() {
    let (site, broker) = awaiting();
    let port = site.management_port;
    assert_eq!(get(port, "/v1/broker", Some(TOKEN)).json()["state"], "Unformatted");
    assert_eq!((get(port, "/livez", None).status, get(port, "/readyz", None).status), (200, 503));

    let wrong = call(port, "POST", "/v1/format", Some(TOKEN), &format_call(7, DIRECTORY));
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("this is node 0"));
    assert_eq!(call(port, "POST", "/v1/format", Some(TOKEN), &format_call(0, "no uuid")).status, 400);
    for (malformed, status) in [("{}", 422), ("{", 400)] {
        let answer = call(port, "POST", "/v1/format", Some(TOKEN), malformed);
        assert_eq!((answer.status, &answer.json()["status"]), (status, &status.into()), "{malformed}");
    }

    assert_eq!(call(port, "POST", "/v1/format", Some(TOKEN), &format_call(0, DIRECTORY)).status, 200);
    eventually("ready", || (get(port, "/readyz", None).status == 200).then_some(()));
    assert_eq!(call(port, "POST", "/v1/format", Some(TOKEN), &format_call(0, DIRECTORY)).status, 409);
    let status = get(port, "/v1/broker", Some(TOKEN)).json();
    assert_eq!((&status["state"], &status["brokerId"]), (&"Running".into(), &0.into()));
    assert_eq!(status["directoryId"], "sbWh8I08SmieVQEjRWeJqw");
    let cluster = get(port, "/v1/cluster", Some(TOKEN)).json();
    assert_eq!(cluster["clusterId"], "4L6g3nShT-eMCtK--X86sw");
    assert_eq!(cluster["brokers"][0]["state"], "Unfenced");
    assert_eq!(cluster["partitions"]["offline"], 0);
    assert!(broker.stop().success());

    let _broker = restart(&site);
    eventually("ready again, without a call", || (get(port, "/readyz", None).status == 200).then_some(()));
}

#[test]
fn a_directory_that_was_formatted_by_hand_meanwhile_is_a_conflict_and_served() {
    let (site, broker) = awaiting();
    let port = site.management_port;
    let by_hand = crate::harness::command()
        .args(["format", "--standalone", "--cluster-id", "4L6g3nShT-eMCtK--X86sw", "--config"])
        .arg(site.directory.path().join("server.properties"))
        .output()
        .unwrap();
    assert!(by_hand.status.success(), "{by_hand:?}");
    assert_eq!(call(port, "POST", "/v1/format", Some(TOKEN), &format_call(0, DIRECTORY)).status, 409);
    eventually("ready", || (get(port, "/readyz", None).status == 200).then_some(()));
    assert_ne!(get(port, "/v1/broker", Some(TOKEN)).json()["directoryId"], "sbWh8I08SmieVQEjRWeJqw");
    assert!(broker.stop().success());
}

#[test]
fn v1_is_closed_to_who_has_no_token() {
    let (site, _broker) = awaiting();
    let port = site.management_port;
    for token in [None, Some(""), Some("wrong"), Some("righ")] {
        for path in ["/v1/broker", "/v1/cluster", "/v1/format"] {
            assert_eq!(get(port, path, token).status, 401, "{path} with {token:?}");
        }
    }
    assert_eq!(get(port, "/v1/broker", Some("old")).status, 200, "two tokens hold during a rotation");
    fs::write(site.directory.path().join("tokens"), TOKEN).unwrap();
    assert_eq!(get(port, "/v1/broker", Some("old")).status, 401, "a rotated token is gone at once");
    assert_eq!(get(port, "/v1/broker", Some(TOKEN)).status, 200);
}

#[test]
fn metrics_count_what_happened() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_static_str("counted"))));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    assert_eq!(Wire::connect(site.port).call(9, &request).topics[0].error_code, 0);
    let text = get(site.management_port, "/metrics", None).body;
    for line in [
        "kafka_network_requestmetrics_total_time_seconds_count{request=\"Metadata\"} 1",
        "kafka_server_replicamanager_partition_count 1",
        "kafka_server_replicamanager_leader_count 1",
        "kafka_controller_kafkacontroller_active_controller_count 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
