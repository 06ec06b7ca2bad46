//! Groups of one broker: what commits, idle members, rebalances and the loading of a coordinator cost.

mod client;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Name;
use super::machine::{Cores, Snapshot, cpu_time, on_cores, raise_descriptor_limit};
use super::phase::{phase, resident_mebibytes};
use super::row::Row;
use super::samples::Samples;
use crate::admin::topic_name;
use crate::broker::{Broker, Site};
use crate::connection::Connection;
use crate::fleet::management;
use crate::progress::Progress;
use client::{CommitFrame, Member, committed, rebalance, rebalance_all, wait_for_coordinator};

const TOPIC: &str = "figures";
const GROUP: &str = "figures";
const COMMIT_SAMPLES: usize = 5;
const COMMITS: u32 = 50_000;
const COMMITS_BEFORE: u32 = 5_000;
const IDLE_SAMPLES: usize = 3;
const GROUPS: usize = 1_000;
/// They form one after the other: it is their idling that is measured.
const GROUPS_AT_ONCE: usize = 100;
const MEMBERS: usize = 3;
/// As Kafka's consumers have it.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const HEARTBEAT_ROUNDS: u32 = 5;
const REBALANCE_SAMPLES: usize = 20;
const REBALANCE_MEMBERS: usize = 100;
const LOAD_SAMPLES: usize = 3;
/// Each of these commits all partitions so many times.
const LOAD_GROUPS: usize = 10;
const LOAD_PARTITIONS: i32 = 1_000;
const LOAD_ROUNDS: u32 = 100;
const LOAD_TIME: &str = "kafka_server_group_coordinator_metrics_partition_load_time_seconds_sum";
const MANAGEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// Measures that program, in directories beside it.
pub fn measure(program: &Path, names: &[Name], progress: &Progress) -> Result<Vec<Row>> {
    let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
    let directory = program.parent().context("a program in no directory")?.to_owned();
    let bench = Bench { program, directory, cores: Cores::choose()?, progress };
    let mut rows = Vec::new();
    if names.contains(&Name::Commits) {
        let what = "commit of an offset, one client in a loop, broker CPU per commit";
        rows.push(Row { what, unit: "µs", decimals: 1, at_most: Some(25.0), samples: bench.cpu_per_commit()? });
    }
    if names.contains(&Name::IdleGroups) {
        let idle = bench.idle()?;
        let row = |what, unit, at_most, samples| Row { what, unit, decimals: 1, at_most: Some(at_most), samples };
        let what = "1,000 groups of 3 idle members, each with a connection: broker resident, more than before";
        rows.push(row(what, "MiB", 20.0, idle.map(|idle| idle.mebibytes)));
        rows.push(row("their heartbeats, broker CPU", "%", 3.0, idle.map(|idle| idle.cpu_percent)));
    }
    if names.contains(&Name::Rebalance) {
        let what = "rebalance of 100 members, from the first join to the last assignment";
        rows.push(Row { what, unit: "ms", decimals: 0, at_most: Some(300.0), samples: bench.rebalance()? });
    }
    if names.contains(&Name::GroupLoad) {
        let what = "coordinator's loading of 1,000,000 commits of 10,000 keys";
        rows.push(Row { what, unit: "s", decimals: 2, at_most: Some(1.0), samples: bench.load()? });
    }
    Ok(rows)
}

struct Bench<'a> {
    program: PathBuf,
    directory: PathBuf,
    cores: Cores,
    progress: &'a Progress,
}

#[derive(Debug, Clone, Copy)]
struct Idle {
    mebibytes: f64,
    cpu_percent: f64,
}

impl Bench<'_> {
    /// A broker on its core, and a connection to it; the topic is there and the group has a coordinator.
    fn start(&self, settings: &[&str]) -> Result<(Site, Broker, Connection)> {
        let site = Site::new(&self.program, &self.directory, settings)?;
        let mut broker = on_cores(&self.cores.broker, || site.spawn())?;
        let mut connection = broker.reach(|| Connection::open(site.address()))?;
        connection.create_topic(&topic_name(TOPIC))?;
        wait_for_coordinator(&mut connection, GROUP).with_context(|| broker.last_words())?;
        Ok((site, broker, connection))
    }

    fn cpu_per_commit(&self) -> Result<Samples<f64>> {
        Samples::collect(COMMIT_SAMPLES, || {
            let (_site, broker, mut connection) = self.start(&[])?;
            on_cores(&self.cores.client, || {
                let mut frame = CommitFrame::new(GROUP, TOPIC, 1)?;
                let mut commit = |mut numbers: Range<u32>| {
                    numbers.try_for_each(|number| frame.commit(&mut connection, number.into()))
                };
                commit(0..COMMITS_BEFORE)?;
                let ((), phase) = phase(&[broker.id()], || commit(COMMITS_BEFORE..COMMITS_BEFORE + COMMITS))?;
                let last = i64::from(COMMITS_BEFORE + COMMITS - 1);
                let found = committed(&mut connection, GROUP)?;
                ensure!(found == [last], "committed is {found:?} in place of {last}");
                let micros = phase.cpu.as_secs_f64() * 1e6 / f64::from(COMMITS);
                let each = phase.elapsed.as_secs_f64() * 1e6 / f64::from(COMMITS);
                self.progress.note(format_args!("{micros:.1} µs CPU, {each:.0} µs for each commit; {}", phase.noise));
                Ok((micros, phase.noise))
            })
        })
    }

    /// Every member sends its heartbeats, evenly spread.
    fn idle(&self) -> Result<Samples<Idle>> {
        raise_descriptor_limit()?;
        Samples::collect(IDLE_SAMPLES, || {
            let (site, broker, _connection) = self.start(&["group.initial.rebalance.delay.ms=300"])?;
            let before = resident_mebibytes(broker.id())?;
            on_cores(&self.cores.client, || {
                let mut groups = form_groups(site.address()).with_context(|| broker.last_words())?;
                heartbeats(&mut groups, 1)?;
                let (began, snapshot) = (Instant::now(), Snapshot::take(&[broker.id()])?);
                let cpu_before = cpu_time(&[broker.id()])?;
                heartbeats(&mut groups, HEARTBEAT_ROUNDS)?;
                let cpu = cpu_time(&[broker.id()])?.saturating_sub(cpu_before);
                let cpu_percent = cpu.as_secs_f64() / began.elapsed().as_secs_f64() * 1e2;
                let noise = snapshot.noise_until(&Snapshot::take(&[broker.id()])?);
                let idle = Idle { mebibytes: resident_mebibytes(broker.id())? - before, cpu_percent };
                self.progress.note(format_args!("{idle:?}; {noise}"));
                Ok((idle, noise))
            })
        })
    }

    /// Of a group that has been together before.
    fn rebalance(&self) -> Result<Samples<f64>> {
        let (site, broker, _connection) = self.start(&["group.initial.rebalance.delay.ms=300"])?;
        on_cores(&self.cores.client, || {
            let members = (0..REBALANCE_MEMBERS).map(|_| Member::open(site.address(), GROUP));
            let mut members = members.collect::<Result<Vec<_>>>()?;
            rebalance(&mut members)?;
            Samples::collect(REBALANCE_SAMPLES, || {
                let (began, before) = (Instant::now(), Snapshot::take(&[broker.id()])?);
                rebalance(&mut members).with_context(|| broker.last_words())?;
                let elapsed = began.elapsed();
                let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
                Ok((elapsed.as_secs_f64() * 1e3, noise))
            })
        })
    }

    /// Seconds, as the broker itself measures them.
    fn load(&self) -> Result<Samples<f64>> {
        Samples::collect(LOAD_SAMPLES, || {
            let partitions = format!("num.partitions={LOAD_PARTITIONS}");
            let (site, broker, mut connection) = self.start(&["offsets.topic.num.partitions=1", &partitions])?;
            for number in 0..LOAD_GROUPS {
                let mut frame = CommitFrame::new(&format!("{GROUP}-{number}"), TOPIC, LOAD_PARTITIONS)?;
                (0..LOAD_ROUNDS).try_for_each(|round| frame.commit(&mut connection, round.into()))?;
            }
            broker.stop()?;
            let before = Snapshot::take(&[])?;
            let mut broker = on_cores(&self.cores.broker, || site.spawn())?;
            let mut connection = broker.reach(|| Connection::open(site.address()))?;
            wait_for_coordinator(&mut connection, GROUP).with_context(|| broker.last_words())?;
            let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
            let seconds = metric(&site, LOAD_TIME)?;
            for number in 0..LOAD_GROUPS {
                let found = committed(&mut connection, &format!("{GROUP}-{number}"))?;
                let expected = vec![i64::from(LOAD_ROUNDS - 1); usize::try_from(LOAD_PARTITIONS)?];
                ensure!(found == expected, "group {number} has not got what it has committed");
            }
            self.progress.note(format_args!("loaded in {seconds:.2} s; {noise}"));
            Ok((seconds, noise))
        })
    }
}

fn form_groups(address: SocketAddr) -> Result<Vec<Vec<Member>>> {
    let open = |number: usize| (0..MEMBERS).map(|_| Member::open(address, &format!("idle-{number}"))).collect();
    let mut groups = (0..GROUPS).map(open).collect::<Result<Vec<Vec<_>>>>()?;
    groups.chunks_mut(GROUPS_AT_ONCE).try_for_each(rebalance_all)?;
    Ok(groups)
}

fn heartbeats(groups: &mut [Vec<Member>], rounds: u32) -> Result<()> {
    let pace = HEARTBEAT_INTERVAL / u32::try_from(GROUPS * MEMBERS)?;
    let mut due = Instant::now();
    for _ in 0..rounds {
        for member in groups.iter_mut().flatten() {
            due += pace;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            member.heartbeat()?;
        }
    }
    Ok(())
}

fn metric(site: &Site, name: &str) -> Result<f64> {
    let (_, text) = management::get(site.management(), "/metrics", "", MANAGEMENT_PATIENCE)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.with_context(|| format!("no {name} among the metrics"))
}
