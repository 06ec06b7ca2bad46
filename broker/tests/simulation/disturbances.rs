//! What happens to a cluster besides faults of machines: brokers are stopped, partitions moved, leaders elected,
//! records and topics deleted, clocks set, connections lost.

use protocol::types::PartitionId;
use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::messages::Event;
use super::topics;
use crate::controller::command::{Command, Reply};
use crate::controller::partition_change::Election;
use crate::controller::reassignments::FactorChange;
use crate::controller::topic_deletion::TopicSelector;

const HOUR_MS: i64 = 3_600_000;
/// So many of the committed records are kept by every deletion: producers rely on their last batches.
const KEPT: i64 = 25;

impl Cluster {
    pub(super) fn disturb(&mut self) {
        if self.world.is_healed {
            return;
        }
        let every = self.options.disturb_every_micros;
        let wait = self.random().between(every / 2, 2 * every);
        self.after(wait, Event::Disturb);
        let node = self.world.random.index(self.machines.len());
        if self.world.random.chance(self.options.stop_permille) {
            return self.stop(node);
        }
        match self.random().below(7) {
            0 | 1 => self.reassign(),
            2 => self.elect(),
            3 => self.delete_records(),
            4 => self.set_clock(node),
            5 => self.delete_topic(),
            _ => self.doubt(node),
        }
    }

    /// A replica about to join the ISR loses its power and is back, while its leader reaches no node: the proposal
    /// arrives when that process no longer exists.
    pub(super) fn bounce(&mut self, joiner: usize, leader: usize) {
        if !self.world.is_healed {
            self.world.bounce(joiner, leader);
            let wait = self.random().between(100_000, 450_000);
            self.after(wait, Event::LinksHeal);
        }
    }

    fn stop(&mut self, node: usize) {
        if let Some(process) = &mut self.machines[node].process {
            process.session.stops = process.session.epoch.is_some();
        }
    }

    /// The caller does not wait for the answer.
    fn wish<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) {
        if let Some(controller) = self.active_controller() {
            let (reply, _) = oneshot::channel();
            self.tell(controller, command(reply));
        }
    }

    /// To three brokers, or back.
    fn reassign(&mut self) {
        let keys = topics::all();
        let (topic, partition) = keys[self.random().index(keys.len())];
        let Some(name) = self.committed.topics.get(&topic).map(|topic| topic.name.clone()) else { return };
        let first = self.world.random.index(self.machines.len());
        let brokers = (first..first + 3).map(|at| self.machines[at % self.machines.len()].id);
        let target: Option<Vec<_>> = self.world.random.chance(750).then(|| brokers.collect());
        let wanted: Vec<(String, Vec<(PartitionId, _)>)> = vec![(name, vec![(partition, target)])];
        let factor_change = FactorChange::Allowed;
        self.wish(|reply| Command::AlterReassignments { wanted, factor_change, reply });
    }

    fn elect(&mut self) {
        self.wish(|reply| Command::ElectLeaders { election: Election::Preferred, wanted: None, reply });
    }

    fn delete_records(&mut self) {
        let mut keys = topics::keys();
        keys.retain(|key| !topics::is_compacted(*key));
        let key = keys[self.random().index(keys.len())];
        for node in (0..self.machines.len()).filter(|node| !self.is_paused(*node)).collect::<Vec<_>>() {
            let Some(process) = self.process(node).filter(|process| process.serves) else { continue };
            let positions = process.replicas.positions(key).filter(|positions| positions.leads.is_some());
            let start = positions.map(|positions| positions.high_watermark.advance(-KEPT));
            if let Some(start) = start.filter(|start| 0 < start.0) {
                process.replicas.delete_records(key, start);
                self.look(node);
            }
        }
    }

    /// The controller creates another topic of that name, before or after all nodes know of the deletion.
    fn delete_topic(&mut self) {
        let topics = vec![TopicSelector::Name(topics::PASSING.to_owned())];
        self.wish(|reply| Command::DeleteTopics { topics, reply });
    }

    fn set_clock(&mut self, node: usize) {
        let jumps = [HOUR_MS, -HOUR_MS, 24 * 3650 * HOUR_MS, -24 * 3650 * HOUR_MS, 0];
        let jump = jumps[self.random().index(jumps.len())];
        self.machines[node].wall_ahead_ms = jump;
    }

    /// A connection breaks although no process has ended.
    fn doubt(&mut self, node: usize) {
        let id = self.machines[node].id;
        let Some(epoch) = self.committed.brokers.get(&id).map(|broker| broker.epoch) else { return };
        if let Some(to) = self.active_controller() {
            self.connection_lost(to, id, epoch);
        }
    }
}
