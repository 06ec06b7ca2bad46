//! Voters change one at a time, by a leader that has committed in its epoch, while no other change is open; and a
//! node's voters are those of its log, also after a truncation.

use std::collections::{BTreeMap, BTreeSet};

use protocol::types::LeaderEpoch;
use raft::{ControlRecord, Raft, VoterSet};

use crate::facts::{Fact, Invariant};
use crate::node::Node;
use crate::volume::{Entry, Log};

#[derive(Debug, Default)]
pub struct VoterChanges {
    /// The end of what is committed anywhere.
    committed: usize,
    /// The start offset of each leader's epoch.
    epochs: BTreeMap<LeaderEpoch, usize>,
    /// Nodes whose log has changed.
    unchecked: BTreeSet<usize>,
}

impl Invariant for VoterChanges {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        match fact {
            Fact::Leads { epoch, base, .. } => {
                self.epochs.insert(*epoch, *base);
            }
            Fact::HighWatermark { end, .. } => self.committed = self.committed.max(*end),
            Fact::Started { node } | Fact::Truncated { node, .. } | Fact::Restored { node, .. } => {
                self.unchecked.insert(*node);
            }
            Fact::Appended { node, offset, entry } => {
                if let Some(voters) = voters_of(entry) {
                    self.unchecked.insert(*node);
                    if nodes[*node].is_leading() {
                        self.check_change(*node, *offset, entry.epoch, voters, &nodes[*node].volume.log)?;
                    }
                }
            }
            Fact::Stepped { node } if nodes[*node].todo.is_empty() && self.unchecked.remove(node) => {
                let by_log = nodes[*node].volume.voters();
                let in_force = nodes[*node].raft.as_ref().map(Raft::voters);
                if in_force.is_some_and(|voters| *voters != by_log) {
                    return Err(format!("node {node} goes by {in_force:?}, but its log says {by_log:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl VoterChanges {
    fn check_change(
        &self,
        node: usize,
        offset: usize,
        epoch: LeaderEpoch,
        voters: &VoterSet,
        log: &Log,
    ) -> Result<(), String> {
        let Some(base) = self.epochs.get(&epoch).copied() else { return Ok(()) };
        // What formatting laid down is in the first batch of the first epoch.
        if offset <= base + 2 {
            return Ok(());
        }
        if self.committed <= base {
            return Err(format!("node {node} changes the voters at {offset} before epoch {epoch} has committed"));
        }
        let before = (log.start..offset).rev().find_map(|at| voters_of(log.get(at)?).map(|voters| (at, voters)));
        let Some((at, former)) = before else { return Ok(()) };
        if self.committed <= at {
            return Err(format!("node {node} changes the voters at {offset} while the change at {at} is open"));
        }
        let changed = former.iter().filter(|voter| !voters.contains(voter.key)).count()
            + voters.iter().filter(|voter| !former.contains(voter.key)).count();
        if 1 < changed { Err(format!("node {node} changes {changed} voters at {offset}")) } else { Ok(()) }
    }
}

fn voters_of(entry: &Entry) -> Option<&VoterSet> {
    match &entry.control {
        Some(ControlRecord::KRaftVoters(voters)) => Some(voters),
        _ => None,
    }
}
