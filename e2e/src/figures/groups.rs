//! Groups of one broker: what commits, idle members, rebalances and the loading of a coordinator cost.

mod client;

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::bench::Bench;
use super::echo::cpu_per_echo;
use super::machine::{Noise, Snapshot, cpu_time, raise_descriptor_limit};
use super::phase::{phase, resident_mebibytes};
use super::process::Broker;
use super::row::Row;
use super::samples::Samples;
use crate::admin::topic_name;
use crate::connection::Connection;
use client::{CommitFrame, Member, committed, rebalance, rebalance_all, wait_for_coordinator};

const TOPIC: &str = "figures";
const GROUP: &str = "figures";
const COMMIT_SAMPLES: usize = 5;
const COMMITS: u32 = 50_000;
const COMMITS_BEFORE: u32 = 5_000;
const IDLE_SAMPLES: usize = 3;
const GROUPS: usize = 1_000;
/// They are formed one after the other: only their idling is measured.
const GROUPS_AT_ONCE: usize = 100;
const MEMBERS: usize = 3;
const SHORT_DELAY: [&str; 1] = ["group.initial.rebalance.delay.ms=300"];
/// Kafka's default for consumers.
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

/// On the core of the clients, with a core each, and the minimum cost of a request there.
pub(super) fn commits(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let beside = Samples::collect(COMMIT_SAMPLES, || bench.with_one_core(&[], |broker| commit_all(bench, broker)))?;
    let apart = Samples::collect(COMMIT_SAMPLES, || bench.with_pinned(&[], |broker| commit_all(bench, broker)))?;
    let echoes = Samples::collect(COMMIT_SAMPLES, || {
        let before = Snapshot::take(&[])?;
        let each = cpu_per_echo(bench, COMMITS)?;
        Ok((each.as_secs_f64() * 1e6, before.noise_until(&Snapshot::take(&[])?)))
    })?;
    let what = "commit of an offset, one client in a loop on the broker's core: broker CPU per commit";
    Ok(vec![
        Row::new(what, "µs", 1, beside).at_most(25.0),
        Row::new("  with a core each", "µs", 1, apart),
        Row::new("  a thread that echoes as many bytes, with a core each", "µs", 1, echoes),
    ])
}

/// CPU of the broker for each commit, in microseconds.
fn commit_all(bench: &Bench<'_>, broker: &mut Broker) -> Result<(f64, Noise)> {
    let mut connection = prepare(broker)?;
    let mut frame = CommitFrame::new(GROUP, TOPIC, 1)?;
    let mut commit =
        |mut numbers: Range<u32>| numbers.try_for_each(|number| frame.commit(&mut connection, number.into()));
    commit(0..COMMITS_BEFORE)?;
    let ((), phase) = phase(&[broker.id()], || commit(COMMITS_BEFORE..COMMITS_BEFORE + COMMITS))?;
    let last = i64::from(COMMITS_BEFORE + COMMITS - 1);
    let found = committed(&mut connection, GROUP)?;
    ensure!(found == [last], "committed is {found:?} in place of {last}");
    let micros = phase.cpu.as_secs_f64() * 1e6 / f64::from(COMMITS);
    let each = phase.elapsed.as_secs_f64() * 1e6 / f64::from(COMMITS);
    bench.progress.note(format_args!("{micros:.1} µs CPU, {each:.0} µs for each commit; {}", phase.noise));
    Ok((micros, phase.noise))
}

#[derive(Debug, Clone, Copy)]
struct Idle {
    mebibytes: f64,
    cpu_percent: f64,
}

/// Every member sends its heartbeats, evenly spread: on the core of the clients, and with a core each.
pub(super) fn idle(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let _ = raise_descriptor_limit()?;
    let beside =
        Samples::collect(IDLE_SAMPLES, || bench.with_one_core(&SHORT_DELAY, |broker| idle_along(bench, broker)))?;
    let apart = Samples::collect(IDLE_SAMPLES, || bench.with_pinned(&SHORT_DELAY, |broker| idle_along(bench, broker)))?;
    let what = "1,000 groups of 3 idle members, each with a connection: broker resident, more than before";
    Ok(vec![
        Row::new(what, "MiB", 1, beside.map(|idle| idle.mebibytes)).at_most(20.0),
        Row::new(
            "their heartbeats, clients on the broker's core: broker CPU",
            "%",
            1,
            beside.map(|idle| idle.cpu_percent),
        )
        .at_most(3.0),
        Row::new("  with a core each", "%", 1, apart.map(|idle| idle.cpu_percent)),
    ])
}

fn idle_along(bench: &Bench<'_>, broker: &mut Broker) -> Result<(Idle, Noise)> {
    let _connection = prepare(broker)?;
    let before = resident_mebibytes(broker.id())?;
    let mut groups = form_groups(broker.address())?;
    heartbeats(&mut groups, 1)?;
    let (began, snapshot) = (Instant::now(), Snapshot::take(&[broker.id()])?);
    let cpu_before = cpu_time(&[broker.id()])?;
    heartbeats(&mut groups, HEARTBEAT_ROUNDS)?;
    let cpu = cpu_time(&[broker.id()])?.saturating_sub(cpu_before);
    let cpu_percent = cpu.as_secs_f64() / began.elapsed().as_secs_f64() * 1e2;
    let noise = snapshot.noise_until(&Snapshot::take(&[broker.id()])?);
    let idle = Idle { mebibytes: resident_mebibytes(broker.id())? - before, cpu_percent };
    bench.progress.note(format_args!("{idle:?}; {noise}"));
    Ok((idle, noise))
}

/// Rebalances of a group that has formed before.
pub(super) fn rebalances(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let samples = bench.with_pinned(&SHORT_DELAY, |broker| {
        prepare(broker)?;
        let members = (0..REBALANCE_MEMBERS).map(|_| Member::open(broker.address(), GROUP));
        let mut members = members.collect::<Result<Vec<_>>>()?;
        rebalance(&mut members)?;
        Samples::collect(REBALANCE_SAMPLES, || {
            let (began, before) = (Instant::now(), Snapshot::take(&[broker.id()])?);
            rebalance(&mut members)?;
            let elapsed = began.elapsed();
            let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
            Ok((elapsed.as_secs_f64() * 1e3, noise))
        })
    })?;
    let what = "rebalance of 100 members, from the first join to the last assignment";
    Ok(vec![Row::new(what, "ms", 0, samples).at_most(300.0)])
}

/// As measured by the broker itself.
pub(super) fn loading(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let partitions = format!("num.partitions={LOAD_PARTITIONS}");
    let samples = Samples::collect(LOAD_SAMPLES, || {
        bench.with_pinned(&["offsets.topic.num.partitions=1", &partitions], |broker| {
            let mut connection = prepare(broker)?;
            for number in 0..LOAD_GROUPS {
                let mut frame = CommitFrame::new(&format!("{GROUP}-{number}"), TOPIC, LOAD_PARTITIONS)?;
                (0..LOAD_ROUNDS).try_for_each(|round| frame.commit(&mut connection, round.into()))?;
            }
            let before = Snapshot::take(&[broker.id()])?;
            bench.restart(broker)?;
            let mut connection = broker.connect()?;
            wait_for_coordinator(&mut connection, GROUP)?;
            let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
            let seconds = broker.metric(LOAD_TIME)?;
            for number in 0..LOAD_GROUPS {
                let found = committed(&mut connection, &format!("{GROUP}-{number}"))?;
                let expected = vec![i64::from(LOAD_ROUNDS - 1); usize::try_from(LOAD_PARTITIONS)?];
                ensure!(found == expected, "group {number} has not got what it has committed");
            }
            bench.progress.note(format_args!("loaded in {seconds:.2} s; {noise}"));
            Ok((seconds, noise))
        })
    })?;
    let what = "coordinator's loading of 1,000,000 commits of 10,000 keys";
    Ok(vec![Row::new(what, "s", 2, samples).at_most(1.0)])
}

/// Creates the topic, and waits for the group's coordinator.
fn prepare(broker: &mut Broker) -> Result<Connection> {
    let mut connection = broker.connect()?;
    connection.create_topic(&topic_name(TOPIC))?;
    wait_for_coordinator(&mut connection, GROUP)?;
    Ok(connection)
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
