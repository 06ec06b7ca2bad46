//! What a leader commits would survive if all machines lost their power now: a majority of its voters has it on disk,
//! each on the very volume that is a voter. An empty volume under the same node id does not count.

use raft::VoterSet;

use crate::facts::{Fact, Invariant};
use crate::node::Node;
use crate::volume::{Volume, offset, position};

#[derive(Debug, Default)]
pub struct Acknowledgement;

impl Invariant for Acknowledgement {
    fn see(&mut self, fact: &Fact<'_>, _now: u64, nodes: &[Node]) -> Result<(), String> {
        let Fact::HighWatermark { node, end } = fact else { return Ok(()) };
        let Some(raft) = nodes[*node].raft.as_ref().filter(|raft| raft.leading().is_some()) else { return Ok(()) };
        let log = &nodes[*node].volume.log;
        let chain = log.chain_before(*end).unwrap();
        let has = |volume: &Volume| {
            let of_snapshot = volume.snapshot.as_ref().is_some_and(|snapshot| *end <= offset(snapshot.id.end_offset));
            of_snapshot || volume.durable.chain_before(*end) == Some(chain)
        };
        let is_safe = |voters: &VoterSet| {
            let volumes = nodes.iter().flat_map(|node| std::iter::once(&node.volume).chain(&node.shelf));
            let of_voters = volumes.filter(|volume| voters.keys().any(|key| key.directory_id == volume.directory_id));
            voters.majority() <= of_voters.filter(|volume| has(volume)).count()
        };
        // The step that committed may have appended the next change of the voters.
        let before = raft.quorum_at(position(log.end().saturating_sub(1))).map(|quorum| &quorum.voters);
        if is_safe(raft.voters()) || before.is_some_and(is_safe) {
            return Ok(());
        }
        Err(format!("node {node} commits up to {end}, which no majority of {:?} has", raft.voters()))
    }
}
