//! All nodes agree on what is committed: what one node takes for committed at an offset is the same on all nodes, for
//! ever. Snapshots hold nothing else.

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct StateMachineSafety {
    /// The chain of each committed record.
    committed: Vec<u64>,
}

impl StateMachineSafety {
    fn check(&self, node: usize, end: usize, chain: u64) -> Result<(), String> {
        let known = end.checked_sub(1).and_then(|last| self.committed.get(last));
        match known {
            Some(known) if *known != chain => {
                Err(format!("node {node} takes other records for committed before {end}"))
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for StateMachineSafety {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        match fact {
            Fact::HighWatermark { node, end } => {
                let log = &nodes[*node].volume.log;
                let chain = log.chain_before(*end).ok_or_else(|| format!("node {node} has not all before {end}"))?;
                self.check(*node, *end, chain)?;
                while self.committed.len() < *end {
                    let Some(entry) = log.get(self.committed.len()) else { break };
                    self.committed.push(entry.chain);
                }
                Ok(())
            }
            Fact::Restored { node, chain } => self.check(*node, nodes[*node].volume.log.start, *chain),
            _ => Ok(()),
        }
    }
}
