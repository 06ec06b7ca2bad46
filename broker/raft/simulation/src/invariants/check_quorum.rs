//! A leader that has had no fetches of a majority for too long resigns.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::facts::{Fact, Invariant};
use crate::node::{Node, timing};

/// Beyond a fetch timeout.
const GRACE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub struct CheckQuorum {
    /// Since when it leads, by the node's clock.
    since: BTreeMap<usize, Duration>,
}

impl Invariant for CheckQuorum {
    fn see(&mut self, fact: &Fact<'_>, now: u64, nodes: &[Node]) -> Result<(), String> {
        match fact {
            Fact::Leads { node, .. } => {
                self.since.insert(*node, nodes[*node].clock.local(now));
            }
            Fact::Resigned { node } | Fact::Started { node } => {
                self.since.remove(node);
            }
            Fact::Stepped { node } => return self.check(*node, nodes[*node].clock.local(now), &nodes[*node]),
            _ => {}
        }
        Ok(())
    }
}

impl CheckQuorum {
    fn check(&self, index: usize, now: Duration, node: &Node) -> Result<(), String> {
        let Some(raft) = node.raft.as_ref().filter(|raft| raft.leading().is_some()) else { return Ok(()) };
        let Some(since) = self.since.get(&index).copied() else { return Ok(()) };
        let longest = timing().fetch_timeout + GRACE;
        if now < since + longest {
            return Ok(());
        }
        let voters = raft.replicas().into_iter().filter(|replica| replica.is_voter);
        let heard = voters.filter(|voter| now < voter.last_fetch.unwrap_or(since) + longest).count();
        if heard < raft.voters().majority() {
            return Err(format!("node {index} leads although it hears only {heard} of {} voters", raft.voters().len()));
        }
        Ok(())
    }
}
