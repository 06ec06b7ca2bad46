//! Two logs with a record of the same epoch at the same offset are equal up to there.

use std::collections::HashMap;

use protocol::types::LeaderEpoch;

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct LogMatching {
    /// Each record with what preceded it.
    records: HashMap<(usize, LeaderEpoch), (u64, u64)>,
}

impl Invariant for LogMatching {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        let Fact::Appended { node, offset, entry } = fact else { return Ok(()) };
        let before = nodes[*node].volume.log.chain_before(*offset).unwrap();
        let chains = (before, entry.chain);
        let known = *self.records.entry((*offset, entry.epoch)).or_insert(chains);
        if known == chains {
            Ok(())
        } else {
            Err(format!(
                "node {node} has another record of epoch {} at {offset}, or another log before it",
                entry.epoch
            ))
        }
    }
}
