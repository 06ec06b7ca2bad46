//! SIGKILL at random moments: idempotent and plain producers with all codecs write to several partitions with small
//! segments, readers read all the time, and a history keeps what each of them saw. Between a kill and the next start
//! the ends of the logs are torn, as by a power cut that spared everything acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::random::Random;
use super::world::{EndAll, Workload, World};
use super::{Options, Tally, load, on_disk};
use crate::broker::Site;
use crate::progress::Progress;

/// The smallest segments, so that many kills coincide with a roll.
const SETTINGS: [&str; 2] = ["num.partitions=3", "log.segment.bytes=1048576"];
/// How long a broker runs, and stays down.
const ALIVE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(1200)];
const DEAD_AT_MOST: Duration = Duration::from_millis(300);
const KILL_EXPECTED: Duration = Duration::from_millis(1200);
const KILLS_PER_NOTE: u32 = 10;

pub(super) fn run(options: &Options, progress: &Progress, tally: &mut Tally) {
    let what = format!("SIGKILL a broker under load {} times, seed {}", options.kills, options.seed);
    tally.run(&what, progress, || {
        let program = options.program(progress)?;
        progress.step(&what, KILL_EXPECTED * options.kills, || kill_under_load(&program, options, progress))
    });
}

fn kill_under_load(program: &Path, options: &Options, progress: &Progress) -> Result<String> {
    let site = Site::new(program, &std::env::temp_dir(), &SETTINGS)?;
    let (bootstrap, world) = (site.bootstrap(), Arc::new(World::new(Workload::ONE_BROKER)));
    let broker = thread::scope(|scope| {
        let end_all = EndAll(&world);
        let (mut broker, random) = (site.start()?, &mut Random(options.seed));
        load::create_topics(&bootstrap, &world)?;
        let producers = load::start_producers(scope, &bootstrap, &world, random);
        load::start_readers(scope, &bootstrap, &world, random);
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
        world.send_no_more();
        for producer in producers {
            ensure!(producer.join().is_ok(), "a producer's thread has panicked");
        }
        world.check()?;
        load::read_to_the_end(&bootstrap, &world)?;
        drop(end_all);
        Ok(broker)
    })?;
    world.check()?;
    broker.stop()?;
    world.conclude()?;
    directories(&site).try_for_each(|directory| on_disk::check_epochs(&directory))?;
    Ok(format!("{} records acknowledged: lost 0, duplicated 0, reordered 0", world.acknowledged()?))
}

/// The directories of all partitions.
fn directories(site: &Site) -> impl Iterator<Item = PathBuf> {
    Workload::ONE_BROKER.partitions().map(|(_, _, name)| site.data(&name))
}
