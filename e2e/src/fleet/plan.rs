//! The plan of a fleet, and the properties of each of its nodes that follow from it. Pure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use uuid::Uuid;

use super::program::Program;

/// The largest number of nodes with addresses and ports.
pub const NODES_MAX: u8 = 15;
/// Below the range of outgoing connections, one of which might otherwise take the port of a dead node.
const FIRST_PORT: u16 = 21_000;
const PORTS_PER_FLEET: u16 = 64;
const PORTS_PER_NODE: u16 = 4;

#[derive(Debug, Clone)]
pub struct Plan {
    pub program: Program,
    pub brokers: u8,
    pub controllers: Controllers,
    pub place: Place,
    pub volumes: Volumes,
    /// In addition to those of every fleet, `name=value`.
    pub settings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controllers {
    /// Every broker is a controller, too.
    Combined,
    /// So many separate nodes, numbered after the brokers.
    Separate(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Different ports of the loopback address.
    Loopback,
    /// Each node in its own network namespace, whose links can be cut. Needs root.
    Namespaces,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// On the machine's file system.
    Directories,
    /// A file system of that size for each node, whose power can be cut. Needs root.
    FileSystems { mebibytes: u64 },
}

/// A node as the others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: i32,
    pub(super) is_broker: bool,
    pub(super) is_controller: bool,
    pub(super) clients: SocketAddr,
    pub(super) controller: SocketAddr,
    pub(super) management: SocketAddr,
    /// Its first directory id.
    pub(super) directory_id: Uuid,
}

impl Plan {
    /// Combined nodes on loopback.
    pub fn new(program: Program, brokers: u8) -> Self {
        let (controllers, place) = (Controllers::Combined, Place::Loopback);
        Self { program, brokers, controllers, place, volumes: Volumes::Directories, settings: Vec::new() }
    }

    #[must_use]
    pub fn with_settings<'s>(mut self, settings: impl IntoIterator<Item = &'s str>) -> Self {
        self.settings.extend(settings.into_iter().map(str::to_owned));
        self
    }

    /// `number` is the fleet's on this machine.
    pub(super) fn members(&self, number: u8, mut directory_id: impl FnMut() -> Uuid) -> Vec<Member> {
        let separate = match self.controllers {
            Controllers::Combined => 0,
            Controllers::Separate(count) => count,
        };
        let member = |node: u8| {
            let (is_broker, is_controller) = (node <= self.brokers, separate == 0 || self.brokers < node);
            let [clients, controller, management] = self.place.addresses(number, node);
            let directory_id = directory_id();
            Member { id: node.into(), is_broker, is_controller, clients, controller, management, directory_id }
        };
        (1..=self.brokers + separate).map(member).collect()
    }

    /// The `server.properties` of one of the members.
    pub(super) fn properties(&self, member: &Member, all: &[Member], data: &Path, tokens: &Path) -> String {
        let controllers: Vec<_> =
            all.iter().filter(|member| member.is_controller).map(|member| member.controller.to_string()).collect();
        let broker = member.is_broker.then(|| ("broker", format!("PLAINTEXT://{}", member.clients)));
        let controller = member.is_controller.then(|| ("controller", format!("CONTROLLER://{}", member.controller)));
        let (roles, listeners): (Vec<_>, Vec<_>) = broker.into_iter().chain(controller).unzip();
        let mut lines = vec![
            format!("process.roles={}", roles.join(",")),
            format!("node.id={}", member.id),
            format!("controller.quorum.bootstrap.servers={}", controllers.join(",")),
            format!("listeners={}", listeners.join(",")),
            format!("advertised.listeners={}", listeners.join(",")),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={}", data.display()),
        ];
        if member.is_broker {
            lines.push("inter.broker.listener.name=PLAINTEXT".to_owned());
        }
        lines.extend(self.durability());
        if let Program::Millrace(_) = self.program {
            lines.push(format!("millrace.management.listener={}", member.management));
            lines.push(format!("millrace.management.tokens.file={}", tokens.display()));
        }
        lines.extend(self.settings.iter().cloned());
        lines.iter().fold(String::new(), |mut text, line| {
            // Writing to a string cannot fail.
            writeln!(text, "{line}").unwrap_or_default();
            text
        })
    }

    /// Three replicas if there are three brokers, two of which acknowledge.
    fn durability(&self) -> impl Iterator<Item = String> {
        let (replicas, least) = if 3 <= self.brokers { (3, 2) } else { (1, 1) };
        let factors = ["default.replication.factor", "offsets.topic.replication.factor"]
            .into_iter()
            .chain(["transaction.state.log.replication.factor", "share.coordinator.state.topic.replication.factor"]);
        let least_in_sync =
            ["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];
        let factors = factors.map(move |name| format!("{name}={replicas}"));
        factors.chain(least_in_sync.into_iter().map(move |name| format!("{name}={least}")))
    }
}

impl Place {
    /// The addresses of a node for clients, the quorum, and management.
    fn addresses(self, fleet: u8, node: u8) -> [SocketAddr; 3] {
        match self {
            Self::Loopback => {
                let base = FIRST_PORT + u16::from(fleet) * PORTS_PER_FLEET + u16::from(node) * PORTS_PER_NODE;
                [0, 1, 2].map(|port| (Ipv4Addr::LOCALHOST, base + port).into())
            }
            Self::Namespaces => [9092, 9093, 9095].map(|port| (node_address(fleet, node), port).into()),
        }
    }
}

/// In the range for network benchmarks (RFC 2544), which is not used on the Internet.
pub(super) fn node_address(fleet: u8, node: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, fleet, 10 + node)
}

/// The machine's end of the bridge, on which clients are.
pub(super) fn client_address(fleet: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, fleet, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(brokers: u8, controllers: Controllers) -> Plan {
        Plan { controllers, ..Plan::new(Program::Millrace("broker".into()), brokers) }
            .with_settings(["num.partitions=4"])
    }

    fn property<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
        properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    #[test]
    fn every_node_knows_all_controllers_and_listens_for_its_roles() {
        for (controllers, expected) in [
            (Controllers::Combined, ["broker,controller"; 3].to_vec()),
            (Controllers::Separate(1), vec!["broker", "broker", "broker", "controller"]),
        ] {
            let plan = plan(3, controllers);
            let members = plan.members(2, Uuid::nil);
            let texts: Vec<_> =
                members.iter().map(|member| plan.properties(member, &members, "d".as_ref(), "t".as_ref())).collect();
            let roles: Vec<_> = texts.iter().map(|text| property(text, "process.roles").unwrap()).collect();
            assert_eq!(roles, expected);
            for text in &texts {
                let listed = property(text, "controller.quorum.bootstrap.servers").unwrap();
                assert_eq!(
                    listed.split(',').count(),
                    expected.iter().filter(|role| role.contains("controller")).count()
                );
                let role = property(text, "process.roles").unwrap();
                let listeners = property(text, "listeners").unwrap();
                assert_eq!(listeners.contains("PLAINTEXT://"), role.contains("broker"));
                assert_eq!(listeners.contains("CONTROLLER://"), role.contains("controller"));
                assert_eq!(property(text, "min.insync.replicas"), Some("2"));
                assert!(text.ends_with("num.partitions=4\n"), "{text}");
            }
        }
    }

    #[test]
    fn no_two_nodes_of_any_two_fleets_share_an_address() {
        for place in [Place::Loopback, Place::Namespaces] {
            let mut all: Vec<_> =
                (0..64).flat_map(|fleet| (1..=NODES_MAX).flat_map(move |node| place.addresses(fleet, node))).collect();
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count);
            let ephemeral_from = 32_768;
            assert!(all.iter().all(|address| address.port() < ephemeral_from));
        }
    }
}
