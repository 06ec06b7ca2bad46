//! The whole controller against five machines that crash, stop, lose their volumes, fall silent, are wrongly taken
//! for dead, replicate, and send requests based on stale metadata. Everything follows from the seed, which a failure
//! names.
//!
//! The simulation of the whole cluster (`broker/tests/simulation`) runs the same decisions on a real quorum and real
//! logs, and so covers fewer of them. Here each is cheap: thousands of histories of membership, with restart grants
//! and brokers that are unregistered, and an image that is checked after every batch.
//!
//! Replicas are lists of records. A crash loses any part of every log of the machine, so relying on a crashed copy is
//! detected; records are committed as leaders commit them (see [`machine`]).

pub(super) mod invariants;
mod machine;

use std::collections::BTreeMap;
use std::time::Duration;

use fuzz::random::Random;
use protocol::types::{BrokerId, DirectoryId, IncarnationId, PartitionId, TopicId};
use uuid::Uuid;

use super::alter_partition::AlterPartition;
use super::command::{Command, Reply, RestartWish};
use super::features::supported_features;
use super::heartbeats::Heartbeat;
use super::partition_change::Election;
use super::reassignments::FactorChange;
use super::registration::Registration;
use super::suspicion::{Probe, ProbeOutcome};
use super::testing::{Bench, CLUSTER, MIN_INSYNC_REPLICAS};
use super::topics::TopicSpec;
use crate::metadata::Image;
use machine::{Committed, Machine, Process};

const MACHINES: i32 = 5;
const TOPICS: i32 = 3;
const SEEDS: u64 = 200;
const STEPS: usize = 1500;

type Key = (TopicId, PartitionId);

/// A request of a leader in flight. It may arrive late, or twice.
#[derive(Debug, Clone)]
struct Sent {
    incarnation: IncarnationId,
    request: AlterPartition,
}

struct Simulation {
    random: Random,
    bench: Bench,
    machines: Vec<Machine>,
    in_flight: Vec<Sent>,
    committed: BTreeMap<Key, Committed>,
    next_id: u128,
    next_value: u32,
}

/// How often each thing has happened, because a run in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Tally {
    committed: usize,
    leaders: i32,
    unclean: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut simulation = Self {
            random: Random(seed),
            bench: Bench::new(Image::empty()),
            machines: Vec::new(),
            in_flight: Vec::new(),
            committed: BTreeMap::new(),
            next_id: 1,
            next_value: 0,
        };
        for id in 0..MACHINES {
            let volume = DirectoryId(simulation.uuid());
            simulation.machines.push(Machine::new(BrokerId(id), volume));
            let machine = usize::try_from(id).unwrap();
            simulation.start(machine);
            simulation.register(machine);
            simulation.catch_up(machine);
            simulation.heartbeat(machine);
        }
        for topic in 0..TOPICS {
            let replicas = (topic..topic + 3).map(|id| BrokerId(id % MACHINES)).collect();
            let spec = TopicSpec {
                assignments: vec![(PartitionId(0), replicas)],
                ..TopicSpec::with_defaults(format!("t{topic}"))
            };
            let created = simulation.ask(|reply| Command::CreateTopics {
                specs: vec![spec],
                created: Vec::new(),
                validate_only: false,
                reply,
            });
            assert!(created[0].is_ok(), "{created:?}");
        }
        simulation
    }

    fn run(mut self) -> Tally {
        for _ in 0..STEPS {
            self.bench.now += Duration::from_millis(self.random.below(40) as u64);
            self.step();
            self.tick();
        }
        let states: Vec<_> = self.bench.image.partitions().map(|(_, _, state)| state.leader_epoch.0).collect();
        Tally {
            committed: self.committed.values().map(|committed| committed.records.len()).sum(),
            leaders: states.iter().sum(),
            unclean: self.committed.values().map(|committed| committed.unclean).sum(),
        }
    }

    fn step(&mut self) {
        let machine = self.random.below(self.machines.len());
        match self.random.below(200) {
            0..=19 => self.heartbeat(machine),
            20..=29 => (0..self.machines.len()).for_each(|machine| self.heartbeat(machine)),
            30..=49 => self.catch_up(machine),
            50..=54 => (0..self.machines.len()).for_each(|machine| self.catch_up(machine)),
            55..=79 => self.produce(),
            80..=134 => self.fetch(),
            135..=154 => self.propose(),
            155..=169 => self.deliver(),
            170..=174 => self.bounce(),
            175..=182 => self.restart(machine),
            183..=184 => self.begin_to_stop(machine),
            185 => self.crash(machine),
            186 if self.random.below(2) == 0 => self.kill(machine),
            187 => self.replace_volume(machine),
            188..=189 => self.reassign(),
            190 => self.elect(),
            191..=192 => self.grant(machine),
            193 => self.unregister(machine),
            194 => self.resign(),
            195..=197 => self.lose_connection(machine),
            _ => self.bench.now += Duration::from_millis(400),
        }
        self.probe();
    }

    fn uuid(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(self.next_id)
    }

    fn any_partition(&mut self) -> Key {
        let keys: Vec<_> = self.bench.image.partitions().map(|(topic, id, _)| (topic.id, id)).collect();
        keys[self.random.below(keys.len())]
    }

    fn ask<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> T {
        let before = self.bench.image.clone();
        let answer = self.bench.ask(command);
        self.check(before);
        answer
    }

    fn tell(&mut self, command: Command) {
        let before = self.bench.image.clone();
        self.bench.tell(command);
        self.check(before);
    }

    fn tick(&mut self) {
        let before = self.bench.image.clone();
        self.bench.tick();
        self.check(before);
    }

    fn check(&mut self, mut before: Image) {
        for after in self.bench.images.drain(..) {
            invariants::check(&before, &after, MIN_INSYNC_REPLICAS);
            before = after;
        }
    }

    /// Starts a process on the machine's volume. The proof that the last one stopped cleanly is then gone.
    fn start(&mut self, machine: usize) {
        let incarnation = IncarnationId(self.uuid());
        let image = self.bench.image.clone();
        let machine = &mut self.machines[machine];
        if machine.process.is_none() {
            machine.process = Some(Process::new(incarnation, machine.clean.take(), image));
        }
    }

    fn restart(&mut self, machine: usize) {
        self.start(machine);
        self.register(machine);
    }

    fn register(&mut self, machine: usize) {
        let Machine { id, volume, process: Some(process), .. } = &self.machines[machine] else { return };
        let registration = Registration {
            id: *id,
            cluster_id: CLUSTER.to_owned(),
            incarnation: process.incarnation,
            directory: *volume,
            previous_epoch: process.previous,
            endpoints: Vec::new(),
            features: supported_features(),
            rack: None,
        };
        if let Ok(epoch) = self.ask(|reply| Command::RegisterBroker { registration, reply }) {
            let process = self.machines[machine].process.as_mut().unwrap();
            process.epoch = Some(epoch);
        }
    }

    fn heartbeat(&mut self, machine: usize) {
        let Machine { id, process: Some(Process { epoch: Some(epoch), image, stopping, .. }), .. } =
            &self.machines[machine]
        else {
            return;
        };
        let heartbeat = Heartbeat {
            id: *id,
            epoch: *epoch,
            metadata_offset: image.end_offset.advance(-1),
            wants_fence: false,
            wants_shutdown: *stopping,
            offline_directories: Vec::new(),
        };
        let epoch = *epoch;
        match self.ask(|reply| Command::Heartbeat { heartbeat, reply }) {
            Ok(answer) if answer.should_shut_down => {
                let machine = &mut self.machines[machine];
                (machine.process, machine.clean) = (None, Some(epoch));
            }
            Ok(_) => {}
            // Another process has taken its place, or it was unregistered: it ends without losing anything.
            Err(_) => self.machines[machine].process = None,
        }
    }

    fn begin_to_stop(&mut self, machine: usize) {
        if let Some(process) = &mut self.machines[machine].process {
            process.stopping = process.epoch.is_some();
        }
    }

    /// The process ends, the machine does not: no record is lost, but the controller cannot know.
    fn kill(&mut self, machine: usize) {
        self.machines[machine].process = None;
    }

    /// Loses any part of every log.
    fn crash(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        (machine.process, machine.clean) = (None, None);
        for log in machine.logs.values_mut() {
            log.truncate(self.random.below(log.len() + 1));
        }
    }

    /// A replica about to join an ISR crashes and is back, with what is left, before the controller hears of it.
    fn bounce(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let Sent { request, .. } = &self.in_flight[self.random.below(self.in_flight.len())];
        let Some((last, _)) = request.topics[0].1[0].isr.last().filter(|(last, _)| *last != request.broker) else {
            return;
        };
        let machine = usize::try_from(last.0).unwrap();
        self.crash(machine);
        if self.random.below(2) == 0 {
            self.restart(machine);
            self.probe();
            self.restart(machine);
            self.catch_up(machine);
            self.heartbeat(machine);
        }
    }

    fn replace_volume(&mut self, machine: usize) {
        let volume = DirectoryId(self.uuid());
        let machine = &mut self.machines[machine];
        if machine.process.is_none() {
            (machine.volume, machine.clean) = (volume, None);
            machine.logs.clear();
        }
    }

    fn unregister(&mut self, machine: usize) {
        let Machine { id, process: None, .. } = self.machines[machine] else { return };
        if self.random.below(4) == 0 {
            let _was_registered = self.ask(|reply| Command::UnregisterBroker { broker: id, reply });
        }
    }

    /// Another controller takes over, knowing only what is committed.
    fn resign(&mut self) {
        let Bench { decider, image, now, .. } = &mut self.bench;
        decider.resigned();
        decider.activated(image, *now);
    }

    fn lose_connection(&mut self, machine: usize) {
        let broker = self.machines[machine].id;
        if let Some(epoch) = self.bench.image.brokers.get(&broker).map(|registered| registered.epoch) {
            self.tell(Command::ConnectionLost { broker, epoch });
        }
    }

    /// Now and then the answer is wrong: a network may say anything.
    fn probe(&mut self) {
        while let Ok(Probe { broker, epoch, incarnation, .. }) = self.bench.probes.try_recv() {
            let machine = &self.machines[usize::try_from(broker.0).unwrap()];
            let truth = match &machine.process {
                None => ProbeOutcome::Refused,
                Some(process) if process.incarnation == incarnation => ProbeOutcome::Alive,
                Some(_) => ProbeOutcome::OtherIncarnation,
            };
            let outcome = match self.random.below(20) {
                0 => ProbeOutcome::Refused,
                1 | 2 => ProbeOutcome::Silent,
                _ => truth,
            };
            self.tell(Command::Probed { broker, epoch, outcome });
        }
    }

    fn grant(&mut self, machine: usize) {
        let Machine { id, process: Some(Process { epoch: Some(epoch), .. }), .. } = self.machines[machine] else {
            return;
        };
        let ttl = Duration::from_secs(5);
        let wish = RestartWish { broker: id, epoch, ttl, reason: String::new(), voters_caught_up: [].into() };
        let granted = self.ask(|reply| Command::GrantRestart { wish, reply });
        if granted.is_ok_and(|status| status.is_safe_to_stop()) {
            self.begin_to_stop(machine);
        }
    }

    fn elect(&mut self) {
        self.ask(|reply| Command::ElectLeaders { election: Election::Preferred, wanted: None, reply });
    }

    /// To three brokers, or back.
    fn reassign(&mut self) {
        let (topic, partition) = self.any_partition();
        let name = self.bench.image.topics[&topic].name.clone();
        let first = self.random.below(self.machines.len());
        let target: Vec<_> = (first..first + 3).map(|index| self.machines[index % self.machines.len()].id).collect();
        let target = (self.random.below(4) != 0).then_some(target);
        let wanted = vec![(name, vec![(partition, target)])];
        let factor_change = FactorChange::Allowed;
        self.ask(|reply| Command::AlterReassignments { wanted, factor_change, reply });
    }

    fn catch_up(&mut self, machine: usize) {
        self.machines[machine].catch_up(&self.bench.image, &mut self.committed);
    }

    /// To any broker that accepts: several may think that they lead.
    fn produce(&mut self) {
        let key = self.any_partition();
        self.next_value += 1;
        let value = self.next_value;
        self.machines.iter_mut().for_each(|machine| machine.produce(key, value));
    }

    /// A replica fetches from the leader that it knows of, and so reports its position.
    fn fetch(&mut self) {
        let key = self.any_partition();
        let machine = self.random.below(self.machines.len());
        let Some(leader) = self.machines[machine].leader_of(key) else { return };
        let leader = usize::try_from(leader.0).unwrap();
        if leader != machine {
            let [follower, leader] = self.machines.get_disjoint_mut([machine, leader]).unwrap();
            follower.follow(leader, key, self.random.below(4), &mut self.committed);
        }
    }

    fn propose(&mut self) {
        let key = self.any_partition();
        for machine in &mut self.machines {
            self.in_flight.extend(machine.propose(key, &mut self.random, &mut self.committed));
        }
        if 12 < self.in_flight.len() {
            let lost = self.random.below(self.in_flight.len());
            self.in_flight.swap_remove(lost);
        }
    }

    fn deliver(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = self.random.below(self.in_flight.len());
        let again = self.random.below(5) == 0;
        let sent = if again { self.in_flight[index].clone() } else { self.in_flight.swap_remove(index) };
        let machine = usize::try_from(sent.request.broker.0).unwrap();
        let answer = self.ask(|reply| Command::AlterPartition { request: sent.request.clone(), reply });
        let answered = self.random.below(5) != 0;
        if let Ok(answers) = answer
            && answered
        {
            // A broker that has its answer has no other copy of the request in flight.
            self.in_flight.retain(|other| other.request != sent.request);
            for (topic, partitions) in answers {
                for (partition, altered) in partitions {
                    let key = (topic, partition);
                    self.machines[machine].answered(key, sent.incarnation, altered, &mut self.committed);
                }
            }
        }
    }
}

#[test]
fn no_invariant_breaks_and_nothing_committed_is_lost() {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        let ran = std::panic::catch_unwind(|| Simulation::new(seed).run());
        let tally = ran.unwrap_or_else(|_| panic!("seed {seed}"));
        all.committed += tally.committed;
        all.leaders += tally.leaders;
        all.unclean += tally.unclean;
    }
    println!("{all:?}");
    let seeds = usize::try_from(SEEDS).unwrap();
    assert!(10 * seeds < all.committed && 10 * i32::try_from(seeds).unwrap() < all.leaders, "{all:?}");
}
