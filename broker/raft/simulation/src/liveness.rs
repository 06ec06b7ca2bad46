//! Once all faults have ended there is a leader, every node follows it, and new records are committed everywhere.

use raft::{Raft, Voter};

use crate::world::World;

/// Longer than any sequence of timeouts may take.
const HEALED_WITHIN: u64 = 8_000_000;
const LOOK_EVERY: u64 = 50_000;

impl World {
    /// Runs the whole schedule. Returns what was wrong, if anything.
    pub fn run(&mut self) -> Result<(), String> {
        let schedule = self.schedule;
        self.run_until(schedule.faults_until);
        self.recover();
        match self.violation.take() {
            Some(violation) => Err(format!("{violation}\n  at {} µs of {schedule:?}", self.now)),
            None => Ok(()),
        }
    }

    /// Ends all faults, and waits until the quorum works.
    pub fn recover(&mut self) {
        self.heal();
        let deadline = self.now + HEALED_WITHIN;
        self.wait_until(deadline, "nobody becomes the active controller", |world| world.controller().is_some());
        if let Some(controller) = self.controller() {
            self.append(controller);
        }
        self.wait_until(deadline, "the nodes do not agree on a log", Self::agrees);
    }

    fn wait_until(&mut self, deadline: u64, otherwise: &str, is_so: impl Fn(&Self) -> bool) {
        while self.violation.is_none() && !is_so(self) {
            if deadline <= self.now {
                let states: Vec<_> = (0..self.nodes.len()).map(|index| self.state(index)).collect();
                self.violation = Some(format!("liveness: {otherwise}:\n{}", states.join("\n")));
            }
            if let Some(controller) = self.controller() {
                // The log that has won need not be the one that was best of all, and a change of voters that was open
                // when the faults ended may only now be made.
                let voters: Vec<_> = self.nodes[controller].raft.as_ref().unwrap().voters().keys().collect();
                self.mount_volumes_of(&voters);
            }
            self.run_until(self.now + LOOK_EVERY);
        }
    }

    /// The active controller in the highest epoch.
    pub fn controller(&self) -> Option<usize> {
        let active = (0..self.nodes.len()).filter(|index| self.nodes[*index].is_active_controller());
        active.max_by_key(|index| self.nodes[*index].raft.as_ref().map(Raft::epoch))
    }

    pub fn agrees(&self) -> bool {
        let Some(controller) = self.controller() else { return false };
        let leader = self.nodes[controller].raft.as_ref().unwrap();
        let has_all = |raft: &Raft| {
            raft.epoch() == leader.epoch()
                && raft.log_end() == leader.log_end()
                && raft.high_watermark() == leader.log_end()
                && raft.voters() == leader.voters()
        };
        // A node that has moved is known by its new address.
        let is_known = |voter: &Voter| self.nodes.iter().any(|node| node.voter() == *voter);
        leader.voters().iter().all(is_known) && self.nodes.iter().all(|node| node.raft.as_ref().is_some_and(has_all))
    }

    pub fn state(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let Some(raft) = &node.raft else { return format!("node {index}: down") };
        let voters: Vec<_> = raft.voters().keys().map(|key| key.to_string()).collect();
        format!(
            "node {index}: {}, epoch {}, leader {:?}, log {}..{}, committed {}, voters {voters:?}, volume {:?}",
            if raft.leading().is_some() { "leads" } else { "does not lead" },
            raft.epoch(),
            raft.leader().leader,
            raft.log_start(),
            raft.log_end(),
            raft.high_watermark(),
            node.volume.directory_id,
        )
    }
}
