//! When all faults have ended every broker serves, every partition that has not lost all of its replicas has a leader
//! and all replicas in sync, the members of the group are in one generation, everything sent is acknowledged, and
//! everything is read.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::facts::Scene;
use super::invariants::{
    duplicates, inconsistent_offsets, lost_writes, order_of_sends, polls, producers, replicas_agree,
};
use super::machine::{node_of, offset};
use super::topics;
use super::truth::copy_on;
use crate::metadata::PartitionImage;
use crate::replica::simulated::Key;

/// Longer than any sequence of timeouts may take.
const HEALED_WITHIN: u64 = 20_000_000;
const LOOK_EVERY: u64 = 50_000;

impl Cluster {
    /// Runs the whole run. Returns what was wrong, if anything.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.run_until(self.options.schedule.faults_until);
        self.world.heal();
        self.observe();
        let deadline = self.now() + HEALED_WITHIN;
        self.group.calm_down();
        self.wait_until(deadline, "not everybody serves and is in sync", Self::is_whole);
        self.wait_until(deadline, "the group is stuck", Self::is_group_calm);
        self.clients.is_over = true;
        self.group.commit_no_more();
        self.wait_until(deadline, "not all is acknowledged and read", Self::is_quiet);
        self.read_everything();
        if self.world.violation.is_none() {
            self.world.violation = self.judge().and_then(|()| self.check_offsets()).err();
        }
        match self.world.violation.take() {
            Some(violation) => Err(format!("{violation}\n  at {} µs of {:?}", self.now(), self.options)),
            None => Ok(()),
        }
    }

    fn wait_until(&mut self, deadline: u64, otherwise: &str, is_so: impl Fn(&Self) -> bool) {
        while self.world.violation.is_none() && !is_so(self) {
            if deadline <= self.now() {
                self.world.violation = Some(format!("liveness: {otherwise}:\n{}", self.state()));
            }
            self.run_until(self.now() + LOOK_EVERY);
        }
    }

    /// A run's voters may in the end be a single node, or all.
    fn is_whole(&self) -> bool {
        let serves = |node: usize| self.machines[node].process.as_ref().is_some_and(|process| process.serves);
        let is_active = |node: usize| self.committed.is_active(self.machines[node].id);
        let all_serve = (0..self.machines.len()).all(|node| serves(node) && is_active(node));
        all_serve && self.active_controller().is_some() && !self.committed.topics.is_empty() && self.is_in_sync()
    }

    /// Or it is gone with all of its replicas.
    fn is_group_calm(&self) -> bool {
        let (topic, partition) = topics::of_groups();
        let state = self.committed.topics.get(&topic).and_then(|topic| topic.partition(partition));
        state.is_some_and(|state| self.is_lost(state)) || self.group.is_calm()
    }

    fn is_in_sync(&self) -> bool {
        let is_in_sync = |state: &PartitionImage| state.leader.is_some() && state.isr.len() == state.replicas.len();
        self.committed.partitions().all(|(_, _, state)| is_in_sync(state) || self.is_lost(state))
    }

    /// Whether no node has what was committed: none in sync, eligible, or leading last.
    fn is_lost(&self, state: &PartitionImage) -> bool {
        let [] = state.isr.as_slice() else { return false };
        let has_volume = |id: &protocol::types::BrokerId| {
            let broker = self.committed.brokers.get(id);
            let directories = broker.map(|broker| broker.directories.as_slice()).unwrap_or_default();
            state.replica_on(*id).is_some_and(|replica| directories.contains(&replica.directory))
        };
        let eligible = state.eligible_leader_replicas.iter().any(has_volume);
        let last = state.last_known_elr.len() == 1 && state.last_known_elr.iter().any(has_volume);
        !(eligible || state.eligible_leader_replicas.is_empty() && last)
    }

    fn is_quiet(&self) -> bool {
        let is_done = |key: Key, state: &PartitionImage| {
            let leader = state.leader.map(node_of);
            let copy = leader.and_then(|node| copy_on(&self.machines, node, key));
            let has_read = |end| self.clients.position(key).is_none_or(|position| position == end);
            let is_read = copy.is_some_and(|copy| has_read(copy.positions.log_end));
            self.clients.unacknowledged(key) == 0 && is_read
        };
        let scene = self.scene();
        let partitions = self.committed.partitions();
        let is_over = |(topic, id, state): (&crate::metadata::TopicImage, _, &PartitionImage)| {
            self.is_lost(state) || is_done((topic.id, id), state)
        };
        partitions.into_iter().all(is_over) && self.is_in_sync() && replicas_agree::check(scene).is_ok()
    }

    fn read_everything(&mut self) {
        for key in topics::keys() {
            let state = self.committed.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
            let leader = state.and_then(|state| state.leader).map(node_of);
            let Some(copy) = leader.and_then(|node| copy_on(&self.machines, node, key)) else { continue };
            let records = (copy.start()..copy.end()).filter_map(|at| Some((offset(at), copy.get(at)?.1)));
            self.history.last.insert(key, records.collect());
        }
    }

    fn judge(&self) -> Result<(), String> {
        let losses = |key: Key| self.truths.of(key).map_or(0, |truth| truth.unclean.len());
        let losses: BTreeMap<_, _> = topics::keys().into_iter().map(|key| (key, losses(key))).collect();
        lost_writes::check(&self.history, &losses)?;
        duplicates::check(&self.history)?;
        inconsistent_offsets::check(&self.history)?;
        polls::check(&self.history)?;
        order_of_sends::check(&self.history)?;
        producers::check(&self.history)?;
        replicas_agree::check(self.scene())
    }

    fn scene(&self) -> Scene<'_> {
        Scene { machines: &self.machines, truths: &self.truths, committed: &self.committed }
    }

    fn state(&self) -> String {
        let mut lines: Vec<_> = (0..self.machines.len()).map(|node| self.world.state(node)).collect();
        for (id, broker) in &self.committed.brokers {
            lines.push(format!("broker {id}: epoch {}, fenced {}", broker.epoch, broker.fenced));
        }
        for (topic, id, state) in self.committed.partitions() {
            let ends = self.machines.iter().map(|machine| {
                let copy = machine.process.as_ref().and_then(|process| process.copies.get(&(topic.id, id)));
                copy.map(|copy| (copy.positions.log_end.0, copy.positions.high_watermark.0))
            });
            let waiting = self.clients.unacknowledged((topic.id, id));
            let read = self.clients.position((topic.id, id));
            lines.push(format!("{}-{id:?}: {state:?}", topic.name));
            lines.push(format!("  ends {:?}, unacknowledged {waiting}, read {read:?}", ends.collect::<Vec<_>>()));
        }
        lines.push(self.group.state());
        lines.join("\n")
    }
}
