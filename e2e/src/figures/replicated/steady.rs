//! Three brokers without faults: idle costs, the cost of replicated records, and their latency.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Size;
use crate::admin::topic_name;
use crate::connection::Connection;
use crate::figures::latency::Latency;
use crate::figures::load::{self, LARGE, Shape};
use crate::figures::machine::{Noise, Snapshot, cpu_time, touch_pages};
use crate::figures::phase::{phase, resident_mebibytes};
use crate::fleet::{Fleet, Plan};

const TOPIC: &str = "figures";
const SHAPE: Shape = Shape { acks: -1, ..LARGE };
const BROKERS: u64 = 3;
const TOUCHED_BYTES: u64 = 2 << 30;
const IDLE_BEFORE: Duration = Duration::from_secs(3);
const IDLE_FOR: Duration = Duration::from_secs(10);

/// Values of the broker that needs the most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub(super) mebibytes: f64,
    pub(super) cpu_percent: f64,
}

pub(super) fn idle(plan: &Plan) -> Result<(Idle, Noise)> {
    let (fleet, leader) = start(plan)?;
    let mut connection = Connection::open(leader)?;
    let sent = load::produce(&mut connection, &topic_name(TOPIC), Shape { acks: -1, ..load::ONE_RECORD }, 1)?;
    load::consume(&mut connection, &topic_name(TOPIC), &sent)?;
    drop(connection);
    thread::sleep(IDLE_BEFORE);
    let processes = processes(&fleet)?;
    let times = || processes.iter().map(|process| cpu_time(&[*process])).collect::<Result<Vec<_>>>();
    let (began, before) = (Instant::now(), times()?);
    thread::sleep(IDLE_FOR);
    let (after, elapsed) = (times()?, began.elapsed());
    let used = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before)).max();
    let resident = processes.iter().map(|process| resident_mebibytes(*process)).collect::<Result<Vec<_>>>()?;
    let idle = Idle {
        mebibytes: resident.into_iter().fold(0.0, f64::max),
        cpu_percent: used.unwrap_or_default().as_secs_f64() / elapsed.as_secs_f64() * 1e2,
    };
    Ok((idle, Noise::default()))
}

/// CPU seconds of all brokers for 10⁹ bytes of values produced to one partition, which are read back and compared.
pub(super) fn cpu_per_gigabyte(plan: &Plan, size: Size) -> Result<(f64, Noise)> {
    let bytes = u64::from(size.batches) * u64::from(SHAPE.records_per_batch) * u64::from(SHAPE.record_bytes);
    touch_pages(&std::env::temp_dir(), TOUCHED_BYTES + BROKERS * bytes)?;
    let (fleet, leader) = start(plan)?;
    let mut connection = Connection::open(leader)?;
    let produce = || load::produce(&mut connection, &topic_name(TOPIC), SHAPE, size.batches);
    let (sent, phase) = phase(&processes(&fleet)?, produce).with_context(|| fleet.last_words())?;
    load::consume(&mut connection, &topic_name(TOPIC), &sent)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
    let gigabytes = bytes as f64 / 1e9;
    Ok((phase.cpu_per_gigabyte(gigabytes), phase.noise))
}

pub(super) fn latency(plan: &Plan, size: Size) -> Result<(Latency, Noise)> {
    let (fleet, leader) = start(plan)?;
    let processes = processes(&fleet)?;
    let before = Snapshot::take(&processes)?;
    let measured = Latency::measure(|| Connection::open(leader), &topic_name(TOPIC), size.latency_batches);
    let noise = before.noise_until(&Snapshot::take(&processes)?);
    Ok((measured.with_context(|| fleet.last_words())?, noise))
}

/// A fresh cluster with an empty topic of one partition, and the address of its leader.
fn start(plan: &Plan) -> Result<(Fleet, SocketAddr)> {
    let mut fleet = Fleet::start(plan.clone())?;
    let replicas = fleet.ids();
    let leader = *replicas.first().context("a fleet without nodes")?;
    fleet.ask(|admin| admin.create_topic(TOPIC, std::slice::from_ref(&replicas)))?;
    fleet.wait_until_in_sync(&[TOPIC])?;
    let address = fleet.node(leader)?.address();
    Ok((fleet, address))
}

fn processes(fleet: &Fleet) -> Result<Vec<u32>> {
    fleet.nodes().iter().map(crate::fleet::Node::process_id).collect()
}
