//! An epoch has at most one leader, which leads it only once: not again after a restart.

use std::collections::BTreeMap;

use protocol::types::LeaderEpoch;

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<LeaderEpoch, usize>,
}

impl Invariant for ElectionSafety {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, _nodes: &[Node]) -> Result<(), String> {
        let Fact::Leads { node, epoch, .. } = fact else { return Ok(()) };
        match self.leaders.insert(*epoch, *node) {
            Some(former) => Err(format!("node {node} leads epoch {epoch}, which node {former} has led")),
            None => Ok(()),
        }
    }
}
