//! Three nodes, each broker and controller, as separate processes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::fetch_request::{FetchTopic, ReplicaState};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, FetchRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::calls::{fetch_partition, name};
use crate::harness::http::{call, get};
use crate::harness::wire::{Wire, batch};
use crate::harness::{Broker, command, eventually, free_port};

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
const TOKEN: &str = "right";
/// How long a follower allows to be held back.
const WAIT: Duration = Duration::from_millis(400);

pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    management_port: u16,
    config: PathBuf,
}

pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) nodes: Vec<Node>,
    settings: String,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With these settings in addition.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("tokens"), TOKEN).unwrap();
        let nodes: Vec<_> = (1..=3).map(|id| Node::new(id, &directory)).collect();
        let voters: Vec<_> = nodes
            .iter()
            .map(|node| {
                format!("{0}@127.0.0.1:{1}:0000000{0}-0000-4000-8000-00000000000{0}", node.id, node.controller_port)
            })
            .collect();
        let cluster = Self { directory, nodes, settings: settings.join("\n") };
        for node in &cluster.nodes {
            cluster.format(node, &["--initial-controllers", &voters.join(",")]);
        }
        cluster
    }

    /// A node that is not a voter, formatted to join.
    pub(crate) fn joining(&self, id: i32) -> Node {
        let node = Node::new(id, &self.directory);
        self.format(&node, &["--no-initial-controllers"]);
        node
    }

    fn format(&self, node: &Node, voters: &[&str]) {
        fs::write(&node.config, self.properties(node)).unwrap();
        let mut format = command();
        format.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(&node.config).args(voters);
        let formatted = format.output().unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
    }

    fn properties(&self, node: &Node) -> String {
        let Node { id, port, controller_port, management_port, .. } = node;
        let servers = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.controller_port));
        let (servers, settings) = (servers.collect::<Vec<_>>().join(","), &self.settings);
        let directory = self.directory.path().display();
        format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.bootstrap.servers={servers}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             inter.broker.listener.name=PLAINTEXT\nbroker.rack=rack-{id}\ncontroller.listener.names=CONTROLLER\nlog.dirs={directory}/{id}\n\
             default.replication.factor=1\nmin.insync.replicas=1\nmillrace.management.tokens.file={directory}/tokens\n\
             millrace.management.listener=127.0.0.1:{management_port}\n{settings}\n"
        )
    }

    pub(crate) fn start(&self, node: &Node) -> Broker {
        let arguments = ["--config".to_owned(), node.config.display().to_string()];
        Broker::spawn(&arguments, self.directory.path(), node.port)
    }

    pub(crate) fn start_all(&self) -> Vec<Broker> {
        let brokers = self.nodes.iter().map(|node| self.start(node)).collect();
        for node in &self.nodes {
            eventually("every node knows three brokers", || (node.brokers() == 3).then_some(()));
        }
        brokers
    }

    /// The active controller, by its own status.
    fn active(&self) -> &Node {
        eventually("somebody is the controller", || {
            self.nodes.iter().find(|node| node.is_ready() && node.cluster()["controllerId"] == node.id)
        })
    }

    fn others(&self) -> impl Iterator<Item = &Node> {
        let active = self.active().id;
        self.nodes.iter().filter(move |node| node.id != active)
    }
}

impl Node {
    fn new(id: i32, directory: &TempDir) -> Self {
        let config = directory.path().join(format!("{id}.properties"));
        Self { id, port: free_port(), controller_port: free_port(), management_port: free_port(), config }
    }

    fn is_ready(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.management_port)).is_ok()
            && get(self.management_port, "/readyz", None).status == 200
    }

    pub(crate) fn cluster(&self) -> Value {
        get(self.management_port, "/v1/cluster", Some(TOKEN)).json()
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.management_port, "/metrics", None).body
    }

    /// The number of brokers that this node lists for clients.
    fn brokers(&self) -> usize {
        if !self.is_ready() {
            return 0;
        }
        Wire::connect(self.port).call(0, &DescribeClusterRequest::default()).brokers.len()
    }

    pub(crate) fn metadata(&self, topic: &str, create: bool) -> MetadataResponse {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(create);
        Wire::connect(self.port).call(9, &request)
    }

    /// With everything that the newest version returns.
    pub(crate) fn described(&self, topic: &str) -> MetadataResponseTopic {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        Wire::connect(self.port).call(12, &request).topics.remove(0)
    }
}

#[test]
fn whoever_is_asked_the_controller_decides() {
    let cluster = Cluster::new();
    let _brokers = cluster.start_all();
    for node in &cluster.nodes {
        let mut wire = Wire::connect(node.port);
        let topic = format!("asked-{}", node.id);
        let creatable =
            CreatableTopic::default().with_name(name(&topic)).with_num_partitions(1).with_replication_factor(1);
        let created = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![creatable.clone()]));
        assert_eq!(created.topics[0].error_code, 0, "node {}: {:?}", node.id, created.topics[0].error_message);
        let again = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![creatable]));
        assert_eq!(again.topics[0].error_code, 36, "it exists: created once, and once only");
        assert_eq!(wire.call(1, &AlterConfigsRequest::default()).responses.len(), 0, "the connection goes on");

        let topic = format!("found-{}", node.id);
        assert_eq!(node.metadata(&topic, true).topics[0].error_code, 0, "node {} has it made and knows it", node.id);
        for other in &cluster.nodes {
            eventually("every node knows the topic", || {
                (other.metadata(&topic, false).topics[0].error_code == 0).then_some(())
            });
        }
        let producer = wire.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
        assert_eq!(producer.error_code, 0);
        assert_eq!(producer.producer_id.0 % 1000, 0, "the first of a block of its own");
        let gone = wire.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![name(&topic)]));
        assert_eq!(gone.responses[0].error_code, 0);
    }
}

#[test]
fn a_node_that_must_not_decide_says_who_may() {
    let cluster = Cluster::new();
    let _brokers = cluster.start_all();
    let active = cluster.active();
    let other = cluster.others().next().unwrap();
    let answer = get(other.management_port, "/v1/restart-grants/1", Some(TOKEN));
    assert_eq!((answer.status, &answer.json()["controllerId"]), (421, &active.id.into()));
    let view = active.cluster();
    assert_eq!(view["voters"].as_array().unwrap().len(), 3);
    eventually("the voters keep up", || {
        active.cluster()["voters"].as_array().unwrap().iter().all(|voter| voter["lag"] == 0).then_some(())
    });
    let epoch = &view["brokers"].as_array().unwrap().iter().find(|broker| broker["id"] == other.id).unwrap()["epoch"];
    let wish = serde_json::json!({"broker": other.id, "brokerEpoch": epoch, "ttlMs": 60_000, "reason": "test"});
    let granted = call(active.management_port, "POST", "/v1/restart-grants", Some(TOKEN), &wish.to_string());
    assert_eq!((granted.status, &granted.json()["safeToStop"]), (200, &true.into()), "{}", granted.body);
    let second = serde_json::json!({"broker": active.id, "brokerEpoch": 0, "ttlMs": 1, "reason": "test"});
    let second = call(active.management_port, "POST", "/v1/restart-grants", Some(TOKEN), &second.to_string());
    assert_eq!(second.status, 409, "{}", second.body);
}

#[test]
fn a_killed_broker_is_fenced_before_its_session_ends_and_comes_back() {
    let cluster = Cluster::new();
    let mut brokers = cluster.start_all();
    let other = cluster.others().next().unwrap();
    let active = cluster.active();
    let place = cluster.nodes.iter().position(|node| node.id == other.id).unwrap();
    let killed = Instant::now();
    brokers.remove(place).kill();
    eventually("it is fenced", || (active.brokers() == 2).then_some(()));
    assert!(killed.elapsed() < Duration::from_secs(2), "not after {:?}", killed.elapsed());
    let _again = cluster.start(other);
    eventually("it is back", || (active.brokers() == 3 && other.brokers() == 3).then_some(()));
}

#[test]
fn brokers_leave_with_the_controllers_consent_and_the_controller_too() {
    let cluster = Cluster::new();
    let mut brokers = cluster.start_all();
    let active = cluster.active();
    let place = cluster.nodes.iter().position(|node| node.id == active.id).unwrap();
    let leaving = brokers.remove(place);
    let log = leaving.log_of();
    assert!(leaving.stop().success());
    for said in ["controlled shutdown granted", "handed over quorum leadership"] {
        assert!(log.lock().unwrap().contains(said), "{said}: {}", log.lock().unwrap());
    }
    let successor = cluster.nodes.iter().find(|node| node.id != active.id).unwrap();
    eventually("the others go on", || (successor.brokers() == 2).then_some(()));
    let created = successor.metadata("after", true);
    assert_eq!(created.topics[0].error_code, 0, "there is another controller");
}

/// Sets the bytes per second of throttled replicas, for leaders and followers.
fn set_throttle(wire: &mut Wire, rate: Option<&'static str>) {
    let text = StrBytes::from_static_str;
    let option = |name| {
        // 0 sets, 1 deletes.
        let operation = i8::from(rate.is_none());
        let option = AlterableConfig::default().with_name(text(name)).with_config_operation(operation);
        option.with_value(rate.map(text))
    };
    let options = vec![option("leader.replication.throttled.rate"), option("follower.replication.throttled.rate")];
    let brokers = AlterConfigsResource::default().with_resource_type(4).with_configs(options);
    let altered = wire.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![brokers]));
    assert_eq!(altered.responses[0].error_code, 0, "{:?}", altered.responses[0].error_message);
}

/// Fetches as a follower whose partition is throttled: the answer must not come early.
fn hold_back(leader: &Node, topic: &str) {
    let found = leader.described(topic);
    let partition = &found.partitions[0];
    let follower = *partition.replica_nodes.iter().find(|replica| replica.0 != leader.id).unwrap();
    let view = leader.cluster();
    let registered = view["brokers"].as_array().unwrap().iter().find(|broker| broker["id"] == follower.0).unwrap();
    let replica = ReplicaState::default().with_replica_id(follower);
    let wanted = fetch_partition(0).with_current_leader_epoch(partition.leader_epoch).with_high_watermark(0);
    let wanted = FetchTopic::default().with_topic_id(found.topic_id).with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_replica_state(replica.with_replica_epoch(registered["epoch"].as_i64().unwrap()))
        .with_max_wait_ms(i32::try_from(WAIT.as_millis()).unwrap())
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![wanted]);
    let asked = Instant::now();
    let answer = Wire::connect(leader.port).call(18, &request).responses.remove(0).partitions.remove(0);
    assert_eq!((answer.error_code, answer.records.unwrap_or_default().len()), (0, 0));
    assert!(0 < answer.high_watermark, "there would be something");
    assert!(WAIT <= asked.elapsed(), "answered after {:?}: a follower would ask on and on", asked.elapsed());
}

#[test]
fn a_broker_is_emptied_as_fast_as_the_throttle_lets_it() {
    let cluster = Cluster::new();
    let _brokers = cluster.start_all();
    let (active, leaving) = (cluster.active(), cluster.others().next().unwrap());
    let mut wire = Wire::connect(active.port);
    let throttled = ["leader", "follower"].map(|side| format!("{side}.replication.throttled.replicas"));
    for (topic, option) in [("sent", Some(&throttled[0])), ("fetched", Some(&throttled[1])), ("free", None)] {
        let value = Some(StrBytes::from_static_str("*"));
        let config = |name: &String| {
            CreatableTopicConfig::default().with_name(StrBytes::from_string(name.clone())).with_value(value.clone())
        };
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![leaving.id.into()]);
        let creatable = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
            .with_configs(option.into_iter().map(config).collect());
        let created = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![creatable]));
        assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
        eventually("it is led", || {
            let records = batch(&[b"value"], Timestamp(1));
            let produced = Wire::connect(leaving.port).produce(9, topic, Some(records));
            (produced.error_code == 0).then_some(())
        });
    }
    set_throttle(&mut wire, Some("0"));
    let path = format!("/v1/decommissions/{}", leaving.id);
    let begun = call(active.management_port, "POST", &path, Some(TOKEN), "null");
    assert_eq!(begun.status, 200, "{}", begun.body);
    let progress = || get(active.management_port, &path, Some(TOKEN)).json();
    eventually("what is not throttled has moved", || (progress()["replicasLeft"] == 2).then_some(()));
    hold_back(leaving, "sent");
    let left = progress();
    assert_eq!((&left["replicasLeft"], &left["moving"]), (&2.into(), &2.into()), "{left}");
    assert!(left["bytesLeft"].as_u64().is_some_and(|bytes| 0 < bytes), "{left}");
    set_throttle(&mut wire, None);
    eventually("the broker is empty", || {
        let left = progress();
        (left["replicasLeft"] == 0 && left["bytesLeft"] == 0).then_some(())
    });
    for topic in ["sent", "fetched", "free"] {
        let partition = &active.metadata(topic, false).topics[0].partitions[0];
        assert_ne!(partition.leader_id.0, leaving.id);
    }
}
