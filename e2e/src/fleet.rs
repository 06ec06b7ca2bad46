//! A cluster without Kubernetes: several brokers as processes of this machine, subject to everything that happens to
//! machines. For tests, soak and figures.
//!
//! ```text
//! plan         what there is to be, and the properties of each node
//! claim        a number of one's own on the machine, and what dies with it
//! network      namespaces, and links that are cut
//! volume       file systems that run full and lose their power
//! program      Millrace, or Apache Kafka to compare with
//! node         one of them
//! management   its management API
//! ```

mod claim;
pub(crate) mod management;
mod network;
mod node;
mod plan;
mod program;
mod volume;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use protocol::types::{ClusterId, DirectoryId, undashed};
use uuid::Uuid;

use crate::admin::{Admin, Quorum};
use crate::{command, host};
use claim::Claim;
use network::Network;

pub use network::{Cut, Party};
pub use node::Node;
pub use plan::{Controllers, NODES_MAX, Place, Plan, Volumes};
pub use program::Program;

/// For any one step; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(2);
const ANSWER_AT_MOST: Duration = Duration::from_secs(5);

/// Everything ends when this is dropped: processes, network, files.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    cluster_id: String,
    nodes: Vec<Node>,
    network: Option<Network>,
    /// Dropped after the nodes, which live in it.
    _claim: Claim,
}

impl Fleet {
    /// Formatted nodes that are not running yet.
    pub fn format(plan: Plan) -> Result<Self> {
        let needs_root = plan.place == Place::Namespaces || plan.volumes != Volumes::Directories;
        if needs_root {
            ensure!(host::is_root(), "root is needed for network namespaces and file systems");
            let missing = host::missing_packages(host::FLEET_TOOLS);
            ensure!(missing.is_empty(), "not installed: {} (Debian's package names)", missing.join(" "));
        }
        let claim = Claim::take()?;
        let members = plan.members(claim.number, || undashed(Uuid::new_v4()));
        let count = u8::try_from(members.len())?;
        ensure!((1..=NODES_MAX).contains(&count), "a fleet has from 1 to {NODES_MAX} nodes, not {count}");
        let network = match plan.place {
            Place::Loopback => None,
            Place::Namespaces => {
                claim.note_network()?;
                Some(Network::create(claim.number, count)?)
            }
        };
        let tokens = claim.directory.join("tokens");
        fs::write(&tokens, node::TOKEN)?;
        let mut nodes = Vec::new();
        for member in &members {
            let directory = claim.directory.join(format!("node-{}", member.id));
            let node = Node::new(member.clone(), &plan.program, directory, claim.record(member.id), plan.volumes)?;
            fs::write(node.properties(), plan.properties(member, &members, &node.data(""), &tokens))?;
            nodes.push(node);
        }
        let cluster_id = ClusterId::from_uuid(undashed(Uuid::new_v4())).to_string();
        let fleet = Self { plan, cluster_id, nodes, network, _claim: claim };
        let controllers = fleet.initial_controllers();
        for node in &fleet.nodes {
            let first: &[&str] = &["--initial-controllers", &controllers];
            let words = if node.member.is_controller { first } else { &["--no-initial-controllers"] };
            node.format(&fleet.cluster_id, words)?;
        }
        Ok(fleet)
    }

    /// Returns when all nodes serve.
    pub fn start(plan: Plan) -> Result<Self> {
        let mut fleet = Self::format(plan)?;
        for id in fleet.ids() {
            fleet.spawn(id)?;
        }
        fleet.wait_until_serving()?;
        Ok(fleet)
    }

    /// All nodes, from 1.
    pub fn ids(&self) -> Vec<i32> {
        self.nodes.iter().map(Node::id).collect()
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&mut self, id: i32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id() == id).with_context(|| format!("there is no node {id}"))
    }

    /// The addresses of all brokers.
    pub fn bootstrap(&self) -> String {
        let brokers = self.nodes.iter().filter(|node| node.is_broker());
        brokers.map(|node| node.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// Runs a stopped node. Its output is appended to what it printed before.
    pub fn spawn(&mut self, id: i32) -> Result<()> {
        let network = self.network.as_ref();
        let node = self.nodes.iter_mut().find(|node| node.id() == id);
        node.with_context(|| format!("there is no node {id}"))?.spawn(network)
    }

    /// Waits until every running node serves, and each broker knows all the other running ones.
    pub fn wait_until_serving(&mut self) -> Result<()> {
        let running = |node: &&Node| node.is_running() && node.is_broker();
        let expected: BTreeSet<_> = self.nodes.iter().filter(running).map(Node::id).collect();
        let kafka = matches!(self.plan.program, Program::Kafka { .. });
        for index in 0..self.nodes.len() {
            let mut reason = "it was not asked yet".to_owned();
            let node = &mut self.nodes[index];
            if !node.is_running() || !node.is_broker() {
                continue;
            }
            let waited = command::wait_for("all brokers serve", PATIENCE, || {
                node.check()?;
                let seen = || {
                    ensure!(kafka || node.is_ready()?, "it is not ready");
                    let brokers = Admin::open(node.address(), ANSWER_AT_MOST)?.brokers()?;
                    ensure!(brokers == expected, "it knows of brokers {brokers:?} in place of {expected:?}");
                    Ok(())
                };
                match seen() {
                    Ok(()) => Ok(Some(())),
                    Err(error) => {
                        reason = format!("{error:#}");
                        Ok(None)
                    }
                }
            });
            if let Err(error) = waited {
                return Err(error).with_context(|| format!("node {}: {reason}; {}", index + 1, self.last_words()));
            }
        }
        Ok(())
    }

    /// Waits until the topics have all their replicas in sync.
    pub fn wait_until_in_sync(&mut self, topics: &[&str]) -> Result<()> {
        let mut reason = "no broker runs".to_owned();
        let waited = command::wait_for("all replicas are in sync", PATIENCE, || {
            let behind = self.ask(|admin| {
                let mut behind = Vec::new();
                for topic in topics {
                    let partitions = admin.partitions(topic)?;
                    ensure!(!partitions.is_empty(), "there is no {topic}");
                    let lacking = partitions.into_iter().filter(|found| found.in_sync.len() < found.replicas.len());
                    behind.extend(lacking.map(|found| format!("{topic}: {found:?}")));
                }
                Ok(behind)
            });
            match behind {
                Ok(behind) if behind.is_empty() => return Ok(Some(())),
                Ok(behind) => reason = format!("{} behind, the first: {}", behind.len(), behind[0]),
                Err(error) => reason = format!("{error:#}"),
            }
            Ok(None)
        });
        waited.with_context(|| format!("{reason}; {}", self.last_words()))
    }

    /// The quorum as reported by a running broker, once it has a leader.
    pub fn quorum(&self) -> Result<Quorum> {
        command::retry(PATIENCE, || {
            let quorum = self.ask(Admin::quorum)?;
            ensure!(quorum.leader.is_some(), "the quorum has no leader: {quorum:?}");
            Ok(quorum)
        })
    }

    /// The active controller.
    pub fn controller(&self) -> Result<i32> {
        self.quorum()?.leader.context("the quorum has no leader")
    }

    /// Asks the first broker that answers.
    pub fn ask<T>(&self, mut question: impl FnMut(&mut Admin) -> Result<T>) -> Result<T> {
        let mut failed = None;
        for node in self.nodes.iter().filter(|node| node.is_running() && node.is_broker()) {
            match Admin::open(node.address(), ANSWER_AT_MOST).and_then(|mut admin| question(&mut admin)) {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = Some(error.context(format!("node {}", node.id()))),
            }
        }
        Err(failed.context("no broker runs")?)
    }

    pub fn cut(&self, cut: Cut) -> Result<()> {
        self.network()?.cut(cut)
    }

    /// Restores all links.
    pub fn heal(&self) -> Result<()> {
        self.network()?.heal()
    }

    /// Replaces the disk of a stopped node by an empty one: a replica and a voter that the cluster does not know yet.
    pub fn replace_volume(&mut self, id: i32) -> Result<()> {
        let cluster_id = self.cluster_id.clone();
        let node = self.node(id)?;
        node.wipe()?;
        node.format(&cluster_id, &["--no-initial-controllers"])
    }

    /// Copies the logs of all nodes to that directory.
    pub fn keep_logs(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        self.nodes.iter().try_for_each(|node| node.keep_log(&directory.join(format!("node-{}.log", node.id()))))
    }

    /// The last log lines of all nodes.
    pub fn last_words(&self) -> String {
        self.nodes.iter().map(Node::last_words).collect()
    }

    fn initial_controllers(&self) -> String {
        let controllers = self.nodes.iter().map(|node| &node.member).filter(|member| member.is_controller);
        let word =
            |member: &plan::Member| format!("{}@{}:{}", member.id, member.controller, DirectoryId(member.directory_id));
        controllers.map(word).collect::<Vec<_>>().join(",")
    }

    fn network(&self) -> Result<&Network> {
        match &self.network {
            Some(network) => Ok(network),
            None => bail!("links are cut only between namespaces"),
        }
    }
}
