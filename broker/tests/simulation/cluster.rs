//! The machines, the simulation of the quorum below them, and one queue of events: the world's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::{IncarnationId, Timestamp};
use raft_simulation::node::Node;
use raft_simulation::random::Random;
use raft_simulation::volume;
use raft_simulation::world::{Happening, Step, World};
use storage::MetaProperties;
use storage::faulty::FaultyDisk;
use uuid::Uuid;

use super::clients::Clients;
use super::contents::Contents;
use super::controllers::{Controller, settings};
use super::facts::{self, Fact, Scene};
use super::groups::Group;
use super::history::History;
use super::machine::{Machine, Process, Session};
use super::messages::{Event, Party};
use super::options::Options;
use super::truth::Truths;
use crate::clock;
use crate::controller::testing::CLUSTER;
use crate::coordinator::simulated::SimulatedCoordinators;
use crate::metadata::Image;
use crate::replica::simulated::{SimulatedReplicas, format};

/// The wall clocks at the start of a run.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// A client that waits longer gives up.
const LATENCY_MAX: u64 = 400_000;

pub(super) struct Cluster {
    pub(super) options: Options,
    pub(super) world: World,
    pub(super) machines: Vec<Machine>,
    pub(super) contents: Contents,
    pub(super) clients: Clients,
    pub(super) group: Group,
    pub(super) history: History,
    pub(super) truths: Truths,
    /// The committed metadata, as far as any node knows.
    pub(super) committed: Image,
    events: BTreeMap<u64, Event>,
    last_number: u64,
    /// When the last message from one node to another arrives: on one connection the order is kept.
    arrivals: BTreeMap<(usize, usize), u64>,
}

impl Cluster {
    pub(super) fn new(options: Options, world: World) -> Self {
        let machine = |node: &Node| Machine {
            id: node.id,
            directory: node.volume.directory_id,
            disks: BTreeMap::new(),
            life: 0,
            wall_ahead_ms: 0,
            process: None,
        };
        let machines = world.nodes.iter().map(machine).collect();
        let mut cluster = Self {
            options,
            world,
            machines,
            contents: Contents::new(),
            clients: Clients::new(),
            group: Group::new(),
            history: History::default(),
            truths: Truths::default(),
            committed: Image::empty(),
            events: BTreeMap::new(),
            last_number: 0,
            arrivals: BTreeMap::new(),
        };
        cluster.start_clients();
        cluster.after(options.disturb_every_micros, Event::Disturb);
        cluster
    }

    /// Runs until the time has come or an invariant is broken.
    pub(super) fn run_until(&mut self, end: u64) {
        loop {
            match self.world.step_until(end) {
                Step::Over => break,
                Step::Quorum => self.observe(),
                Step::Outside(number) => {
                    let event = self.events.remove(&number).unwrap();
                    self.happen(event);
                    self.observe();
                }
            }
        }
        self.world.now = self.world.now.max(end);
    }

    pub(super) fn now(&self) -> u64 {
        self.world.now
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.world.random
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn at(&mut self, time: u64, event: Event) {
        let number = self.number();
        self.events.insert(number, event);
        self.world.at(time, Happening::Outside(number));
    }

    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now() + wait, event);
    }

    /// Delivered in the order of sending, or lost.
    pub(super) fn send(&mut self, from: usize, to: usize, event: Event) {
        if let Some(wait) = self.latency(from, to) {
            let last = self.arrivals.get(&(from, to)).copied().unwrap_or(0);
            let at = (self.now() + wait).max(last);
            self.arrivals.insert((from, to), at);
            self.at(at, event);
        }
    }

    /// Delivered in any order.
    pub(super) fn send_loosely(&mut self, from: usize, to: usize, event: Event) {
        if let Some(wait) = self.latency(from, to) {
            self.after(wait, event);
        }
    }

    /// None: it is lost.
    fn latency(&mut self, from: usize, to: usize) -> Option<u64> {
        let World { network, random, .. } = &mut self.world;
        let is_lost = network.is_cut(from, to) || network.loses(random);
        (!is_lost).then(|| network.latency(random).min(LATENCY_MAX))
    }

    /// The time of the machine's own clock.
    pub(super) fn local_time(&self, node: usize) -> Duration {
        self.world.nodes[node].clock.local(self.now())
    }

    pub(super) fn party(&self, node: usize) -> Party {
        Party { node, life: self.machines[node].life }
    }

    /// The true wall-clock time.
    pub(super) fn wall(&self) -> Timestamp {
        Timestamp(EPOCH_MS + i64::try_from(self.now() / 1000).unwrap())
    }

    pub(super) fn is_paused(&self, node: usize) -> bool {
        self.now() < self.world.nodes[node].paused_until
    }

    /// The process on the machine. From here on the time is that of its clocks.
    pub(super) fn process(&mut self, node: usize) -> Option<&mut Process> {
        let wall = Timestamp(self.wall().0 + self.machines[node].wall_ahead_ms);
        clock::simulated::set(self.local_time(node), wall);
        self.machines[node].process.as_mut()
    }

    pub(super) fn see(&mut self, fact: &Fact) {
        // An image has no order that could be traced.
        match fact {
            Fact::Metadata { .. } => self.world.note(("metadata", self.committed.end_offset)),
            fact => self.world.note(fact),
        }
        self.truths.lose(fact, &self.machines);
        self.truths.extend(fact, &self.machines);
        let scene = Scene { machines: &self.machines, truths: &self.truths, committed: &self.committed };
        if let Err(violation) = facts::check(fact, scene) {
            self.world.violation.get_or_insert(violation);
        }
    }

    fn happen(&mut self, event: Event) {
        let paused = event.node().map_or(0, |node| self.world.nodes[node].paused_until);
        if self.now() < paused {
            return self.at(paused, event);
        }
        let is_current = |party: Party| party == self.party(party.node) && self.machines[party.node].process.is_some();
        if !event.party().is_none_or(is_current) {
            return;
        }
        self.world.note(&event);
        match event {
            Event::Live(party) => self.live(party),
            Event::Tick(party, tick) => self.tick(party.node, tick),
            Event::Flush(party) => self.flush(party),
            Event::Sync(party, key) => self.sync(party.node, key),
            Event::Command { to, caller, command } => self.take_command(to, caller, command),
            Event::Answer { to, answer } => self.take_answer(to, answer),
            Event::ConnectionLost { to, broker, epoch } => self.connection_lost(to, broker, epoch),
            Event::Dial { from, broker, epoch, incarnation } => self.dialled(from, broker, epoch, incarnation),
            Event::Probed { to, broker, epoch, outcome } => self.probed(to.node, broker, epoch, outcome),
            Event::Fetch { to, caller, epoch, asked, waits_until } => self.fetch(to, caller, epoch, asked, waits_until),
            Event::Fetched { to, asked, told } => self.fetched(to, &asked, told),
            Event::Produce { to, client, connection, request, key, batch } => {
                self.produce(to, (client, request), connection, key, &batch);
            }
            Event::Produced { client, request, outcome } => self.produced(client, request, outcome),
            Event::Poll { to, client, request, key, offset, epoch } => {
                self.poll(to, (client, request), key, offset, epoch);
            }
            Event::Polled { client, request, epoch, outcome } => self.polled(client, request, epoch, outcome),
            Event::Client(client) => self.go_on(client),
            Event::AskGroup { to, asked } => self.ask_group(to, asked),
            Event::Members => self.step_members(),
            Event::Coordinate(party) => self.coordinate(party),
            Event::Clean(party) => self.clean(party),
            Event::Disturb => self.disturb(),
            Event::LinksHeal => self.world.network.heal_links(),
        }
    }

    /// Takes over what has happened to the nodes since the last call.
    pub(super) fn observe(&mut self) {
        for node in 0..self.machines.len() {
            let (life, directory) = (self.world.nodes[node].incarnation, self.world.nodes[node].volume.directory_id);
            if life != self.machines[node].life {
                self.stopped(node, life);
            }
            self.machines[node].directory = directory;
            if self.world.nodes[node].raft.is_some() && self.machines[node].process.is_none() {
                self.started(node);
            }
            self.follow_metadata(node);
            self.follow_leadership(node);
        }
    }

    fn stopped(&mut self, node: usize, life: u64) {
        let has_power = self.world.nodes[node].has_power;
        let machine = &mut self.machines[node];
        machine.life = life;
        machine.process = None;
        let (id, disk) = (machine.id, machine.disks.get(&machine.directory).cloned());
        if !has_power {
            let random = &mut self.world.random;
            if let Some(disk) = disk {
                disk.crash(&mut || random.draw());
            }
            return;
        }
        let Some(epoch) = self.committed.brokers.get(&id).map(|broker| broker.epoch) else { return };
        for to in (0..self.machines.len()).filter(|to| *to != node) {
            self.send(node, to, Event::ConnectionLost { to, broker: id, epoch });
        }
    }

    fn started(&mut self, node: usize) {
        let incarnation = IncarnationId(Uuid::from_u128(self.number().into()));
        let Machine { id, directory, .. } = self.machines[node];
        let party = self.party(node);
        self.process(node);
        let disk = self.machines[node].disks.entry(directory).or_insert_with(|| {
            let disk = Arc::new(FaultyDisk::new());
            format(
                &disk,
                &MetaProperties { cluster_id: CLUSTER.parse().unwrap(), node_id: id, directory_id: directory },
            );
            disk
        });
        let replicas = SimulatedReplicas::open(disk, id, settings());
        let published = Arc::new(ArcSwap::from_pointee(Image::empty()));
        let coordinators = SimulatedCoordinators::new(replicas.group_logs(published.clone()), published.clone());
        let session = Session { previous_epoch: replicas.previous_epoch, ..Session::default() };
        self.machines[node].process = Some(Process {
            incarnation,
            replicas,
            coordinators,
            image: Image::empty(),
            published,
            is_loaded: false,
            serves: false,
            session,
            fetching: BTreeMap::new(),
            proposals: Vec::new(),
            proposing: None,
            syncing: std::collections::BTreeSet::new(),
            unsettled: Vec::new(),
            connections: BTreeMap::new(),
            controller: Controller::new(id, directory, incarnation),
            copies: BTreeMap::new(),
        });
        self.after(0, Event::Live(party));
        let wait = self.random().between(1000, 200_000);
        self.after(wait, Event::Flush(party));
        self.after(wait, Event::Clean(party));
        self.after(0, Event::Coordinate(party));
    }

    /// Committed metadata is followed as soon as the node knows of it.
    fn follow_metadata(&mut self, node: usize) {
        let Some(raft) = &self.world.nodes[node].raft else { return };
        // The content of the snapshot was committed. How much more is, only the quorum can tell.
        let has_heard = raft.has_heard_commits() || self.world.nodes[node].is_active_controller();
        let (committed, log_end) = (raft.high_watermark(), raft.log_end());
        let volume = &self.world.nodes[node].volume;
        let end = committed.min(log_end).min(volume::position(volume.log.end()));
        let Some(process) = &self.machines[node].process else { return };
        if end <= process.image.end_offset {
            return;
        }
        let image = self.contents.image(volume, volume::offset(end));
        self.committed_up_to(node, &image);
        let process = self.process(node).unwrap();
        if process.is_loaded {
            let before = std::mem::replace(&mut process.image, image.clone());
            process.replicas.apply(&before, &image);
        } else if has_heard && committed <= end {
            process.image = image.clone();
            process.replicas.load(&image);
            process.is_loaded = true;
        }
        if process.is_loaded {
            process.published.store(Arc::new(image));
            process.coordinators.follow_metadata();
        }
        if let Some(reason) = process.replicas.failure() {
            self.world.violation.get_or_insert_with(|| format!("node {node} gives its disk up: {reason}"));
        }
        self.look(node);
        self.follow_leaders(node);
    }

    /// Each committed batch is seen once.
    fn committed_up_to(&mut self, node: usize, image: &Image) {
        if image.end_offset <= self.committed.end_offset {
            return;
        }
        let log = &self.world.nodes[node].volume.log;
        let (first, last) = (volume::offset(self.committed.end_offset), volume::offset(image.end_offset));
        let ends: Vec<_> = (first + 1..=last).filter(|end| log.start < *end && log.batch_end(*end) == *end).collect();
        let is_whole = log.start <= first;
        for end in ends {
            let after = self.contents.image(&self.world.nodes[node].volume, end);
            let before = std::mem::replace(&mut self.committed, after);
            if is_whole {
                self.see(&Fact::Metadata { before: Box::new(before) });
            }
        }
        self.committed = image.clone();
    }
}
