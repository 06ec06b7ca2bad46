//! A live leader is not unseated: a node that has just heard from it grants no pre-vote.

use crate::facts::{Fact, Invariant};
use crate::node::{Node, timing};

#[derive(Debug, Default)]
pub struct PreVote;

impl Invariant for PreVote {
    fn see(&mut self, fact: &Fact<'_>, now: u64, nodes: &[Node]) -> Result<(), String> {
        let Fact::Voted { node, is_pre_vote: true, response } = fact else { return Ok(()) };
        let Some(raft) = nodes[*node].raft.as_ref().filter(|_| response.granted) else { return Ok(()) };
        // The only voter may have elected itself in the same step, in a later epoch.
        if raft.leading().is_some() && raft.epoch() == response.leader.epoch {
            return Err(format!("node {node} leads and grants a pre-vote"));
        }
        let lately = nodes[*node].clock.local(now).saturating_sub(timing().fetch_timeout / 2);
        let heard = nodes[*node].heard.filter(|(epoch, at)| *epoch == raft.epoch() && lately < *at);
        if heard.is_some() && raft.leader().leader.is_some() {
            return Err(format!("node {node} hears its leader {:?} and grants a pre-vote", raft.leader()));
        }
        Ok(())
    }
}
