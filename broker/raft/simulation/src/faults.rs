//! Faults, and how they are repaired in the end.

use raft::{AddVoterRequest, Event, RemoveVoterRequest, ReplicaKey, Request, SendFailure, VoterSet};
use std::time::Duration;

use crate::node::{Node, Payload, directory};
use crate::schedule::Theme;
use crate::volume::Volume;
use crate::world::{Happening, World};

impl World {
    pub fn fault(&mut self) {
        if self.schedule.faults_until <= self.now {
            return;
        }
        let wait = self.random.between(1000, 2 * self.schedule.fault_every_micros);
        self.after(wait, Happening::Fault);
        self.weather();
        let leader = self.nodes.iter().position(Node::is_leading).filter(|_| self.random.chance(300));
        let index = leader.unwrap_or_else(|| self.random.index(self.nodes.len()));
        let theme = if self.random.chance(if self.schedule.theme == Theme::Elections { 950 } else { 650 }) {
            self.schedule.theme
        } else {
            Theme::All
        };
        match theme {
            Theme::Elections => self.lose_leader(),
            Theme::Crashes => self.stop_somehow(index),
            Theme::PowerCuts => self.cut_power(index),
            Theme::Partitions => self.partition(),
            Theme::VoterChanges => self.change_voters(),
            Theme::Snapshots => self.take_snapshot(index),
            Theme::Volumes => self.change_volume(index),
            Theme::All => self.any_fault(index),
        }
    }

    fn any_fault(&mut self, index: usize) {
        let is_all = matches!(self.schedule.theme, Theme::All | Theme::VoterChanges | Theme::Volumes);
        match self.random.below(if is_all { 8 } else { 6 }) {
            0 => self.stop_somehow(index),
            1 => self.cut_power(index),
            2 | 3 => self.partition(),
            4 => self.take_snapshot(index),
            5 => self.nodes[index].is_slow_disk = !self.nodes[index].is_slow_disk,
            6 => self.change_voters(),
            _ => self.change_volume(index),
        }
    }

    fn weather(&mut self) {
        if self.random.chance(self.schedule.bad_weather_permille) {
            self.network.worsen(&mut self.random);
        } else {
            self.network.calm();
        }
    }

    /// Crashes a leader when it has sent something to some follower.
    fn lose_leader(&mut self) {
        let nodes = self.nodes.len();
        let Some(leader) = self.nodes.iter().rposition(Node::is_leading) else { return };
        match self.random.below(4) {
            0 | 1 => {
                self.kill(leader);
                let incarnation = self.nodes[leader].incarnation;
                let wait = self.random.between(1000, 300_000);
                self.after(wait, Happening::Restart { node: leader, incarnation });
            }
            2 => self.network.isolate(leader, nodes),
            _ => self.network.split(&mut self.random, nodes),
        }
        if self.random.chance(400) {
            self.network.heal_links();
        }
    }

    fn stop_somehow(&mut self, index: usize) {
        match self.random.below(6) {
            0 | 1 => return self.pause(index),
            2 => self.step(index, Event::Resign, &Payload::Nothing),
            _ => {}
        }
        self.kill(index);
        if self.random.chance(300) && self.may_move() {
            self.nodes[index].port += 1;
        }
        self.restart_later(index);
    }

    /// A node may come back at another address once all others know the new address of the last one that did.
    fn may_move(&self) -> bool {
        let is_known = |voter: &raft::Voter| self.nodes.iter().any(|node| node.voter().endpoints == voter.endpoints);
        self.nodes.iter().all(|node| {
            let voters = node.volume.voters();
            1 < voters.len() && voters.iter().all(is_known)
        })
    }

    fn pause(&mut self, index: usize) {
        self.nodes[index].paused_until = self.now + self.random.between(20_000, 1_500_000);
    }

    /// The process ends, the machine stays up: connected nodes notice.
    pub fn kill(&mut self, index: usize) {
        if self.nodes[index].raft.is_some() {
            self.note(("kill", index));
            self.nodes[index].volume.kill(&mut self.random);
            self.stop_process(index, true);
        }
    }

    /// A requested stop: a leader hands over first.
    pub fn resign_and_kill(&mut self, index: usize) {
        self.step(index, Event::Resign, &Payload::Nothing);
        self.kill(index);
        self.restart_later(index);
    }

    /// The machine loses its power and is back soon, while another one is cut off from all others.
    pub fn bounce(&mut self, index: usize, deaf: usize) {
        let nodes = self.nodes.len();
        self.network.isolate(deaf, nodes);
        if self.nodes[index].raft.is_some() {
            self.lose_power(index);
            let incarnation = self.nodes[index].incarnation;
            let wait = self.random.between(5000, 50_000);
            self.after(wait, Happening::Restart { node: index, incarnation });
        }
    }

    fn lose_power(&mut self, index: usize) {
        self.note(("power cut", index));
        self.nodes[index].volume.cut_power(&mut self.random);
        self.stop_process(index, false);
        self.nodes[index].has_power = false;
    }

    fn cut_power(&mut self, index: usize) {
        let all = self.random.chance(150);
        for node in 0..self.nodes.len() {
            if (all || node == index) && self.nodes[node].raft.is_some() {
                self.lose_power(node);
                self.restart_later(node);
            }
        }
    }

    fn stop_process(&mut self, index: usize, resets: bool) {
        self.nodes[index].stop();
        self.nodes[index].paused_until = 0;
        let open: Vec<_> =
            self.tokens.iter().filter(|(_, waiting)| waiting.at == index).map(|(t, w)| (*t, *w)).collect();
        for (token, waiting) in open {
            self.tokens.remove(&token);
            if let Some(asked) = waiting.asked.filter(|_| resets) {
                self.fail(asked, index, SendFailure::Reset);
            }
        }
    }

    fn restart_later(&mut self, index: usize) {
        let incarnation = self.nodes[index].incarnation;
        let wait = self.random.between(5000, 900_000);
        self.after(wait, Happening::Restart { node: index, incarnation });
    }

    fn partition(&mut self) {
        let nodes = self.nodes.len();
        match self.random.below(8) {
            0 => self.network.split(&mut self.random, nodes),
            1 => self.network.ring(nodes),
            2 => self.network.bridge(&mut self.random, nodes),
            3 => self.network.one_way(&mut self.random, nodes),
            4 | 5 => {
                let leader = self.nodes.iter().position(Node::is_leading);
                let index = leader.unwrap_or_else(|| self.random.index(nodes));
                self.network.isolate(index, nodes);
            }
            _ => self.network.heal_links(),
        }
    }

    /// What an administrator would ask of the apparent leader.
    pub fn change_voters(&mut self) {
        let leaders: Vec<_> = (0..self.nodes.len()).filter(|index| self.nodes[*index].is_leading()).collect();
        if leaders.is_empty() {
            return;
        }
        let leader = leaders[self.random.index(leaders.len())];
        let voters = self.nodes[leader].raft.as_ref().unwrap().voters().clone();
        let Some(request) = self.some_change(&voters) else { return };
        let token = self.new_token(leader, None, false);
        self.step(leader, Event::Request { token, request }, &Payload::Nothing);
    }

    fn some_change(&mut self, voters: &VoterSet) -> Option<Request> {
        let mounted: Vec<_> = self.nodes.iter().map(Node::key).collect();
        let gone: Vec<_> = voters.keys().filter(|key| !mounted.contains(key)).collect();
        let new: Vec<_> = self.nodes.iter().filter(|node| voters.get(node.id).is_none()).map(Node::voter).collect();
        let all: Vec<ReplicaKey> = voters.keys().collect();
        let removed = if gone.is_empty() || self.random.chance(200) { all } else { gone };
        if self.random.chance(500) && 1 < voters.len() || new.is_empty() {
            let key = *removed.get(self.random.index(removed.len()))?;
            return Some(Request::RemoveVoter(RemoveVoterRequest { key }));
        }
        let voter = new[self.random.index(new.len())].clone();
        let timeout = Duration::from_millis(self.random.between(100, 1000));
        Some(Request::AddVoter(AddVoterRequest { voter, timeout }))
    }

    /// The node comes back with an empty volume, or with one that it had before.
    fn change_volume(&mut self, index: usize) {
        self.kill(index);
        let former = self.nodes[index].shelf.len();
        let next = if 0 < former && self.random.chance(500) {
            let old = self.random.index(former);
            self.nodes[index].shelf.swap_remove(old)
        } else {
            Volume::new(directory(self.nodes[index].id, former + 1), None)
        };
        self.mount(index, next);
        self.restart_later(index);
        self.change_voters();
    }

    /// The node comes back with an older copy of its volume.
    pub fn put_back(&mut self, index: usize, copy: Volume) {
        self.note(("put back", index));
        self.kill(index);
        let node = &mut self.nodes[index];
        (node.volume, node.went_back) = (copy, true);
        let incarnation = node.incarnation;
        self.restart(index, incarnation);
    }

    fn mount(&mut self, index: usize, volume: Volume) {
        self.note(("mount", index, volume.directory_id));
        let node = &mut self.nodes[index];
        let former = std::mem::replace(&mut node.volume, volume);
        node.shelf.push(former);
    }

    /// Ends all faults; every voter has its volume.
    pub fn heal(&mut self) {
        self.note("heal");
        self.network.heal();
        self.is_healed = true;
        self.schedule.faults_until = 0;
        self.schedule.slow_sync_permille = 0;
        self.schedule.records_per_fetch_max = 100;
        self.schedule.propose_every_micros = u64::MAX / 4;
        for node in &mut self.nodes {
            node.is_slow_disk = false;
            node.paused_until = 0;
        }
        self.mount_volumes_of(&self.voters_needed());
    }

    /// Every node runs, with the volume that it has as one of these voters.
    pub fn mount_volumes_of(&mut self, voters: &[ReplicaKey]) {
        for index in 0..self.nodes.len() {
            let key = voters.iter().find(|key| key.id == self.nodes[index].id);
            let on_shelf = |volume: &Volume| key.is_some_and(|key| key.directory_id == volume.directory_id);
            if let Some(place) = self.nodes[index].shelf.iter().position(on_shelf) {
                self.kill(index);
                let volume = self.nodes[index].shelf.swap_remove(place);
                self.mount(index, volume);
            }
            let incarnation = self.nodes[index].incarnation;
            self.restart(index, incarnation);
        }
    }

    /// The voters of the best log, and those before its last change, which may be in that log only.
    fn voters_needed(&self) -> Vec<ReplicaKey> {
        let volumes = self.nodes.iter().flat_map(|node| std::iter::once(&node.volume).chain(&node.shelf));
        let rank = |volume: &&Volume| (volume.last_epoch(), volume.log.end(), volume.voters().len());
        let sets = volumes.max_by_key(rank).unwrap().voter_sets();
        sets.take(2).flat_map(|voters| voters.keys().collect::<Vec<_>>()).collect()
    }
}
