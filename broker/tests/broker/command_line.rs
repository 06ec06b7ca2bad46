//! The command line: its arguments and its output.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::harness::wire::Wire;
use crate::harness::{Broker, Site, command};
use kafka_protocol::messages::MetadataRequest;
use tempfile::TempDir;

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// The options of the server.properties in a Kafka release, with these ports and this directory.
fn kafka_properties(site: &Site) -> String {
    let (client, controller) = (site.port, site.controller_port);
    let directory = site.data();
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:{controller}\n\
         listeners=PLAINTEXT://:{client},CONTROLLER://:{controller}\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://localhost:{client},CONTROLLER://localhost:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
         num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
         socket.request.max.bytes=104857600\nlog.dirs={}\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n\
         offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
         log.retention.check.interval.ms=300000\n",
        directory.display()
    )
}

struct Config {
    directory: TempDir,
    site: Site,
}

impl Config {
    fn new(change: impl FnOnce(String) -> String) -> Self {
        let (directory, site) = (TempDir::new().unwrap(), Site::new(&[]));
        fs::write(directory.path().join("server.properties"), change(kafka_properties(&site))).unwrap();
        Self { directory, site }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = self.directory.path().join("server.properties");
        command().args(arguments).arg("--config").arg(path).output().unwrap()
    }

    fn format(&self, cluster: &str) -> Output {
        self.run(&["format", "--standalone", "--cluster-id", cluster])
    }

    fn start(&self) -> Broker {
        let path = self.directory.path().join("server.properties").display().to_string();
        Broker::spawn(&["--config".to_owned(), path], self.directory.path(), self.site.port)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn kafkas_own_server_properties_starts_a_formatted_node() {
    let config = Config::new(|text| text);
    let formatted = config.format(CLUSTER);
    assert!(formatted.status.success(), "{}", stderr(&formatted));
    let mut broker = config.start();
    broker.wait_until_serving();
    let response = Wire::connect(config.site.port).call(9, &MetadataRequest::default().with_topics(None));
    assert_eq!(response.cluster_id.as_deref(), Some(CLUSTER));
    assert_eq!((response.brokers[0].node_id.0, &*response.brokers[0].host), (1, "localhost"));
    assert!(!broker.log().contains("WARN"), "every option of the release is known:\n{}", broker.log());

    let second = config.run(&[]);
    assert_eq!(second.status.code(), Some(3));
    assert!(stderr(&second).contains("in use by another process"), "{}", stderr(&second));
    assert!(broker.stop().success());

    let again = config.format(CLUSTER);
    assert_eq!(again.status.code(), Some(3));
    assert!(stderr(&again).contains("formatted already"), "{}", stderr(&again));
    let ignored = config.run(&["format", "--standalone", "--cluster-id", CLUSTER, "--ignore-formatted"]);
    assert!(ignored.status.success(), "{}", stderr(&ignored));
}

#[test]
fn a_directory_that_is_not_this_nodes_is_refused_with_what_to_do() {
    let config = Config::new(|text| text);
    let unformatted = config.run(&[]);
    assert_eq!(unformatted.status.code(), Some(3));
    assert!(stderr(&unformatted).contains("millrace-broker format"), "{}", stderr(&unformatted));

    assert!(config.format(CLUSTER).status.success());
    let path = config.directory.path().join("server.properties");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("node.id=1", "node.id=2")).unwrap();
    let other = config.run(&[]);
    assert_eq!(other.status.code(), Some(3));
    assert!(stderr(&other).contains("belongs to node 1, this is node 2"), "{}", stderr(&other));

    fs::write(config.site.data().join("meta.properties"), "version=1\nnode.id=2\n").unwrap();
    let broken = config.run(&[]);
    assert!(stderr(&broken).contains("cluster.id is missing"), "{}", stderr(&broken));
}

#[test]
fn a_directory_with_other_peoples_files_is_not_formatted() {
    let config = Config::new(|text| text);
    fs::create_dir(config.site.data()).unwrap();
    fs::write(config.site.data().join("thesis.tex"), "").unwrap();
    let refused = config.format(CLUSTER);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("thesis.tex"), "{}", stderr(&refused));
}

#[test]
fn faults_of_the_configuration_are_told_all_at_once_and_by_name() {
    let table = [
        ("num.partitions=1", "num.partitions=x", "num.partitions: \"x\" is not a 32-bit integer"),
        ("node.id=1\n", "", "node.id is not set"),
        (
            "process.roles=broker,controller",
            "process.roles=broker",
            "with process.roles=broker this node is no controller",
        ),
        ("PLAINTEXT://:", "SSL://:", "only PLAINTEXT listeners are implemented"),
        ("num.io.threads=8", "authorizer.class.name=a.B", "authorizer.class.name"),
    ];
    for (from, to, message) in table {
        let config = Config::new(|text| text.replacen(from, to, 1));
        let output = config.run(&["--check-config"]);
        assert_eq!(output.status.code(), Some(2), "{to}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{to}: {}", stderr(&output));
    }
    let valid = Config::new(|text| text);
    assert!(valid.run(&["--check-config"]).status.success());
    let mistyped = "log.retention.hour=1";
    for output in [
        Config::new(|text| text + mistyped).run(&["--check-config"]),
        valid.run(&["--check-config", "--set", mistyped]),
        valid.run(&["--set", mistyped]),
    ] {
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("did you mean log.retention.hours?"), "{}", stderr(&output));
    }
    let output = valid.run(&["--print-config", "--set", "num.partitions=7"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("\nnum.partitions=7\n") && printed.contains("# default: min.insync.replicas=1"));
}

#[test]
fn help_and_version_are_there() {
    let help = command().arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["--dev", "--config", "--set", "--check-config", "--print-config", "format", "Exit codes"] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
    assert!(command().arg("--version").output().unwrap().status.success());
    let nothing = command().output().unwrap();
    assert_eq!(nothing.status.code(), Some(2), "without a configuration there is nothing to run");
    assert!(stderr(&nothing).contains("--dev"), "{}", stderr(&nothing));
}

#[test]
fn the_committed_reference_pages_are_fresh() {
    let directory = TempDir::new().unwrap();
    let written = command().args(["reference", "--output"]).arg(directory.path()).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference");
    for entry in fs::read_dir(directory.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let [fresh, found] = [directory.path(), &committed].map(|place| fs::read_to_string(place.join(&name)));
        let stale = found.ok() != Some(fresh.unwrap());
        assert!(!stale, "{name:?} is not what `cargo run -p broker -- reference --output broker/reference` writes");
    }
}
