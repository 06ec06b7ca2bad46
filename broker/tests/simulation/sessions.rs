//! A broker's session with the controller: it registers, is unfenced once it has caught up, sends heartbeats, and
//! stops when it is allowed to.

use protocol::types::{BrokerEpoch, BrokerId};

use super::cluster::Cluster;
use super::machine::{Process, node_of};
use super::messages::{Answer, Caller, Event, Party, ToController};
use crate::controller::command::Command;
use crate::controller::features::supported_features;
use crate::controller::heartbeats::Heartbeat;
use crate::controller::registration::Registration;
use crate::controller::suspicion::ProbeOutcome;
use crate::controller::testing::CLUSTER;

const LOOK_EVERY: u64 = 20_000;
const HEARTBEAT_EVERY: u64 = 100_000;
const ANSWER_MAX: u64 = 250_000;
/// Half of the lag that leaders allow.
const REVIEW_EVERY: u64 = 75_000;

impl Cluster {
    pub(super) fn live(&mut self, party: Party) {
        self.after(LOOK_EVERY, Event::Live(party));
        let (now, id) = (self.now(), self.machines[party.node].id);
        let Some(process) = self.process(party.node).filter(|process| process.is_loaded) else { return };
        process.begins_to_serve(id);
        if process.session.review_due <= now {
            process.session.review_due = now + REVIEW_EVERY;
            process.replicas.review();
        }
        self.look(party.node);
        self.follow_leaders(party.node);
        self.propose(party.node);
        self.speak(party.node);
    }

    /// Sends the controller what is due.
    fn speak(&mut self, node: usize) {
        let (now, id, directory) = (self.now(), self.machines[node].id, self.machines[node].directory);
        let Some(process) = self.process(node) else { return };
        let is_waiting = process.session.asking.is_some_and(|(_, until)| now < until);
        if is_waiting || now < process.session.heartbeat_due {
            return;
        }
        let command = match process.session.epoch {
            None => ToController::Register(Registration {
                id,
                cluster_id: CLUSTER.to_owned(),
                incarnation: process.incarnation,
                directory,
                previous_epoch: process.session.previous_epoch,
                endpoints: Vec::new(),
                features: supported_features(),
                rack: None,
            }),
            Some(epoch) => ToController::Heartbeat(Heartbeat {
                id,
                epoch,
                metadata_offset: process.image.end_offset.advance(-1),
                wants_fence: process.broker_epoch(id) != Some(epoch),
                wants_shutdown: process.session.stops,
                offline_directories: Vec::new(),
            }),
        };
        let request = self.number();
        self.process(node).unwrap().session.asking = Some((request, now + ANSWER_MAX));
        self.command(node, request, command);
    }

    /// To the node that this one takes for the controller.
    pub(super) fn command(&mut self, node: usize, request: u64, command: ToController) {
        let leader = self.world.nodes[node].raft.as_ref().and_then(|raft| raft.leader().leader);
        let Some(to) = leader.map(node_of) else { return };
        let caller = Caller { party: self.party(node), request };
        self.send(node, to, Event::Command { to, caller, command });
    }

    pub(super) fn take_answer(&mut self, to: Caller, answer: Answer) {
        let (node, now) = (to.party.node, self.now());
        let process = self.process(node).unwrap();
        if let Some(proposing) = process.proposing.take_if(|proposing| proposing.request == to.request) {
            return self.altered(node, proposing.asked, answer);
        }
        if process.session.asking.is_none_or(|(request, _)| request != to.request) {
            return;
        }
        process.session.asking = None;
        match answer {
            Answer::Registered(Ok(epoch)) => process.session.epoch = Some(epoch),
            Answer::Heartbeat(Ok(answer)) if answer.should_shut_down && process.session.stops => self.let_go(node),
            Answer::Heartbeat(Ok(answer)) => {
                let is_expecting = answer.is_fenced || process.session.stops;
                process.session.heartbeat_due = now + if is_expecting { LOOK_EVERY } else { HEARTBEAT_EVERY };
            }
            // Another process is registered, or none: the logs are this one's.
            Answer::Heartbeat(Err(_)) => (process.session.epoch, process.session.previous_epoch) = (None, None),
            Answer::Registered(Err(_)) | Answer::Altered(_) | Answer::None => {}
        }
    }

    /// A clean stop: everything on disk, the clean-shutdown file last.
    fn let_go(&mut self, node: usize) {
        let process = self.process(node).unwrap();
        process.replicas.close(process.session.epoch.unwrap());
        self.machines[node].process = None;
        self.world.resign_and_kill(node);
        self.observe();
    }

    pub(super) fn connection_lost(&mut self, node: usize, broker: BrokerId, epoch: BrokerEpoch) {
        self.tell(node, Command::ConnectionLost { broker, epoch });
    }

    pub(super) fn probed(&mut self, node: usize, broker: BrokerId, epoch: BrokerEpoch, outcome: ProbeOutcome) {
        self.tell(node, Command::Probed { broker, epoch, outcome });
    }
}

impl Process {
    /// Whether the metadata shows it unfenced for the first time.
    pub(super) fn begins_to_serve(&mut self, id: BrokerId) -> bool {
        let is_unfenced = self.image.brokers.get(&id).is_some_and(|broker| !broker.fenced);
        self.serves |= is_unfenced && self.is_registered(&self.image, id);
        self.serves
    }
}
