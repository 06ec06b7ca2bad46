//! Three nodes and more on loopback, formatted by hand: the quorum as a person sees it who kills one.

use std::fs;
use std::net::TcpStream;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData as WantedPartition, TopicData as WantedTopic};
use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState};
use kafka_protocol::messages::{
    AddRaftVoterRequest, CreateTopicsRequest, DescribeQuorumRequest, TopicName, add_raft_voter_request,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::DirectoryId;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::wire::Wire;
use crate::harness::{Broker, command, eventually, free_port};
use crate::quorum::topic_names;

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

struct Node {
    id: i32,
    directory_id: DirectoryId,
    directory: TempDir,
    port: u16,
    controller_port: u16,
    process: Option<Broker>,
}

struct Cluster {
    nodes: Vec<Node>,
}

impl Node {
    fn new(id: i32) -> Self {
        Self {
            id,
            directory_id: DirectoryId(Uuid::from_u128(100 + u128::try_from(id).unwrap())),
            directory: TempDir::new().unwrap(),
            port: free_port(),
            controller_port: free_port(),
            process: None,
        }
    }

    fn configuration(&self) -> String {
        self.directory.path().join("server.properties").display().to_string()
    }

    fn configure(&self, bootstrap: &str, settings: &[&str]) {
        let Self { id, port, controller_port, directory, .. } = self;
        let data = directory.path().join("data");
        let own = format!(
            "node.id={id}\nprocess.roles=broker,controller\nlog.dirs={}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
             controller.quorum.bootstrap.servers={bootstrap}\n",
            data.display()
        );
        fs::write(self.configuration(), own + &settings.join("\n")).unwrap();
    }

    fn format(&self, voters: &[&str]) {
        let mut format = command();
        format.args(["format", "--cluster-id", CLUSTER, "--config", &self.configuration()]).args(voters);
        let output = format.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn start(&mut self) {
        let arguments = ["--config".to_owned(), self.configuration()];
        self.process = Some(Broker::spawn(&arguments, self.directory.path(), self.port));
    }

    fn wait_until_serving(&mut self) {
        self.process.as_mut().unwrap().wait_until_serving();
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn voter(&self) -> String {
        format!("{}@127.0.0.1:{}:{}", self.id, self.controller_port, self.directory_id)
    }

    /// What it says of the quorum, if it leads.
    fn describe(&self) -> Option<PartitionData> {
        self.process.as_ref()?;
        TcpStream::connect(("127.0.0.1", self.controller_port)).ok()?;
        let topic = TopicName(StrBytes::from_static_str("__cluster_metadata"));
        let wanted = WantedTopic::default().with_topic_name(topic).with_partitions(vec![WantedPartition::default()]);
        let request = DescribeQuorumRequest::default().with_topics(vec![wanted]);
        let mut response = Wire::connect(self.controller_port).call(2, &request);
        Some(response.topics.remove(0).partitions.remove(0)).filter(|partition| partition.error_code == 0)
    }
}

impl Cluster {
    fn start(settings: &[&str]) -> Self {
        let nodes: Vec<_> = (1..=3).map(Node::new).collect();
        let mut cluster = Self { nodes };
        let bootstrap = cluster.bootstrap();
        let voters = cluster.nodes.iter().map(Node::voter).collect::<Vec<_>>().join(",");
        for node in &mut cluster.nodes {
            node.configure(&bootstrap, settings);
            node.format(&["--initial-controllers", &voters]);
            node.start();
        }
        cluster.nodes.iter_mut().for_each(Node::wait_until_serving);
        cluster
    }

    fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.controller_port)).collect::<Vec<_>>().join(",")
    }

    /// Where the leader is in the list, and what it says.
    fn leader(&self) -> Option<(usize, PartitionData)> {
        self.nodes.iter().enumerate().find_map(|(index, node)| Some((index, node.describe()?)))
    }

    /// One whose voters, all of them, have what is committed.
    fn settled(&self, voters: usize) -> (usize, PartitionData) {
        eventually("all voters have caught up", || {
            self.leader().filter(|(_, described)| {
                let has_all = |voter: &ReplicaState| described.high_watermark <= voter.log_end_offset;
                described.current_voters.len() == voters && described.current_voters.iter().all(has_all)
            })
        })
    }

    fn create(&self, at: usize, name: &str, factor: i16) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(1)
            .with_replication_factor(factor);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        eventually("the topic is created", || {
            let response = Wire::connect(self.nodes[at].port).call(7, &request);
            // Retried after an answer that got lost, it is there already.
            [0, 36].contains(&response.topics[0].error_code).then_some(())
        });
    }

    fn knows(&self, at: usize, name: &str) {
        let port = self.nodes[at].port;
        eventually("the topic is known", || topic_names(port).contains(name).then_some(()));
    }
}

#[test]
fn a_follower_takes_over_with_nothing_but_the_log_and_the_old_leader_comes_back() {
    let mut cluster = Cluster::start(&[]);
    let (leader, described) = cluster.settled(3);
    assert!(described.observers.is_empty());
    cluster.create(leader, "before", 3);
    (0..3).for_each(|node| cluster.knows(node, "before"));

    cluster.nodes[leader].kill();
    let (next, after) = eventually("another node leads", || cluster.leader());
    assert_ne!(next, leader);
    assert!(described.leader_epoch < after.leader_epoch, "{} then {}", described.leader_epoch, after.leader_epoch);
    cluster.create(next, "after", 2);
    cluster.knows(next, "before");

    cluster.nodes[leader].start();
    cluster.nodes[leader].wait_until_serving();
    cluster.settled(3);
    cluster.knows(leader, "before");
    cluster.knows(leader, "after");
}

#[test]
fn a_node_that_joins_begins_with_a_snapshot_and_can_be_given_a_vote() {
    let settings = ["metadata.log.max.record.bytes.between.snapshots=500", "metadata.max.retention.bytes=1"];
    let mut cluster = Cluster::start(&settings);
    let (leader, _) = cluster.settled(3);
    let first = "00000000000000000000-0000000000.checkpoint";
    let metadata = cluster.nodes[leader].directory.path().join("data/__cluster_metadata-0");
    let mut topics = 0;
    eventually("the log begins behind a snapshot", || {
        cluster.create(leader, &format!("t{topics}"), 1);
        topics += 1;
        (!metadata.join(first).exists()).then_some(())
    });

    let mut joining = Node::new(4);
    joining.configure(&cluster.bootstrap(), &settings);
    joining.format(&["--no-initial-controllers"]);
    joining.start();
    joining.wait_until_serving();
    let directory = fs::read_to_string(joining.directory.path().join("data/meta.properties")).unwrap();
    let directory = directory.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap();
    joining.directory_id = directory.parse().unwrap();
    assert_eq!(topic_names(joining.port).len(), topics);
    let (id, port, volume) = (joining.id, joining.controller_port, joining.directory_id);
    cluster.nodes.push(joining);
    let (leader, described) = cluster.settled(3);
    assert!(described.observers.iter().any(|observer| observer.replica_id.0 == id), "{described:?}");

    let listener = add_raft_voter_request::Listener::default()
        .with_name(StrBytes::from_static_str("CONTROLLER"))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(port);
    let request = AddRaftVoterRequest::default()
        .with_timeout_ms(30_000)
        .with_voter_id(id)
        .with_voter_directory_id(volume.0)
        .with_listeners(vec![listener]);
    let added = Wire::connect(cluster.nodes[leader].controller_port).call(0, &request);
    assert_eq!(added.error_code, 0, "{:?}", added.error_message);
    cluster.settled(4);
    cluster.nodes[leader].kill();
    eventually("three of four elect", || cluster.leader());
}
