//! Nodes in their own network namespaces, connected by a bridge on which the clients are. Every namespace drops
//! packets from, or to, the addresses in two sets: that is how links are cut, each direction separately. The bridge
//! leads nowhere else.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::plan::{client_address, node_address};
use crate::command;

const NAMESPACES: &str = "/run/netns";
const LINKS: &str = "/sys/class/net";
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);
const RULES: &str = "table inet cuts {
  set from { type ipv4_addr; }
  set to { type ipv4_addr; }
  chain input { type filter hook input priority 0; ip saddr @from drop; }
  chain output { type filter hook output priority 0; ip daddr @to drop; }
}";

/// A sender or receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Clients,
    /// By its number, from 1.
    Node(u8),
}

/// Links that are cut at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One node from all others; clients still reach it.
    FromNodes(u8),
    /// One node from all others and from clients.
    FromAll(u8),
    /// What one node sends to the others.
    Sending(u8),
    /// What the others send to one node.
    Receiving(u8),
    /// Each node cannot send to the next one.
    Ring,
    /// All links but those of one node.
    Bridge(u8),
}

impl Cut {
    /// The directions that are cut, among so many nodes.
    pub fn links(self, nodes: u8) -> Vec<(Party, Party)> {
        let all = move || (1..=nodes).flat_map(move |from| (1..=nodes).map(move |to| (from, to)));
        let links = |is_cut: &dyn Fn(u8, u8) -> bool| {
            let cut = all().filter(|(from, to)| from != to && is_cut(*from, *to));
            cut.map(|(from, to)| (Party::Node(from), Party::Node(to))).collect::<Vec<_>>()
        };
        match self {
            Self::FromNodes(node) => links(&|from, to| from == node || to == node),
            Self::FromAll(node) => {
                let clients = [(Party::Clients, Party::Node(node)), (Party::Node(node), Party::Clients)];
                [&Self::FromNodes(node).links(nodes)[..], &clients].concat()
            }
            Self::Sending(node) => links(&|from, _| from == node),
            Self::Receiving(node) => links(&|_, to| to == node),
            Self::Ring => links(&|from, to| from % nodes + 1 == to),
            Self::Bridge(node) => links(&|from, to| from != node && to != node),
        }
    }
}

/// The namespaces of one fleet.
#[derive(Debug)]
pub(super) struct Network {
    fleet: u8,
    nodes: u8,
}

impl Network {
    /// What was created for this number is removed with the fleet's claim, not with this value.
    pub(super) fn create(fleet: u8, nodes: u8) -> Result<Self> {
        let bridge = bridge(fleet);
        command::run("ip", &format!("link add {bridge} type bridge"))?;
        command::run("ip", &format!("address add {}/24 dev {bridge}", client_address(fleet)))?;
        command::run("ip", &format!("link set {bridge} up"))?;
        for node in 1..=nodes {
            let (space, link) = (namespace(fleet, node), format!("{bridge}v{node}"));
            command::run("ip", &format!("netns add {space}"))?;
            command::run("ip", &format!("link add {link} type veth peer name eth0 netns {space}"))?;
            command::run("ip", &format!("link set {link} master {bridge} up"))?;
            let address = node_address(fleet, node);
            command::run("ip", &format!("-netns {space} address add {address}/24 dev eth0"))?;
            command::run("ip", &format!("-netns {space} link set eth0 up"))?;
            command::run("ip", &format!("-netns {space} link set lo up"))?;
            let mut rules = enter(&space, "nft");
            command::output_with_input(rules.args(["-f", "-"]), RULES)?;
        }
        Ok(Self { fleet, nodes })
    }

    /// Runs a command in the node's namespace, in the same directory and with the same mounts.
    pub(super) fn within(&self, node: u8, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={NAMESPACES}/{}", namespace(self.fleet, node))).arg("--");
        inside.arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    pub(super) fn cut(&self, cut: Cut) -> Result<()> {
        for (from, to) in cut.links(self.nodes) {
            match (from, to) {
                (from, Party::Node(node)) => self.drop_at(node, "from", from)?,
                (Party::Node(node), to) => self.drop_at(node, "to", to)?,
                (Party::Clients, Party::Clients) => {}
            }
        }
        Ok(())
    }

    /// Restores all links.
    pub(super) fn heal(&self) -> Result<()> {
        for node in 1..=self.nodes {
            for set in ["from", "to"] {
                command::output(self.nft(node).args(["flush", "set", "inet", "cuts", set]))?;
            }
        }
        Ok(())
    }

    fn drop_at(&self, node: u8, set: &str, other: Party) -> Result<()> {
        let address = match other {
            Party::Clients => client_address(self.fleet),
            Party::Node(other) => node_address(self.fleet, other),
        };
        let element = format!("{{ {address} }}");
        command::output(self.nft(node).args(["add", "element", "inet", "cuts", set, &element])).map(drop)
    }

    fn nft(&self, node: u8) -> Command {
        enter(&namespace(self.fleet, node), "nft")
    }
}

/// Removes whatever exists for that number, which may be incomplete.
pub(super) fn remove(fleet: u8) -> Result<()> {
    let bridge = bridge(fleet);
    for name in names_in(NAMESPACES)? {
        if name.starts_with(&format!("{bridge}-")) {
            command::run("ip", &format!("netns delete {name}"))?;
        }
    }
    // A link is removed with the namespace of its other end, some time after the last process there: it may be gone
    // before it is deleted.
    command::wait_for(&format!("removal of the network {bridge}"), REMOVAL_PATIENCE, || {
        let mut links = names_in(LINKS)?;
        links.retain(|name| *name == bridge || name.starts_with(&format!("{bridge}v")));
        for link in &links {
            drop(command::run("ip", &format!("link delete {link}")));
        }
        Ok(links.is_empty().then_some(()))
    })
}

fn names_in(directory: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<Result<Vec<_>, _>>()?,
    };
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn bridge(fleet: u8) -> String {
    format!("millfleet{fleet}")
}

fn namespace(fleet: u8, node: u8) -> String {
    format!("{}-{node}", bridge(fleet))
}

fn enter(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NAMESPACES}/{namespace}")).args(["--", program]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_cuts() {
        use Party::{Clients, Node};
        let both = |one, other| [(Node(one), Node(other)), (Node(other), Node(one))];
        let isolated = [both(1, 2), both(2, 3)].concat();
        let clients = vec![(Clients, Node(2)), (Node(2), Clients)];
        for (cut, expected) in [
            (Cut::FromNodes(2), isolated.clone()),
            (Cut::FromAll(2), [isolated, clients].concat()),
            (Cut::Sending(3), vec![(Node(3), Node(1)), (Node(3), Node(2))]),
            (Cut::Receiving(3), vec![(Node(1), Node(3)), (Node(2), Node(3))]),
            (Cut::Ring, vec![(Node(1), Node(2)), (Node(2), Node(3)), (Node(3), Node(1))]),
            (Cut::Bridge(1), both(2, 3).to_vec()),
        ] {
            let sorted = |mut links: Vec<_>| {
                links.sort();
                links
            };
            assert_eq!(sorted(cut.links(3)), sorted(expected), "{cut:?}");
        }
    }
}
