//! The addresses of the cluster. They are fixed, so one cluster runs on a machine at a time.
//!
//! ```text
//! 10.89.0.1     the machine's end of the bridge: API server, etcd, DNS, and every client outside the nodes
//! 10.89.0.10+n  node n, reached through its own veth on the bridge
//! 10.244.n.0/24 the pods of node n, routed through the node
//! 10.96.0.0/16  services, translated inside the nodes
//! ```
//!
//! The three ranges begin as unreachable routes with the worst metric, and nodes have no default route:
//! what is not answered inside the cluster goes nowhere.

use std::fmt::{self, Display};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const NODES: &str = "10.89.0.0/24";
pub const PODS: &str = "10.244.0.0/16";
pub const SERVICES: &str = "10.96.0.0/16";
pub const RANGES: [&str; 3] = [NODES, PODS, SERVICES];
pub const BRIDGE: &str = "millrace0";
pub const NODE_COUNT_MAX: u8 = 9;

/// The metric of the unreachable routes: any real route is better.
pub const UNREACHABLE_METRIC: u32 = 4_000_000;

/// Nodes are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u8);

impl Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node{}", self.0)
    }
}

impl NodeId {
    pub fn all(count: u8) -> impl Iterator<Item = Self> {
        (1..=count).map(Self)
    }

    /// The node called `name`, if it is one of ours.
    pub fn named(name: &str) -> Option<Self> {
        Self::all(NODE_COUNT_MAX).find(|node| node.to_string() == name)
    }

    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, 0, 10 + self.0)
    }

    pub fn pods(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    /// The machine's end of the node's veth.
    pub fn interface(self) -> String {
        format!("millrace-n{}", self.0)
    }

    pub fn zone(self) -> String {
        format!("zone-{}", self.0)
    }
}

/// One line for each route of the machine that overlaps a range of ours.
pub fn conflicts() -> Result<Vec<String>> {
    let routes = command::run("ip", "-json -4 route show")?;
    let routes: Vec<Route> = serde_json::from_str(&routes).context("cannot read the output of `ip -json route`")?;
    Ok(routes.iter().filter(|route| !route.is_ours()).filter_map(conflict).collect())
}

#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
    metric: Option<u32>,
}

impl Route {
    fn is_ours(&self) -> bool {
        self.dev.as_deref() == Some(BRIDGE) || self.metric == Some(UNREACHABLE_METRIC)
    }
}

fn conflict(route: &Route) -> Option<String> {
    let range = RANGES.into_iter().find(|range| overlap(range, &route.dst))?;
    let device = route.dev.as_deref().unwrap_or("no device");
    Some(format!("the address range {range} is taken: this machine has a route to {} ({device})", route.dst))
}

/// Whether two networks share an address. `default` shares none: it is what is left over.
fn overlap(one: &str, other: &str) -> bool {
    match (network(one), network(other)) {
        (Some((one, one_bits)), Some((other, other_bits))) => {
            let shift = 32 - one_bits.min(other_bits);
            shift == 32 || one >> shift == other >> shift
        }
        _ => false,
    }
}

fn network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    Some((address.into(), bits.parse().ok().filter(|bits| *bits <= 32)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_networks_are_found() {
        for (one, other, expected) in [
            ("10.89.0.0/24", "10.89.0.0/24", true),
            ("10.89.0.0/24", "10.0.0.0/8", true),
            ("10.96.0.0/16", "10.96.7.3", true),
            ("10.96.0.0/16", "10.97.0.0/16", false),
            ("10.244.0.0/16", "0.0.0.0/0", true),
            ("10.244.0.0/16", "default", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} and {other}");
        }
    }
}
