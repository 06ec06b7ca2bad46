//! SIGKILL at random moments: idempotent and plain producers with all codecs write to several partitions with small
//! segments, readers read all the time, and [`History`] keeps what each of them saw. Between a kill and the next start
//! the ends of the logs are torn, as by a power cut that spared whatever was acknowledged.

mod load;
mod on_disk;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Options;
use super::history::{Delivery, History};
use super::random::Random;
use crate::broker::Site;
use crate::programs::{Profile, Programs};
use crate::progress::Progress;

const PARTITIONS: usize = 3;
/// The smallest segments, so that many kills meet a roll.
const SETTINGS: [&str; 2] = ["num.partitions=3", "log.segment.bytes=1048576"];
/// How long a broker lives, and stays dead.
const ALIVE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(1200)];
const DEAD_AT_MOST: Duration = Duration::from_millis(300);
const KILL_EXPECTED: Duration = Duration::from_millis(1200);
const KILLS_PER_NOTE: u32 = 10;

/// A topic, and what its producers promise.
#[derive(Debug, Clone, Copy)]
struct Topic {
    name: &'static str,
    delivery: Delivery,
}

const TOPICS: [Topic; 2] = [
    Topic { name: "idempotent", delivery: Delivery::ExactlyOnce },
    Topic { name: "plain", delivery: Delivery::AtLeastOnce },
];

/// What all threads know.
#[derive(Debug, Default)]
struct World {
    histories: [[Mutex<History>; PARTITIONS]; TOPICS.len()],
    /// No more records are sent.
    enough: AtomicBool,
    /// Readers end.
    over: AtomicBool,
    violations: Mutex<Vec<String>>,
}

impl World {
    fn with<T>(&self, topic: usize, partition: i32, work: impl FnOnce(&mut History) -> T) -> Result<T> {
        let history = usize::try_from(partition).ok().and_then(|partition| self.histories.get(topic)?.get(partition));
        match history.map(Mutex::lock) {
            Some(Ok(mut history)) => Ok(work(&mut history)),
            Some(Err(_)) => bail!("a thread of the soak has panicked"),
            None => bail!("{} has no partition {partition}", TOPICS[topic].name),
        }
    }

    /// Keeps what went wrong for the main thread.
    fn expect(&self, outcome: Result<()>) {
        if let (Err(error), Ok(mut violations)) = (outcome, self.violations.lock()) {
            violations.push(format!("{error:#}"));
        }
    }

    fn check(&self) -> Result<()> {
        let Ok(violations) = self.violations.lock() else { bail!("a thread of the soak has panicked") };
        ensure!(violations.is_empty(), "{} violations, the first ones: {:#?}", violations.len(), {
            violations.iter().take(5).collect::<Vec<_>>()
        });
        Ok(())
    }

    /// Records, in all partitions.
    fn acknowledged(&self) -> Result<usize> {
        let mut sum = 0;
        for history in self.histories.iter().flatten() {
            let Ok(history) = history.lock() else { bail!("a thread of the soak has panicked") };
            sum += history.count();
        }
        Ok(sum)
    }

    fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Tells the threads to end when the main one does, in whatever way.
struct EndAll<'a>(&'a World);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
        self.0.over.store(true, Ordering::Relaxed);
    }
}

pub(super) fn run(options: &Options, progress: &Progress) -> Result<()> {
    let compile = || anyhow::Ok(Programs::compile(Profile::Dev, progress)?.path("millrace-broker")?.to_owned());
    let program = options.broker.clone().map_or_else(compile, Ok)?;
    let what = format!("SIGKILL a broker under load {} times", options.kills);
    progress.step(what, KILL_EXPECTED * options.kills, || kill_under_load(&program, options, progress))
}

fn kill_under_load(program: &Path, options: &Options, progress: &Progress) -> Result<()> {
    let site = Site::new(program, &std::env::temp_dir(), &SETTINGS)?;
    let world = Arc::new(World::default());
    let broker = thread::scope(|scope| {
        let end_all = EndAll(&world);
        let (mut broker, random) = (site.start()?, &mut Random(options.seed));
        load::create_topics(&site.bootstrap())?;
        let producers = load::start_producers(scope, &site, &world, random);
        load::start_readers(scope, &site, &world, random);
        for kill in 1..=options.kills {
            thread::sleep(random.between(ALIVE[0], ALIVE[1]));
            world.check().with_context(|| format!("after {} kills", kill - 1))?;
            broker.kill()?;
            directories(&site).try_for_each(|directory| on_disk::tear(&directory, random))?;
            thread::sleep(random.between(Duration::ZERO, DEAD_AT_MOST));
            broker = site.start()?;
            if kill % KILLS_PER_NOTE == 0 {
                progress.note(format_args!("  {kill} kills, {} records acknowledged", world.acknowledged()?));
            }
        }
        world.enough.store(true, Ordering::Relaxed);
        for producer in producers {
            ensure!(producer.join().is_ok(), "a producer's thread has panicked");
        }
        world.check()?;
        load::read_to_the_end(&site.bootstrap(), &world)?;
        drop(end_all);
        Ok(broker)
    })?;
    world.check()?;
    broker.stop()?;
    ensure!(0 < world.acknowledged()?, "nothing was ever acknowledged");
    conclude(&site, &world)
}

/// What must hold once everything has been acknowledged and read, and the broker has stopped.
fn conclude(site: &Site, world: &World) -> Result<()> {
    for (index, topic) in TOPICS.iter().enumerate() {
        for partition in 0..PARTITIONS {
            let concluded = world.with(index, i32::try_from(partition)?, |history| history.conclude(topic.delivery))?;
            concluded.with_context(|| format!("{}-{partition}", topic.name))?;
        }
    }
    directories(site).try_for_each(|directory| on_disk::check_epochs(&directory))
}

/// Of all partitions.
fn directories(site: &Site) -> impl Iterator<Item = PathBuf> {
    TOPICS
        .iter()
        .flat_map(move |topic| (0..PARTITIONS).map(move |partition| site.data(&format!("{}-{partition}", topic.name))))
}
