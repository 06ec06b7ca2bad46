//! The high watermark of a process never decreases, and nothing below it is truncated.

use std::collections::BTreeMap;

use raft::Report;

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct HighWatermark {
    ends: BTreeMap<usize, usize>,
}

impl Invariant for HighWatermark {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, _nodes: &[Node]) -> Result<(), String> {
        match fact {
            Fact::Started { node } => {
                self.ends.remove(node);
                Ok(())
            }
            Fact::HighWatermark { node, end } => match self.ends.insert(*node, *end) {
                Some(former) if *end < former => {
                    Err(format!("the high watermark of node {node} goes back from {former} to {end}"))
                }
                _ => Ok(()),
            },
            Fact::Truncated { node, end } if self.ends.get(node).is_some_and(|known| end < known) => {
                Err(format!("node {node} truncates to {end}, below its high watermark"))
            }
            // Caused by the disk.
            Fact::Reported { report: Report::DamagedSnapshot(_), .. } => Ok(()),
            Fact::Reported { node, report } => Err(format!("node {node} reports: {report}")),
            _ => Ok(()),
        }
    }
}
