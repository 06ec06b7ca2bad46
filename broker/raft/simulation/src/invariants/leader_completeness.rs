//! No committed record is lost: every later leader has it from the start.

use std::collections::BTreeMap;

use protocol::types::LeaderEpoch;
use raft::Raft;

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct LeaderCompleteness {
    /// For each epoch in which something was committed: the end, and the chain there.
    committed: BTreeMap<LeaderEpoch, (usize, u64)>,
}

impl Invariant for LeaderCompleteness {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        match fact {
            Fact::HighWatermark { node, end } => {
                let leading = nodes[*node].raft.as_ref().and_then(Raft::leading);
                let chain = nodes[*node].volume.log.chain_before(*end);
                if let (Some(leading), Some(chain)) = (leading, chain) {
                    let committed = self.committed.entry(leading.epoch).or_default();
                    *committed = (*committed).max((*end, chain));
                }
                Ok(())
            }
            Fact::Leads { node, epoch, .. } => {
                let log = &nodes[*node].volume.log;
                let lost = self
                    .committed
                    .range(..epoch)
                    .find(|(_, (end, chain))| log.start <= *end && log.chain_before(*end) != Some(*chain));
                match lost {
                    Some((former, (end, _))) => Err(format!(
                        "node {node} leads epoch {epoch} without what epoch {former} committed before {end}"
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
