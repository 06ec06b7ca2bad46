//! One run: a fleet under load, one fault after the other, and the checks at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Scenario;
use super::plan::{Deck, Fault, Step};
use crate::fleet::{Fleet, Node, Place, Plan, Program, Volumes};
use crate::programs::WORKSPACE;
use crate::progress::Progress;
use crate::soak::groups::{self, Group};
use crate::soak::keyed::{self, Keyed};
use crate::soak::random::Random;
use crate::soak::world::{EndAll, Workload, World};
use crate::soak::{load, on_disk};
use crate::{command, host};

const BROKERS: u8 = 3;
/// Sparse: only what is written takes space.
const VOLUME: Volumes = Volumes::FileSystems { mebibytes: 4096 };
/// After one in so many kills the ends of the logs are torn.
const TORN_ONE_IN: u64 = 2;
const METADATA: &str = "__cluster_metadata-0";
const COMPACTED: [&str; 2] = [keyed::TOPIC, groups::OFFSETS_TOPIC];
/// Partitions of `__consumer_offsets`.
const GROUP_PARTITIONS: i32 = 50;
const VOTER_PATIENCE: Duration = Duration::from_mins(1);

const WORKLOAD: Workload = Workload::REPLICATED;

const GIVES_UP_WITHIN: Duration = Duration::from_mins(1);
/// Logged by a voter whose volume once had more than now.
const OLDER_COPY: &str = "older copy of itself";

/// Logged by a broker if acknowledged records may be lost, because every replica that had them lost its power.
const RECOVERING: &str = "RECOVERING: ";

/// When the run ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// And every kind of fault has happened.
    Over(Duration),
    Steps(u32),
}

pub(super) struct Run<'a> {
    fleet: Fleet,
    world: Arc<World>,
    deck: Deck,
    random: Random,
    /// The directory for logs if it fails: other runs may be in progress.
    logs: PathBuf,
    progress: &'a Progress,
}

impl<'a> Run<'a> {
    pub(super) fn start(program: &Path, scenario: Scenario, seed: u64, progress: &'a Progress) -> Result<Self> {
        let mut random = Random(seed);
        let plan = Plan {
            controllers: scenario.controllers,
            place: Place::Namespaces,
            volumes: VOLUME,
            ..Plan::new(Program::Millrace(program.to_owned()), BROKERS).with_settings(scenario.settings())
        };
        host::install(host::FLEET_TOOLS, progress)?;
        let (fleet, world) = (Fleet::start(plan)?, Arc::new(World::new(WORKLOAD)));
        load::create_topics(&fleet.bootstrap(), &world)?;
        fleet.ask(|admin| admin.create_topic_with(keyed::TOPIC, BROKERS.into(), keyed::OPTIONS))?;
        let nodes = u8::try_from(fleet.nodes().len())?;
        let deck = Deck::new(scenario.kinds, scenario.pace, nodes, Random(random.next()));
        let logs = Path::new(WORKSPACE).join("target/soak").join(format!("{}-{seed}", scenario.name));
        Ok(Self { fleet, world, deck, random, logs, progress })
    }

    /// Returns a summary.
    pub(super) fn go(mut self, until: Until) -> Result<String> {
        let outcome = self.under_load(until).and_then(|()| self.conclude());
        outcome.map_err(|error| self.with_logs(error))?;
        let (faults, acknowledged) = (self.deck.dealt(), self.world.acknowledged()?);
        Ok(format!(
            "{faults} faults, {acknowledged} records acknowledged: lost 0, duplicated 0, reordered 0, all replicas the \
             same"
        ))
    }

    fn with_logs(&self, error: anyhow::Error) -> anyhow::Error {
        match self.fleet.keep_logs(&self.logs) {
            Ok(()) => error.context(format!("all that the brokers said is in {}", self.logs.display())),
            Err(unkept) => error.context(format!("{}; logs are not kept: {unkept:#}", self.fleet.last_words())),
        }
    }

    fn under_load(&mut self, until: Until) -> Result<()> {
        let (bootstrap, world, group) = (self.fleet.bootstrap(), self.world.clone(), Arc::new(Group::default()));
        let keyed = Arc::new(Keyed::default());
        thread::scope(|scope| {
            let _end_all = EndAll(&world);
            let mut producers = load::start_producers(scope, &bootstrap, &world, &mut self.random);
            producers.push(keyed::start_producer(scope, &bootstrap, &world, &keyed, &mut self.random));
            load::start_readers(scope, &bootstrap, &world, &mut self.random);
            groups::start_members(scope, &bootstrap, &world, &group, &mut self.random);
            let began = Instant::now();
            while !self.is_enough(until, began)? {
                let step = self.deck.next();
                thread::sleep(step.undisturbed);
                self.step(&step).with_context(|| format!("{step:?}"))?;
                world.check().with_context(|| format!("after {step:?}"))?;
            }
            self.fleet.wait_until_serving()?;
            world.send_no_more();
            for producer in producers {
                ensure!(producer.join().is_ok(), "a producer's thread has panicked");
            }
            world.check()?;
            self.wait_until_in_sync()?;
            load::read_to_the_end(&bootstrap, &world)?;
            keyed.check(&bootstrap)?;
            groups::wait_until_caught_up(&bootstrap, &world)
        })?;
        self.world.check()
    }

    fn is_enough(&self, until: Until, began: Instant) -> Result<bool> {
        Ok(match until {
            Until::Over(time) => self.deck.has_dealt_all() && time <= began.elapsed(),
            Until::Steps(wanted) => usize::try_from(wanted)? <= self.deck.dealt(),
        })
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        if step.fault.is_destructive() {
            self.fleet.wait_until_serving()?;
            self.wait_until_in_sync()?;
        }
        let acknowledged = self.world.acknowledged()?;
        self.progress.note(format_args!("  {:?} for {:.1?}, {acknowledged} acknowledged", step.fault, step.lasts));
        match step.fault {
            Fault::Kill(node) => self.kill(&[node.into()], step.lasts),
            Fault::KillAll => self.kill(&self.fleet.ids(), step.lasts),
            Fault::Terminate(node) => {
                self.fleet.node(node.into())?.terminate()?;
                thread::sleep(step.lasts);
                self.fleet.spawn(node.into())
            }
            Fault::Pause(node) => {
                self.fleet.node(node.into())?.pause()?;
                thread::sleep(step.lasts);
                self.fleet.node(node.into())?.resume()
            }
            Fault::Cut(cut) => {
                self.fleet.cut(cut)?;
                thread::sleep(step.lasts);
                self.fleet.heal()
            }
            Fault::FillVolume(node) => {
                self.fleet.node(node.into())?.fill_volume()?;
                thread::sleep(step.lasts);
                self.fleet.node(node.into())?.free_volume()
            }
            Fault::LosePower(node) => self.lose_power(&[node.into()], step.lasts),
            Fault::LosePowerOfAll => {
                self.lose_power(&self.fleet.ids(), step.lasts)?;
                self.fleet.wait_until_serving()?;
                self.wait_until_in_sync()?;
                let reports = self.fleet.nodes().iter().map(|node| node.has_said(RECOVERING));
                let reported = reports.collect::<Result<Vec<_>>>()?.contains(&true);
                ensure!(reported, "no broker reports that all of them lost their power");
                Ok(())
            }
            Fault::RollBack(node) => self.roll_back(node.into(), step.lasts),
            Fault::ReplaceVolume(node) => self.replace_volume(node.into(), step.lasts),
        }
    }

    fn kill(&mut self, nodes: &[i32], lasts: Duration) -> Result<()> {
        for node in nodes {
            self.fleet.node(*node)?.kill()?;
            if self.random.below(TORN_ONE_IN) == 0 {
                for (_, _, partition) in WORKLOAD.partitions() {
                    let directory = self.fleet.node(*node)?.data(&partition);
                    // There is no replica, or it has not been created yet.
                    if directory.exists() {
                        on_disk::tear(&directory, &mut self.random)?;
                    }
                }
            }
        }
        thread::sleep(lasts);
        nodes.iter().try_for_each(|node| self.fleet.spawn(*node))
    }

    /// At the same moment.
    fn lose_power(&mut self, nodes: &[i32], lasts: Duration) -> Result<()> {
        nodes.iter().try_for_each(|node| self.fleet.node(*node)?.pause())?;
        nodes.iter().try_for_each(|node| self.fleet.node(*node)?.lose_power())?;
        thread::sleep(lasts);
        nodes.iter().try_for_each(|node| self.fleet.spawn(*node))
    }

    /// To a copy from before all replicas were in sync again.
    fn roll_back(&mut self, id: i32, lasts: Duration) -> Result<()> {
        let node = self.fleet.node(id)?;
        node.terminate()?;
        node.copy_volume()?;
        self.fleet.spawn(id)?;
        self.fleet.wait_until_serving()?;
        thread::sleep(lasts);
        self.wait_until_in_sync()?;
        let node = self.fleet.node(id)?;
        node.kill()?;
        node.put_copy_back()?;
        self.fleet.spawn(id)?;
        // Whether the copy is recognised depends on how long the quorum's leader has led.
        let node = self.fleet.node(id)?;
        let is_refused = command::wait_for("it serves or gives up", GIVES_UP_WITHIN, || match node.check() {
            Ok(()) => Ok(node.is_ready().unwrap_or(false).then_some(false)),
            Err(_) => Ok(Some(true)),
        })?;
        if !is_refused {
            return Ok(());
        }
        ensure!(node.has_said(OLDER_COPY)? && node.kill().is_err(), "{}", node.last_words());
        self.begin_anew(id, lasts)
    }

    /// As the operator does it: the old voter is removed before the new one is added.
    fn replace_volume(&mut self, id: i32, lasts: Duration) -> Result<()> {
        self.fleet.node(id)?.kill()?;
        self.begin_anew(id, lasts)
    }

    /// A stopped node gets an empty volume.
    fn begin_anew(&mut self, id: i32, lasts: Duration) -> Result<()> {
        let node = self.fleet.node(id)?;
        let (former, is_voter) = (node.directory_id()?, node.is_controller());
        let fleet = &self.fleet;
        if is_voter {
            command::retry(VOTER_PATIENCE, || fleet.ask(|admin| admin.remove_voter(id, former)))?;
        }
        thread::sleep(lasts);
        self.fleet.replace_volume(id)?;
        self.fleet.spawn(id)?;
        self.fleet.wait_until_serving()?;
        if !is_voter {
            return Ok(());
        }
        let node = self.fleet.node(id)?;
        let (directory, controller) = (node.directory_id()?, node.controller_address());
        let fleet = &self.fleet;
        command::retry(VOTER_PATIENCE, || fleet.ask(|admin| admin.add_voter(id, directory, controller)))?;
        let is_voter = fleet.quorum()?.voters.iter().any(|voter| voter.id == id && voter.directory_id == directory);
        ensure!(is_voter, "node {id} was added to the voters and is none");
        Ok(())
    }

    fn wait_until_in_sync(&mut self) -> Result<()> {
        let topics: Vec<_> = WORKLOAD.topics.iter().map(|topic| topic.name).chain(COMPACTED).collect();
        self.fleet.wait_until_in_sync(&topics)
    }

    /// The checks once everything has been acknowledged and read.
    fn conclude(&mut self) -> Result<()> {
        let quorum = self.fleet.quorum()?;
        let ends = quorum.voters.iter().chain(&quorum.observers).map(|replica| replica.log_end_offset);
        let committed_everywhere = ends.fold(quorum.high_watermark, i64::min);
        for id in self.fleet.ids() {
            self.fleet.node(id)?.terminate()?;
        }
        self.world.conclude()?;
        let all = self.fleet.nodes().iter();
        let brokers: Vec<_> = all.clone().filter(|node| node.is_broker()).collect();
        on_disk::compare(&replicas(all, METADATA), committed_everywhere)?;
        for (topic, partition, name) in WORKLOAD.partitions() {
            let replicas = replicas(brokers.iter().copied(), &name);
            replicas.iter().try_for_each(|replica| on_disk::check_epochs(replica))?;
            let end = self.world.with(topic, partition, |history| history.high_watermark())?;
            on_disk::compare(&replicas, end)?;
        }
        on_disk::compare_last_of_keys(&replicas(brokers.iter().copied(), &format!("{}-0", keyed::TOPIC)))?;
        (0..GROUP_PARTITIONS).try_for_each(|partition| {
            let name = format!("{}-{partition}", groups::OFFSETS_TOPIC);
            on_disk::compare_last_of_keys(&replicas(brokers.iter().copied(), &name))
        })
    }
}

fn replicas<'n>(nodes: impl Iterator<Item = &'n Node>, partition: &str) -> Vec<PathBuf> {
    nodes.map(|node| node.data(partition)).collect()
}
