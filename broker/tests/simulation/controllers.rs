//! The controllers, run as by the control thread of each node: the active one decides on a speculative image,
//! appends, and answers once it is committed.

use std::sync::Arc;
use std::time::Duration;

use protocol::config::{Scope, Values};
use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId, Offset, Timestamp};
use raft::Raft;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::cluster::Cluster;
use super::machine::node_of;
use super::messages::{Answer, Caller, Event, Party, ToController};
use crate::controller::active::Active;
use crate::controller::batches::{Batches, Record};
use crate::controller::command::{Awaits, Command, Reply};
use crate::controller::decide::Decider;
use crate::controller::group::Group;
use crate::controller::handle::Outside;
use crate::controller::heard::Heard;
use crate::controller::min_insync_replicas;
use crate::controller::runtime::ControllerContext;
use crate::controller::suspicion::{Probe, ProbeOutcome};
use crate::controller::testing::CLUSTER;
use crate::controller::topics::TopicDefaults;

/// Timeouts of the simulation, which runs five times as fast as the defaults.
const SETTINGS: [(&str, &str); 5] = [
    ("min.insync.replicas", "2"),
    ("broker.session.timeout.ms", "600"),
    ("replica.lag.time.max.ms", "150"),
    ("num.recovery.threads.per.data.dir", "1"),
    ("leader.imbalance.check.interval.seconds", "1"),
];
/// Pause before a decision that is not possible at the moment is tried again.
const PAUSE: u64 = 1000;

pub(super) struct Controller {
    decider: Decider,
    probes: mpsc::Receiver<Probe>,
    active: Option<Active>,
    /// Only the latest counts.
    tick: u64,
    replies: Vec<Pending>,
}

/// An answer that waits for the commit.
struct Pending {
    caller: Caller,
    /// None: not yet.
    poll: Box<dyn FnMut() -> Option<Answer>>,
}

pub(super) fn settings() -> Values {
    let (values, errors) = Values::parse(Scope::Broker, SETTINGS);
    assert!(errors.is_empty(), "{errors:?}");
    values
}

impl Controller {
    pub(super) fn new(id: BrokerId, directory_id: DirectoryId, incarnation: IncarnationId) -> Self {
        let (sender, probes) = mpsc::channel(64);
        let outside = Outside { heard: Arc::new(Heard::default()), probes: sender };
        let values = settings();
        let context = ControllerContext {
            id,
            directory_id,
            cluster_id: CLUSTER.parse().unwrap(),
            incarnation,
            topic_defaults: TopicDefaults { partitions: 1, replication_factor: 3 },
            broker_replicas_max: 1000,
            session_timeout: values.get_millis("broker.session.timeout.ms"),
            file_values: values,
        };
        Self { decider: Decider::new(context, outside), probes, active: None, tick: 0, replies: Vec::new() }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }
}

impl Cluster {
    /// Follows the quorum's leadership, and what it has committed.
    pub(super) fn follow_leadership(&mut self, node: usize) {
        let raft = self.world.nodes[node].raft.as_ref();
        let (leading, log_end) = (raft.and_then(Raft::leading), raft.map(Raft::log_end));
        let may_append = self.world.nodes[node].is_active_controller();
        let now = self.local_time(node);
        let Some(process) = self.process(node) else { return };
        let controller = &mut process.controller;
        let leads = |active: &Active| leading.is_some_and(|leading| leading.epoch == active.epoch);
        if controller.active.as_ref().is_some_and(|active| !leads(active)) {
            controller.active = None;
            controller.replies.clear();
            controller.decider.resigned();
        }
        if let Some(active) = &mut controller.active {
            answer_up_to(active, process.image.end_offset);
            return self.reply(node);
        }
        let Some(leading) = leading.filter(|_| may_append && Some(process.image.end_offset) == log_end) else { return };
        let active = Active::new(leading.epoch, process.image.clone());
        controller.decider.activated(active.image(), now);
        let mut group = Group::new(active.image());
        group.add(&min_insync_replicas::missing_cluster_values(active.image(), &settings())).unwrap();
        controller.active = Some(active);
        self.append(node, group);
        self.tick_after(node, Duration::ZERO);
    }

    fn tick_after(&mut self, node: usize, at: Duration) {
        let party = self.party(node);
        let Some(process) = self.process(node) else { return };
        process.controller.tick += 1;
        let tick = process.controller.tick;
        let at = self.world.nodes[node].clock.global(at);
        self.at(at, Event::Tick(party, tick));
    }

    pub(super) fn tick(&mut self, node: usize, tick: u64) {
        self.learn_control(node);
        let (now, is_ready) = (self.local_time(node), self.is_ready(node));
        let Some(process) = self.process(node) else { return };
        if process.controller.tick != tick || !process.controller.is_active() {
            return;
        }
        if !is_ready {
            let party = self.party(node);
            return self.after(PAUSE, Event::Tick(party, tick));
        }
        let controller = &mut process.controller;
        let mut group = Group::new(controller.active.as_ref().unwrap().image());
        let deadline = controller.decider.tick(&mut group, now);
        let first = super::topics::records(&group.image);
        group.add(&first).unwrap();
        self.append(node, group);
        self.dial(node);
        self.tick_after(node, deadline);
    }

    /// Whether the controller on the node can append now.
    fn is_ready(&self, node: usize) -> bool {
        self.world.nodes[node].is_active_controller()
    }

    pub(super) fn take_command(&mut self, node: usize, caller: Caller, command: ToController) {
        let is_active = self.process(node).is_some_and(|process| process.controller.is_active());
        if !is_active {
            return self.answer(node, caller, Answer::None);
        }
        if !self.is_ready(node) {
            return self.after(PAUSE, Event::Command { to: node, caller, command });
        }
        match command {
            ToController::Register(registration) => {
                let command = |reply| Command::RegisterBroker { registration, reply };
                self.ask(node, caller, command, Answer::Registered);
            }
            ToController::Heartbeat(heartbeat) => {
                self.ask(node, caller, |reply| Command::Heartbeat { heartbeat, reply }, Answer::Heartbeat);
            }
            ToController::AlterPartition(request) => {
                self.ask(node, caller, |reply| Command::AlterPartition { request, reply }, Answer::Altered);
            }
        }
    }

    fn ask<T: 'static>(
        &mut self,
        node: usize,
        caller: Caller,
        command: impl FnOnce(Reply<T>) -> Command,
        wrap: fn(T) -> Answer,
    ) {
        let (reply, mut answer) = oneshot::channel();
        let poll = Box::new(move || match answer.try_recv() {
            Ok(Ok(answer)) => Some(wrap(answer)),
            Ok(Err(_)) | Err(TryRecvError::Closed) => Some(Answer::None),
            Err(TryRecvError::Empty) => None,
        });
        self.process(node).unwrap().controller.replies.push(Pending { caller, poll });
        self.tell(node, command(reply));
    }

    /// The active controller decides, if there is one and it can.
    pub(super) fn tell(&mut self, node: usize, command: Command) {
        self.learn_control(node);
        let (now, is_ready) = (self.local_time(node), self.is_ready(node));
        let Some(process) = self.process(node).filter(|_| is_ready) else { return };
        let controller = &mut process.controller;
        let Some(active) = &mut controller.active else { return };
        let mut group = Group::new(active.image());
        let left = controller.decider.decide(&mut group, command, now);
        assert!(left.is_none(), "brokers ask for little at a time");
        self.append(node, group);
        self.dial(node);
    }

    /// Learns of records that the quorum has written itself.
    fn learn_control(&mut self, node: usize) {
        let leading = self.world.nodes[node].raft.as_ref().and_then(Raft::leading);
        let active = self.machines[node].process.as_mut().and_then(|process| process.controller.active.as_mut());
        if let (Some(leading), Some(active)) = (leading, active)
            && leading.epoch == active.epoch
            && active.image().end_offset < leading.base_offset
        {
            active.control_appended(&[], leading.base_offset, Timestamp(0));
        }
    }

    fn append(&mut self, node: usize, group: Group) {
        let leading = self.world.nodes[node].raft.as_ref().and_then(Raft::leading);
        let Some(leading) = leading else { return };
        let Some(active) = &mut self.machines[node].process.as_mut().unwrap().controller.active else { return };
        assert_eq!(active.image().end_offset, leading.base_offset, "decided on everything in the log");
        let batches: Vec<_> = group.batches.iter().map(|batch| decode(&batch.records.bytes)).collect();
        active.appended(group);
        let end = active.image().end_offset;
        for records in batches {
            let chains = self.world.append_batch(node, records.len());
            assert!(!chains.is_empty() || !self.is_ready(node), "who leads can append");
            for (chain, record) in chains.into_iter().zip(records) {
                self.world.note((node, &record));
                self.contents.add(chain, record);
            }
        }
        let log_end = self.world.nodes[node].raft.as_ref().filter(|raft| raft.leading().is_some()).map(Raft::log_end);
        assert!(log_end.is_none_or(|log_end| log_end == end), "every record has one offset");
        let process = self.machines[node].process.as_mut().unwrap();
        if let Some(active) = &mut process.controller.active {
            answer_up_to(active, process.image.end_offset);
        }
        self.reply(node);
    }

    fn reply(&mut self, node: usize) {
        let Some(process) = self.process(node) else { return };
        let mut answered = Vec::new();
        process.controller.replies.retain_mut(|pending| match (pending.poll)() {
            Some(answer) => {
                answered.push((pending.caller, answer));
                false
            }
            None => true,
        });
        for (caller, answer) in answered {
            self.answer(node, caller, answer);
        }
    }

    fn answer(&mut self, node: usize, to: Caller, answer: Answer) {
        self.send(node, to.party.node, Event::Answer { to, answer });
    }

    /// Probes brokers that the controller suspects.
    fn dial(&mut self, node: usize) {
        let from = self.party(node);
        let Some(process) = self.process(node) else { return };
        let probes: Vec<_> = std::iter::from_fn(|| process.controller.probes.try_recv().ok()).collect();
        for Probe { broker, epoch, incarnation, .. } in probes {
            self.after(500, Event::Dial { from, broker, epoch, incarnation });
        }
    }

    pub(super) fn dialled(&mut self, from: Party, broker: BrokerId, epoch: BrokerEpoch, incarnation: IncarnationId) {
        let target = node_of(broker);
        let node = &self.world.nodes[target];
        let is_cut = self.world.network.is_cut(from.node, target) || self.world.network.is_cut(target, from.node);
        let outcome = if is_cut || !node.has_power || self.now() < node.paused_until {
            ProbeOutcome::Silent
        } else {
            match &self.machines[target].process {
                None => ProbeOutcome::Refused,
                Some(process) if process.incarnation == incarnation => ProbeOutcome::Alive,
                Some(_) => ProbeOutcome::OtherIncarnation,
            }
        };
        self.after(1000, Event::Probed { to: from, broker, epoch, outcome });
    }

    /// A node that is the active controller now, for a request.
    pub(super) fn active_controller(&self) -> Option<usize> {
        let is_active = |node: &usize| {
            let process = self.machines[*node].process.as_ref();
            let is_active = process.is_some_and(|process| process.controller.is_active());
            is_active && self.is_ready(*node) && !self.is_paused(*node)
        };
        let epoch = |node: &usize| self.world.nodes[*node].raft.as_ref().map(Raft::epoch);
        (0..self.machines.len()).filter(is_active).max_by_key(epoch)
    }
}

/// Committed metadata is followed at the same moment.
fn answer_up_to(active: &mut Active, end_offset: Offset) {
    for awaits in [Awaits::Commit, Awaits::Publication] {
        active.answer(awaits, end_offset);
    }
}

/// Decoded as on another node.
fn decode(batch: &[u8]) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for batch in Batches::new(batch) {
        let visited = batch.unwrap().visit(|record| {
            if let Record::Metadata(record) = record {
                records.push(record);
            }
            Ok(())
        });
        visited.unwrap();
    }
    records
}
