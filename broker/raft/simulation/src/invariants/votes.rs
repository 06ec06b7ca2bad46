//! A leader has votes of a majority of its voters, and each of these volumes still has its vote after a crash. A
//! volume that never knew the voters, such as an empty one under a voter's node id, does not count.

use raft::Raft;

use crate::facts::{Fact, Invariant};
use crate::node::Node;

#[derive(Debug, Default)]
pub struct Votes;

impl Invariant for Votes {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        let Fact::Leads { node, epoch, granting, .. } = fact else { return Ok(()) };
        let leader = &nodes[*node];
        let Some(voters) = leader.raft.as_ref().map(Raft::voters) else { return Ok(()) };
        if granting.len() < voters.majority() {
            return Err(format!("node {node} leads epoch {epoch} by {} of {} votes", granting.len(), voters.len()));
        }
        for id in *granting {
            let key = voters.get(*id).ok_or_else(|| format!("{id} is no voter, but has elected {node}"))?.key;
            let mut volumes = nodes.iter().flat_map(|node| std::iter::once(&node.volume).chain(&node.shelf));
            let volume = volumes.find(|volume| volume.directory_id == key.directory_id).unwrap();
            let state = volume.election;
            let remembers = *epoch < state.epoch || (state.epoch == *epoch && state.voted == Some(leader.key()));
            if !remembers {
                return Err(format!("{key} elected node {node} for epoch {epoch}, but its disk says {state:?}"));
            }
        }
        Ok(())
    }
}
