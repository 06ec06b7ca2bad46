//! The facts that invariants are given, and the list of invariants.

use protocol::types::{BrokerId, LeaderEpoch};
use raft::{Report, VoteResponse};

use crate::invariants::{
    acknowledgement, check_quorum, election_safety, high_watermark, leader_completeness, log_matching, pre_vote,
    state_machine_safety, voter_changes, votes,
};
use crate::node::Node;
use crate::volume::Entry;

#[derive(Debug)]
pub enum Fact<'a> {
    Started { node: usize },
    Stepped { node: usize },
    Leads { node: usize, epoch: LeaderEpoch, base: usize, granting: &'a [BrokerId] },
    Resigned { node: usize },
    Appended { node: usize, offset: usize, entry: &'a Entry },
    Truncated { node: usize, end: usize },
    Restored { node: usize, chain: u64 },
    HighWatermark { node: usize, end: usize },
    Voted { node: usize, is_pre_vote: bool, response: &'a VoteResponse },
    Reported { node: usize, report: &'a Report },
}

/// Something that holds at every moment of every schedule.
pub trait Invariant: std::fmt::Debug {
    fn see(&mut self, fact: &Fact<'_>, now: u64, nodes: &[Node]) -> Result<(), String>;
}

#[derive(Debug)]
pub struct Invariants(Vec<(&'static str, Box<dyn Invariant>)>);

impl Default for Invariants {
    fn default() -> Self {
        Self(vec![
            ("election safety", Box::<election_safety::ElectionSafety>::default()),
            ("votes", Box::<votes::Votes>::default()),
            ("log matching", Box::<log_matching::LogMatching>::default()),
            ("leader completeness", Box::<leader_completeness::LeaderCompleteness>::default()),
            ("state machine safety", Box::<state_machine_safety::StateMachineSafety>::default()),
            ("acknowledgement", Box::<acknowledgement::Acknowledgement>::default()),
            ("high watermark", Box::<high_watermark::HighWatermark>::default()),
            ("voter changes", Box::<voter_changes::VoterChanges>::default()),
            ("check-quorum", Box::<check_quorum::CheckQuorum>::default()),
            ("pre-vote", Box::<pre_vote::PreVote>::default()),
        ])
    }
}

impl Invariants {
    pub fn see(&mut self, fact: &Fact<'_>, now: u64, nodes: &[Node]) -> Result<(), String> {
        for (name, invariant) in &mut self.0 {
            invariant.see(fact, now, nodes).map_err(|what| format!("{name}: {what}"))?;
        }
        Ok(())
    }
}
