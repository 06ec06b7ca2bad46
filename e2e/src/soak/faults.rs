//! Three brokers with replicated topics, idempotent and plain producers with acks=all, readers and a group that read all
//! the time, and what happens to machines: processes die and hang, links are cut in either direction, volumes run full,
//! lose their power, and come back empty. At the end everything must have been acknowledged, read, and committed by the
//! group, every history must hold, and the replicas must be the same byte for byte.

mod plan;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::groups::{self, Group};
use super::history::Delivery;
use super::random::Random;
use super::world::{EndAll, Load, Topic, Workload, World};
use super::{Options, Tally, load, on_disk};
use crate::fleet::{Fleet, Place, Plan, Program, Volumes};
use crate::progress::Progress;
use crate::{command, host};
use plan::{Fault, Step};

const BROKERS: u8 = 3;
/// Sparse: what is written takes space.
const VOLUME: Volumes = Volumes::FileSystems { mebibytes: 4096 };
/// The smallest segments, and snapshots of the metadata after a few records, so that many faults meet both.
const SETTINGS: [&str; 3] =
    ["num.partitions=3", "log.segment.bytes=1048576", "metadata.log.max.record.bytes.between.snapshots=20000"];
/// Of a process that was killed, how often the ends of its logs are torn: one in so many times.
const TORN_ONE_IN: u64 = 3;
const METADATA: &str = "__cluster_metadata-0";
const STEP_EXPECTED: Duration = Duration::from_secs(6);
const VOTER_PATIENCE: Duration = Duration::from_mins(1);

const WORKLOAD: Workload = Workload {
    topics: &[
        Topic { name: "idempotent", delivery: Delivery::ExactlyOnce },
        Topic { name: "plain", delivery: Delivery::AtLeastOnce },
    ],
    loads: &[
        Load::idempotent(0, "none"),
        Load::idempotent(0, "lz4"),
        Load::idempotent(0, "zstd"),
        Load::plain(1, "gzip", "all"),
    ],
    pause_max: Duration::from_millis(40),
};

/// When it is enough.
#[derive(Debug, Clone, Copy)]
enum Until {
    Over(Duration),
    Steps(u32),
}

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    for number in 0..options.fault_runs {
        let seed = options.seed.wrapping_add(number.into());
        let what = format!("faults, seed {seed}");
        tally.run(&what, progress, || {
            let program = options.program(progress)?;
            progress.step(&what, options.faults_for, || run_for(&program, seed, options.faults_for, progress))
        });
    }
}

/// Lets faults happen for that long, and then proves that nothing was lost.
pub fn run_for(program: &Path, seed: u64, time: Duration, progress: &Progress) -> Result<()> {
    Run::start(program, seed, progress)?.go(Until::Over(time), plan::next)
}

pub(super) fn run_power_cuts(options: &Options, progress: &Progress, tally: &mut Tally) {
    let what = format!("{} power cuts under load, seed {}", options.power_cuts, options.seed);
    tally.run(&what, progress, || {
        let run = Run::start(&options.program(progress)?, options.seed, progress)?;
        let until = Until::Steps(options.power_cuts);
        progress.step(&what, STEP_EXPECTED * options.power_cuts, || run.go(until, plan::next_power_cut))
    });
}

struct Run<'a> {
    fleet: Fleet,
    world: Arc<World>,
    random: Random,
    progress: &'a Progress,
}

impl<'a> Run<'a> {
    fn start(program: &Path, seed: u64, progress: &'a Progress) -> Result<Self> {
        let plan = Plan {
            place: Place::Namespaces,
            volumes: VOLUME,
            ..Plan::new(Program::Millrace(program.to_owned()), BROKERS).with_settings(SETTINGS)
        };
        host::install(host::FLEET_TOOLS, progress)?;
        let (fleet, world) = (Fleet::start(plan)?, Arc::new(World::new(WORKLOAD)));
        load::create_topics(&fleet.bootstrap(), &world)?;
        Ok(Self { fleet, world, random: Random(seed), progress })
    }

    fn go(mut self, until: Until, next: impl Fn(&mut Random, u8) -> Step) -> Result<()> {
        let outcome = self.under_load(until, next).and_then(|()| self.conclude());
        outcome.with_context(|| self.fleet.last_words())
    }

    fn under_load(&mut self, until: Until, next: impl Fn(&mut Random, u8) -> Step) -> Result<()> {
        let (bootstrap, world, group) = (self.fleet.bootstrap(), self.world.clone(), Arc::new(Group::default()));
        thread::scope(|scope| {
            let _end_all = EndAll(&world);
            let producers = load::start_producers(scope, &bootstrap, &world, &mut self.random);
            load::start_readers(scope, &bootstrap, &world, &mut self.random);
            groups::start_members(scope, &bootstrap, &world, &group, &mut self.random);
            let (began, mut steps) = (Instant::now(), 0);
            let is_enough = |steps| match until {
                Until::Over(time) => time <= began.elapsed(),
                Until::Steps(wanted) => wanted <= steps,
            };
            while !is_enough(steps) {
                let step = next(&mut self.random, BROKERS);
                thread::sleep(step.undisturbed);
                self.step(&step).with_context(|| format!("{step:?}"))?;
                world.check().with_context(|| format!("after {step:?}"))?;
                steps += 1;
            }
            self.fleet.wait_until_serving()?;
            world.send_no_more();
            for producer in producers {
                ensure!(producer.join().is_ok(), "a producer's thread has panicked");
            }
            world.check()?;
            self.wait_until_in_sync()?;
            load::read_to_the_end(&bootstrap, &world)?;
            groups::wait_until_caught_up(&bootstrap, &world)
        })?;
        self.world.check()
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
            Fault::LosePower(node) => {
                self.fleet.node(node.into())?.lose_power()?;
                thread::sleep(step.lasts);
                self.fleet.spawn(node.into())
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
                    // A replica may not have come into being yet.
                    if directory.exists() {
                        on_disk::tear(&directory, &mut self.random)?;
                    }
                }
            }
        }
        thread::sleep(lasts);
        nodes.iter().try_for_each(|node| self.fleet.spawn(*node))
    }

    /// To what the node had before everybody was in sync again.
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
        self.fleet.spawn(id)
    }

    /// As the operator does it: the old voter goes before the new one comes.
    fn replace_volume(&mut self, id: i32, lasts: Duration) -> Result<()> {
        let former = self.fleet.node(id)?.directory_id()?;
        self.fleet.node(id)?.kill()?;
        let fleet = &self.fleet;
        command::retry(VOTER_PATIENCE, || fleet.ask(|admin| admin.remove_voter(id, former)))?;
        thread::sleep(lasts);
        self.fleet.replace_volume(id)?;
        self.fleet.spawn(id)?;
        self.fleet.wait_until_serving()?;
        let node = self.fleet.node(id)?;
        let (directory, controller) = (node.directory_id()?, node.controller_address());
        let fleet = &self.fleet;
        command::retry(VOTER_PATIENCE, || fleet.ask(|admin| admin.add_voter(id, directory, controller)))?;
        let is_voter = |id| fleet.quorum().map(|quorum| quorum.voters.iter().any(|voter| voter.id == id));
        ensure!(is_voter(id)?, "node {id} was added to the voters and is none");
        Ok(())
    }

    fn wait_until_in_sync(&mut self) -> Result<()> {
        let topics: Vec<_> = WORKLOAD.topics.iter().map(|topic| topic.name).chain([groups::OFFSETS_TOPIC]).collect();
        self.fleet.wait_until_in_sync(&topics)
    }

    /// What must hold once everything has been acknowledged and read.
    fn conclude(&mut self) -> Result<()> {
        let quorum = self.fleet.quorum()?;
        let ends = quorum.voters.iter().map(|voter| voter.log_end_offset);
        let committed_everywhere = ends.fold(quorum.high_watermark, i64::min);
        for id in self.fleet.ids() {
            self.fleet.node(id)?.terminate()?;
        }
        self.world.conclude()?;
        let replicas = |name: &str| self.fleet.nodes().iter().map(|node| node.data(name)).collect::<Vec<_>>();
        on_disk::compare(&replicas(METADATA), committed_everywhere)?;
        for (topic, partition, name) in WORKLOAD.partitions() {
            let replicas = replicas(&name);
            replicas.iter().try_for_each(|replica| on_disk::check_epochs(replica))?;
            let end = self.world.with(topic, partition, |history| history.high_watermark())?;
            on_disk::compare(&replicas, end)?;
        }
        let acknowledged = self.world.acknowledged()?;
        self.progress.note(format_args!("  {acknowledged} records acknowledged, read and the same on all replicas"));
        Ok(())
    }
}
