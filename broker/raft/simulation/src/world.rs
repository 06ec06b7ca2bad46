//! Nodes, the network between them, and a queue of future events: stands in for the runtime and the clocks, and
//! causes the faults.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::types::BrokerId;
use raft::{Event, KRaftVersion, LogGeneration, Quorum, Raft, Request, RequestId, SnapshotId, Token};

use crate::facts::{Fact, Invariants};
use crate::network::Network;
use crate::node::{Clock, Node, Payload, directory, voter};
use crate::random::Random;
use crate::schedule::Schedule;
use crate::volume::{Snapshot, Volume};

#[derive(Debug, Clone)]
pub enum Happening {
    Request {
        to: usize,
        asked: Asked,
        request: Request,
    },
    /// The outcome of a request of the node.
    Outcome {
        to: usize,
        incarnation: u64,
        event: Event,
        payload: Payload,
    },
    ElectionDurable {
        node: usize,
        incarnation: u64,
    },
    Synced {
        node: usize,
        incarnation: u64,
        changes: u64,
        end: usize,
        generation: LogGeneration,
    },
    SnapshotChecked {
        node: usize,
        incarnation: u64,
        snapshot: Box<Snapshot>,
        is_damaged: bool,
    },
    Restart {
        node: usize,
        incarnation: u64,
    },
    Propose,
    Fault,
    /// An event beyond the quorum, by a number that its owner knows.
    Outside(u64),
}

/// When an event is due, and its place among those due at the same time.
pub type Turn = (u64, u64);

/// What a step was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Quorum,
    /// For the owner to carry out.
    Outside(u64),
    /// Nothing is left to happen in time, or an invariant is broken.
    Over,
}

/// The sender of a request, who waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub from: usize,
    pub incarnation: u64,
    pub id: RequestId,
}

/// A request that a node has not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    pub at: usize,
    /// None: an administrator who wants to change the voters.
    pub asked: Option<Asked>,
    pub is_pre_vote: bool,
}

#[derive(Debug)]
pub struct World {
    pub schedule: Schedule,
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<raft::Bug>,
    pub now: u64,
    pub random: Random,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub tokens: BTreeMap<Token, Waiting>,
    pub last_token: u64,
    pub invariants: Invariants,
    pub violation: Option<String>,
    pub is_healed: bool,
    queue: BTreeMap<Turn, Box<Happening>>,
    sequence: u64,
    trace: Option<Trace>,
}

/// A trace of all events.
#[derive(Debug, Default)]
struct Trace {
    hasher: DefaultHasher,
    prints: bool,
}

impl World {
    pub fn new(schedule: Schedule) -> Self {
        let mut random = Random::new(schedule.seed);
        let initial = (0..schedule.voters).map(|index| {
            let id = BrokerId(i32::try_from(index).unwrap());
            voter(raft::ReplicaKey { id, directory_id: directory(id, 0) }, PORT)
        });
        let quorum = Quorum { kraft_version: KRaftVersion::DYNAMIC_VOTERS, voters: initial.collect() };
        let formatted = Snapshot { id: SnapshotId::default(), quorum, chain: 0 };
        let nodes = (0..schedule.nodes()).map(|index| {
            let snapshot = (index < schedule.voters).then(|| formatted.clone());
            new_node(index, snapshot, schedule.clock_drift_permille, &mut random)
        });
        let nodes = nodes.collect();
        let mut world = Self {
            schedule,
            #[cfg(feature = "planted-bugs")]
            bug: None,
            now: 0,
            random,
            nodes,
            network: Network::default(),
            tokens: BTreeMap::new(),
            last_token: 0,
            invariants: Invariants::default(),
            violation: None,
            is_healed: false,
            queue: BTreeMap::new(),
            sequence: 0,
            trace: None,
        };
        for node in 0..world.nodes.len() {
            let at = world.random.below(100_000);
            world.at(at, Happening::Restart { node, incarnation: 0 });
        }
        world.at(schedule.propose_every_micros, Happening::Propose);
        world.at(schedule.fault_every_micros, Happening::Fault);
        world
    }

    /// Traces everything, and prints it if asked to.
    #[must_use]
    pub fn traced(mut self, prints: bool) -> Self {
        self.trace = Some(Trace { hasher: DefaultHasher::new(), prints });
        self
    }

    pub fn fingerprint(&self) -> u64 {
        self.trace.as_ref().unwrap().hasher.finish()
    }

    pub fn note(&mut self, what: impl Debug) {
        let Some(trace) = &mut self.trace else { return };
        let line = format!("{:>10} {what:?}", self.now);
        line.hash(&mut trace.hasher);
        if trace.prints {
            println!("{line}");
        }
    }

    pub fn at(&mut self, time: u64, happening: Happening) {
        let turn = self.turn(time);
        self.queue.insert(turn, Box::new(happening));
    }

    /// After everything that is due at that time.
    fn turn(&mut self, time: u64) -> Turn {
        self.sequence += 1;
        (time.max(self.now), self.sequence)
    }

    pub fn after(&mut self, wait: u64, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    /// Runs until the time has come or an invariant is broken.
    pub fn run_until(&mut self, end: u64) {
        while self.step_until(end) != Step::Over {}
        self.now = self.now.max(end);
    }

    /// One event that is due before `end`.
    pub fn step_until(&mut self, end: u64) -> Step {
        let next = self.next().filter(|((time, _), _)| *time < end && self.violation.is_none());
        let Some(((time, _), alarm)) = next else { return Step::Over };
        self.now = time;
        if let Some(node) = alarm {
            self.ring(node);
            return Step::Quorum;
        }
        let (_, happening) = self.queue.pop_first().unwrap();
        match *happening {
            Happening::Outside(number) => Step::Outside(number),
            happening => {
                self.happen(happening);
                Step::Quorum
            }
        }
    }

    /// When something is due next, and whose timer it is; none if it is in the queue.
    fn next(&self) -> Option<(Turn, Option<usize>)> {
        let alarms = (0..).zip(&self.nodes).filter_map(|(index, node)| Some((node.alarm?, Some(index))));
        alarms.chain(self.queue.first_key_value().map(|(turn, _)| (*turn, None))).min()
    }

    /// The engine's timer is due, or will be when the process continues.
    fn ring(&mut self, index: usize) {
        let paused_until = self.nodes[index].paused_until;
        if self.now < paused_until {
            self.nodes[index].alarm = Some(self.turn(paused_until));
            return;
        }
        self.nodes[index].alarm = None;
        self.step(index, Event::Timer, &Payload::Nothing);
    }

    pub fn see(&mut self, fact: &Fact<'_>) {
        if let Err(violation) = self.invariants.see(fact, self.now, &self.nodes) {
            self.violation.get_or_insert(violation);
        }
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(node) = happening.node().filter(|node| self.now < self.nodes[*node].paused_until) {
            return self.at(self.nodes[node].paused_until, happening);
        }
        match happening {
            Happening::Request { to, asked, request } => self.receive(to, asked, request),
            Happening::Outcome { to, incarnation, event, payload } if self.is_same_process(to, incarnation) => {
                self.nodes[to].hear(&event, self.now);
                self.step(to, event, &payload);
            }
            Happening::ElectionDurable { node, incarnation } if self.is_same_process(node, incarnation) => {
                self.nodes[node].volume.sync_election();
                self.nodes[node].is_persisting = false;
                self.carry_out(node);
            }
            Happening::Synced { node, incarnation, changes, end, generation }
                if self.is_same_process(node, incarnation) =>
            {
                self.nodes[node].volume.sync(changes);
                let end_offset = crate::volume::position(end);
                self.step(node, Event::Persisted { end_offset, generation }, &Payload::Nothing);
            }
            Happening::SnapshotChecked { node, incarnation, snapshot, is_damaged }
                if self.is_same_process(node, incarnation) =>
            {
                let id = snapshot.id;
                let finished = Event::SnapshotFinished { id, quorum: snapshot.quorum.clone() };
                let event = if is_damaged { Event::SnapshotDamaged { id } } else { finished };
                self.step(node, event, &Payload::Snapshot((*snapshot).into()));
            }
            Happening::Restart { node, incarnation } => self.restart(node, incarnation),
            Happening::Propose => self.propose(),
            Happening::Fault => self.fault(),
            // Was meant for a process that no longer exists.
            Happening::Outcome { .. }
            | Happening::ElectionDurable { .. }
            | Happening::Synced { .. }
            | Happening::SnapshotChecked { .. }
            | Happening::Outside(_) => {}
        }
    }

    fn is_same_process(&self, node: usize, incarnation: u64) -> bool {
        let node = &self.nodes[node];
        node.raft.is_some() && node.incarnation == incarnation
    }

    pub fn restart(&mut self, index: usize, incarnation: u64) {
        let bootstrap = self.nodes.iter().map(Node::address).collect();
        let node = &mut self.nodes[index];
        if node.raft.is_some() || node.incarnation != incarnation {
            return;
        }
        node.has_power = true;
        let moment = node.moment(self.now, &mut self.random);
        let (raft, actions) = Raft::start(node.config(bootstrap), node.volume.restore(), moment);
        node.raft = Some(raft);
        #[cfg(feature = "planted-bugs")]
        if let (Some(bug), Some(raft)) = (self.bug, &mut self.nodes[index].raft) {
            raft.plant(bug);
        }
        self.note(("start", index, self.nodes[index].key()));
        self.see(&Fact::Started { node: index });
        self.do_all(index, actions, &Payload::Nothing);
    }

    pub fn step(&mut self, index: usize, event: Event, payload: &Payload) {
        self.note((index, &event));
        let node = &mut self.nodes[index];
        let moment = node.moment(self.now, &mut self.random);
        let Some(raft) = node.raft.as_mut().filter(|_| node.failure.is_none()) else { return };
        let actions = raft.step(event, moment);
        self.do_all(index, actions, payload);
    }

    fn do_all(&mut self, index: usize, actions: Vec<raft::Action>, payload: &Payload) {
        self.note((index, &actions));
        let node = &mut self.nodes[index];
        node.todo.extend(actions.into_iter().map(|action| (action, payload.clone())));
        self.carry_out(index);
        self.see(&Fact::Stepped { node: index });
        self.set_alarm(index);
    }

    fn set_alarm(&mut self, index: usize) {
        let node = &self.nodes[index];
        let timer = node.raft.as_ref().and_then(Raft::next_timer).map(|timer| node.clock.global(timer));
        self.nodes[index].alarm = timer.map(|at| self.turn(at));
    }

    fn propose(&mut self) {
        let every = self.schedule.propose_every_micros;
        let wait = self.random.between(every / 2, every + every / 2);
        self.after(wait, Happening::Propose);
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_active_controller() && self.nodes[index].paused_until <= self.now {
                self.append(index);
            }
        }
    }
}

pub const PORT: u16 = 9093;

fn new_node(index: usize, snapshot: Option<Snapshot>, drift: u64, random: &mut Random) -> Node {
    let id = BrokerId(i32::try_from(index).unwrap());
    Node {
        id,
        volume: Volume::new(directory(id, 0), snapshot),
        shelf: Vec::new(),
        raft: None,
        incarnation: 0,
        port: PORT,
        has_power: true,
        paused_until: 0,
        went_back: false,
        failure: None,
        todo: std::collections::VecDeque::new(),
        is_persisting: false,
        alarm: None,
        partial: None,
        clock: Clock {
            offset_micros: random.below(10_000_000),
            rate_permille: random.between(1000 - drift, 1000 + drift),
        },
        is_slow_disk: false,
        generation: LogGeneration::default(),
        fetch: None,
        heard: None,
    }
}

impl Happening {
    /// The node of the event: a paused process notices nothing.
    fn node(&self) -> Option<usize> {
        match self {
            Self::Request { to: node, .. }
            | Self::Outcome { to: node, .. }
            | Self::ElectionDurable { node, .. }
            | Self::Synced { node, .. }
            | Self::SnapshotChecked { node, .. } => Some(*node),
            Self::Restart { .. } | Self::Propose | Self::Fault | Self::Outside(_) => None,
        }
    }
}
