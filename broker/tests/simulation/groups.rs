//! A group, whose members ask the node that they take for its coordinator; and the periodic work of coordinators and
//! cleaners.

use std::collections::BTreeMap;

use super::clients::Belief;
use super::cluster::Cluster;
use super::facts::Fact;
use super::machine::{node_of, offset};
use super::messages::{Event, Party};
use super::topics;
use crate::coordinator::simulated::{Asked, Members, Patience, Surroundings};

/// Shorter to join than to be silent: static members stay if they do not join in time.
const PATIENCE: Patience = Patience { session_ms: 600, rebalance_ms: 300 };
const STEP_EVERY: u64 = 25_000;
const TURN_EVERY: u64 = 8000;
const CLEAN_EVERY: u64 = 150_000;

pub(super) struct Group {
    /// Taken out while they act.
    members: Option<Members>,
    /// For each member, the node that it takes for the coordinator. It never returns to an earlier one.
    beliefs: BTreeMap<usize, Belief>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self { members: Some(Members::new(PATIENCE)), beliefs: BTreeMap::new() }
    }

    /// Faults end.
    pub(super) fn calm_down(&mut self) {
        self.members.iter_mut().for_each(Members::fill);
    }

    pub(super) fn commit_no_more(&mut self) {
        self.members.iter_mut().for_each(Members::commit_no_more);
    }

    /// Whether all live members are in one generation that reads everything.
    pub(super) fn is_calm(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.check_calm().is_ok())
    }

    /// The reason if it is not.
    pub(super) fn state(&self) -> String {
        format!("group: {:?}", self.members.as_ref().map(Members::check_calm))
    }
}

impl Surroundings for Cluster {
    /// Lost if no coordinator is known.
    fn ask(&mut self, member: usize, asked: Asked) {
        let known = self.group.beliefs.get(&member).copied().unwrap_or_default();
        let belief = if known.node.is_some() { known } else { self.look_up(topics::of_groups()) };
        if known.epoch <= belief.epoch {
            self.group.beliefs.insert(member, belief);
            if let Some(to) = belief.node {
                let from = self.place(self.clients.count() + member);
                self.send_loosely(from, to, Event::AskGroup { to, asked });
            }
        }
    }

    fn doubt_coordinator(&mut self, member: usize) {
        if let Some(belief) = self.group.beliefs.get_mut(&member) {
            belief.node = None;
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random().index(end)
    }

    fn one_in(&mut self, chances: usize) -> bool {
        !self.world.is_healed && self.random().index(chances) == 0
    }
}

impl Cluster {
    pub(super) fn step_members(&mut self) {
        let wait = self.random().between(STEP_EVERY / 2, 2 * STEP_EVERY);
        self.after(wait, Event::Members);
        let Some(mut members) = self.group.members.take() else { return };
        if self.has_lost_offsets() {
            members.excuse();
        }
        let checked = members.step(self);
        self.group.members = Some(members);
        if let Err(violation) = checked {
            self.world.violation.get_or_insert_with(|| format!("groups: {violation}"));
        }
    }

    fn has_lost_offsets(&self) -> bool {
        self.truths.of(topics::of_groups()).is_some_and(|truth| !truth.unclean.is_empty())
    }

    pub(super) fn ask_group(&mut self, node: usize, asked: Asked) {
        let id = self.machines[node].id;
        let Some(process) = self.process(node) else { return };
        if process.begins_to_serve(id) {
            process.coordinators.ask(asked);
            self.look(node);
            self.propose(node);
        }
    }

    pub(super) fn coordinate(&mut self, party: Party) {
        let wait = self.random().between(TURN_EVERY / 2, 2 * TURN_EVERY);
        self.after(wait, Event::Coordinate(party));
        let Some(process) = self.process(party.node).filter(|process| process.is_loaded) else { return };
        process.coordinators.wake();
        self.look(party.node);
        self.propose(party.node);
    }

    /// In the end the leader's committed offsets must be those that members were told.
    pub(super) fn check_offsets(&mut self) -> Result<(), String> {
        let (topic, partition) = topics::of_groups();
        let state = self.committed.topics.get(&topic).and_then(|topic| topic.partition(partition));
        let Some(leader) = state.and_then(|state| state.leader).map(node_of) else { return Ok(()) };
        let Some(mut members) = self.group.members.take() else { return Ok(()) };
        let checked = self.process(leader).map_or(Ok(()), |process| process.coordinators.check(&mut members));
        self.group.members = Some(members);
        checked.map_err(|violation| format!("groups: {violation}"))
    }

    /// One log at a time, on each machine in turn.
    pub(super) fn clean(&mut self, party: Party) {
        let wait = self.random().between(CLEAN_EVERY / 4, 2 * CLEAN_EVERY);
        self.after(wait, Event::Clean(party));
        self.look(party.node);
        let draw = self.random().index(1000);
        let Some(process) = self.process(party.node).filter(|process| process.is_loaded) else { return };
        let mut keys = process.replicas.keys();
        keys.retain(|key| topics::is_compacted(*key));
        let Some(key) = draw.checked_rem(keys.len()).map(|at| keys[at]) else { return };
        let Some(copy) = process.copies.get_mut(&key).filter(|_| process.replicas.compact(key)) else { return };
        let after = copy.read_again(process.replicas.read_log(key, offset(copy.start())));
        let before = Box::new(std::mem::replace(copy, after));
        self.see(&Fact::Compacted { node: party.node, key, before });
    }
}
