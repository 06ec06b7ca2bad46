//! Three brokers on this machine, replication factor 3, acks=all: what a fault costs a client, and what replication
//! costs the brokers. Nothing is pinned: there are not enough cores for three brokers.
//!
//! Failed records are those that a client gave up after two minutes.

mod client;
pub(super) mod failover;
mod outage;
mod steady;

use std::path::Path;

use anyhow::Result;

use super::machine::Noise;
use super::row::Row;
use super::samples::Samples;
use crate::fleet::{Fleet, Place, Plan, Program};
use crate::host;
use crate::progress::Progress;
use failover::{Client, Fault, Ground};
use outage::Outage;

const BROKERS: u8 = 3;
const STEADY_SAMPLES: usize = 5;
const MANY: [&str; 3] = ["many-1", "many-2", "many-3"];
const MANY_PARTITIONS: i32 = 1_000;

/// How much is produced.
#[derive(Debug, Clone, Copy)]
struct Size {
    batches: u32,
    latency_batches: u32,
}

const WHOLE: Size = Size { batches: 1_000, latency_batches: 18_000 };

/// Three brokers, and how often each fault happens to them.
pub(super) struct Trio<'a> {
    plan: Plan,
    samples: usize,
    progress: &'a Progress,
}

/// The fault, the time that is limited, and the limit in milliseconds.
type Promise = (Fault, &'static str, fn(&Outage) -> f64, f64);

/// Links are cut only by root.
const FAULTS: [Promise; 6] = [
    (Fault::KillLeader, "SIGKILL of a leader that is not the controller to the next acknowledgement", recovered, 600.0),
    (Fault::KillLeaderAndController, "the same where it is the controller", recovered, 1_500.0),
    (Fault::KillFollower, "SIGKILL of a follower, longest gap", gap, 400.0),
    (Fault::PauseLeader, "SIGSTOP of a leader to the next acknowledgement", recovered, 5_000.0),
    (Fault::CutLeaderOff, "links of a leader cut to the next acknowledgement", recovered, 5_000.0),
    (Fault::TerminateLeader, "SIGTERM of a leader, longest gap", gap, 150.0),
];

/// By default it waits a minute for a silent broker: its users shorten that.
const fn through_librdkafka(fault: Fault) -> (Client, &'static str) {
    match fault {
        Fault::PauseLeader | Fault::CutLeaderOff => {
            (Client::ImpatientLibrdkafka, "  through librdkafka with socket.timeout.ms=1000")
        }
        _ => (Client::Librdkafka, "  through librdkafka"),
    }
}

fn recovered(outage: &Outage) -> f64 {
    outage.recovered_after.as_secs_f64() * 1e3
}

fn gap(outage: &Outage) -> f64 {
    outage.longest_gap.as_secs_f64() * 1e3
}

impl<'a> Trio<'a> {
    pub(super) fn new(program: &Path, samples: usize, progress: &'a Progress) -> Self {
        Self { plan: Plan::new(Program::Millrace(program.to_owned()), BROKERS), samples, progress }
    }

    pub(super) fn produce(&self) -> Result<Vec<Row>> {
        let samples = Samples::collect(STEADY_SAMPLES, || {
            let (cost, noise) = steady::cpu_per_gigabyte(&self.plan, WHOLE)?;
            self.progress.note(format_args!("produce to three replicas {cost:.2} CPU s/GB; {noise}"));
            Ok((cost, noise))
        })?;
        let what = "produce, 1 KiB records in 1 MB batches, acks=all, three replicas, CPU of all brokers per GB";
        Ok(vec![Row::new(what, "s", 2, samples).at_most(4.0)])
    }

    pub(super) fn latency(&self) -> Result<Vec<Row>> {
        let latency = Samples::collect(STEADY_SAMPLES, || {
            let (latency, noise) = steady::latency(&self.plan, WHOLE)?;
            self.progress.note(format_args!("{latency}; {noise}"));
            Ok((latency, noise))
        })?;
        let what = "send to read, 20 MB/s in 10 KB batches, acks=all, three replicas, p99";
        Ok(vec![
            Row::new(what, "ms", 2, latency.map(|latency| latency.p99)).at_most(15.0),
            Row::new("the same, p99.9", "ms", 2, latency.map(|latency| latency.p999)).at_most(40.0),
        ])
    }

    pub(super) fn idle(&self) -> Result<Vec<Row>> {
        let idle = Samples::collect(STEADY_SAMPLES, || {
            let (idle, noise) = steady::idle(&self.plan)?;
            self.progress.note(format_args!("idle {:.1} MiB, {:.2} % of a core", idle.mebibytes, idle.cpu_percent));
            Ok((idle, noise))
        })?;
        let (resident, busy) = (idle.map(|idle| idle.mebibytes), idle.map(|idle| idle.cpu_percent));
        Ok(vec![
            Row::new("broker resident, idle, the largest of three", "MiB", 2, resident).at_most(24.0),
            Row::new("CPU of an idle broker, the busiest of three", "%", 2, busy).at_most(1.0),
        ])
    }

    /// Each fault with both clients; the limits are for the one that does not back off.
    pub(super) fn failover(&self) -> Result<Vec<Row>> {
        let place = if host::is_root() { Place::Namespaces } else { Place::Loopback };
        if place == Place::Namespaces {
            host::install(host::FLEET_TOOLS, self.progress)?;
        }
        let plan = Plan { place, ..self.plan.clone() };
        let (mut ground, mut rows) = (None, Vec::new());
        for (fault, what, time, at_most) in FAULTS {
            if fault == Fault::CutLeaderOff && place == Place::Loopback {
                self.progress.note("NOT MEASURED without root: what cut links cost");
                continue;
            }
            let (librdkafka, label) = through_librdkafka(fault);
            let raw = self.outages(&plan, &mut ground, fault, Client::WithoutBackOff);
            let librdkafka = self.outages(&plan, &mut ground, fault, librdkafka);
            rows.push(Row::new(what, "ms", 0, raw.map(time)).at_most(at_most));
            rows.push(Row::new(label, "ms", 0, librdkafka.map(time)));
            let failed = raw.taken.iter().chain(&librdkafka.taken).map(|outage| outage.failed).sum::<usize>();
            let failed = Samples::one(f64::from(u32::try_from(failed)?));
            rows.push(Row::new("  failed", "records", 0, failed).at_most(0.0));
        }
        Ok(rows)
    }

    /// A failure leaves the row empty, and the next one begins with new brokers.
    fn outages(&self, plan: &Plan, ground: &mut Option<Ground>, fault: Fault, client: Client) -> Samples<Outage> {
        let present = ground.take().map_or_else(|| Fleet::start(plan.clone()).map(Ground::new), Ok);
        let measured = present.and_then(|mut present| {
            let samples = Samples::collect(self.samples, || self.outage(&mut present, fault, client))?;
            *ground = Some(present);
            Ok(samples)
        });
        measured.unwrap_or_else(|error| {
            self.progress.note(format_args!("NOT MEASURED: {fault:?}, {client:?}: {error:#}"));
            Samples::none()
        })
    }

    fn outage(&self, ground: &mut Ground, fault: Fault, client: Client) -> Result<(Outage, Noise)> {
        let (outage, noise) = ground.outage(fault, client)?;
        self.progress.note(format_args!(
            "{fault:?}, {client:?}: acknowledged after {:.0} ms, longest gap {:.0} ms, {} failed; {noise}",
            recovered(&outage),
            gap(&outage),
            outage.failed,
        ));
        Ok((outage, noise))
    }

    pub(super) fn controller_failover(&self) -> Result<Vec<Row>> {
        let mut ground = Ground::new(Fleet::start(self.plan.clone())?);
        let what = "SIGKILL of the controller to the next topic created";
        let alone = self.controller_outages(&mut ground, what, &[], 1_500.0)?;
        failover::create_topics(&mut ground.fleet, &MANY, MANY_PARTITIONS)?;
        let what = "the same with 3,000 partitions, all of them led again";
        Ok(vec![alone, self.controller_outages(&mut ground, what, &MANY, 2_000.0)?])
    }

    fn controller_outages(&self, ground: &mut Ground, what: &str, topics: &[&str], at_most: f64) -> Result<Row> {
        let samples = Samples::collect(self.samples, || {
            let (outage, noise) = ground.controller_outage(topics)?;
            self.progress.note(format_args!("controller failover {} ms; {noise}", outage.as_millis()));
            Ok((outage.as_secs_f64() * 1e3, noise))
        })?;
        Ok(Row::new(what, "ms", 0, samples).at_most(at_most))
    }
}
