//! How long a client waits when a fault happens to one of three brokers. Every sample is one fault, after which the
//! cluster is repaired.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::{self, Target};
use super::outage::{Outage, Timeline};
use crate::admin::Admin;
use crate::command;
use crate::figures::machine::{Noise, Snapshot};
use crate::fleet::{Cut, Fleet};

/// Before a fault, and at least after it.
const WATCHED_BEFORE: Duration = Duration::from_millis(500);
const WATCHED_AFTER: Duration = Duration::from_secs(2);
/// How long records must be acknowledged again.
const STEADY_FOR: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(1);
const IMPATIENT: (&str, &str) = ("socket.timeout.ms", "1000");
const ANSWER_AT_MOST: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::figures) enum Fault {
    /// The leader, unless it is the active controller.
    KillLeader,
    KillLeaderAndController,
    /// A follower that is not the active controller.
    KillFollower,
    PauseLeader,
    CutLeaderOff,
    TerminateLeader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::figures) enum Client {
    WithoutBackOff,
    Librdkafka,
    /// It gives up a request that is not answered within a second.
    ImpatientLibrdkafka,
}

/// A fleet whose brokers are the victims in turn.
#[derive(Debug)]
pub(in crate::figures) struct Ground {
    pub(in crate::figures) fleet: Fleet,
    samples: usize,
}

/// Ends the client when the main thread ends, for whatever reason.
struct EndClient<'a>(&'a Timeline);

impl Drop for EndClient<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Ground {
    pub(in crate::figures) fn new(fleet: Fleet) -> Self {
        Self { fleet, samples: 0 }
    }

    pub(in crate::figures) fn outage(&mut self, fault: Fault, client: Client) -> Result<(Outage, Noise)> {
        self.samples += 1;
        let controller = self.fleet.controller()?;
        let victim = match fault {
            Fault::KillLeaderAndController => controller,
            _ => self.other_than(controller)?,
        };
        let topic = format!("failover-{}", self.samples);
        let mut replicas = self.fleet.ids();
        // The preferred leader is the first.
        replicas.sort_by_key(|id| (*id == victim) == (fault == Fault::KillFollower));
        self.fleet.ask(|admin| admin.create_topic(&topic, &[replicas.clone()]))?;
        self.fleet.wait_until_in_sync(&[&topic])?;
        let brokers = self.fleet.nodes().iter().map(|node| (node.id(), node.address())).collect();
        let target = Target { brokers, topic: topic.clone() };
        let measured = self.watch(fault, victim, client, &target);
        let measured = measured.with_context(|| self.fleet.last_words());
        self.undo(fault, victim)?;
        self.fleet.wait_until_in_sync(&[&topic])?;
        self.fleet.ask(|admin| admin.delete_topic(&topic))?;
        measured
    }

    fn watch(&mut self, fault: Fault, victim: i32, client: Client, target: &Target) -> Result<(Outage, Noise)> {
        let timeline = Arc::new(Timeline::default());
        let before = Snapshot::take(&[])?;
        let at = thread::scope(|scope| {
            let end = EndClient(&timeline);
            let producing = scope.spawn(|| match client {
                Client::WithoutBackOff => client::produce_without_back_off(target, &timeline),
                Client::Librdkafka => client::produce_by_librdkafka(target, &timeline, &[]),
                Client::ImpatientLibrdkafka => client::produce_by_librdkafka(target, &timeline, &[IMPATIENT]),
            });
            timeline.wait_until_acknowledged_from(Instant::now(), PATIENCE)?;
            thread::sleep(WATCHED_BEFORE);
            let at = Instant::now();
            self.inflict(fault, victim)?;
            thread::sleep(WATCHED_AFTER);
            timeline.wait_until_acknowledged_from(Instant::now(), PATIENCE)?;
            thread::sleep(STEADY_FOR);
            drop(end);
            producing.join().map_err(|_| anyhow::anyhow!("the client has panicked"))??;
            anyhow::Ok(at)
        })?;
        let noise = before.noise_until(&Snapshot::take(&[])?);
        Ok((timeline.outage(at).context("nothing was acknowledged")?, noise))
    }

    fn inflict(&mut self, fault: Fault, victim: i32) -> Result<()> {
        match fault {
            Fault::KillLeader | Fault::KillLeaderAndController | Fault::KillFollower => self.fleet.node(victim)?.kill(),
            Fault::PauseLeader => self.fleet.node(victim)?.pause(),
            Fault::CutLeaderOff => self.fleet.cut(Cut::FromAll(u8::try_from(victim)?)),
            Fault::TerminateLeader => self.fleet.node(victim)?.terminate(),
        }
    }

    fn undo(&mut self, fault: Fault, victim: i32) -> Result<()> {
        match fault {
            Fault::PauseLeader => self.fleet.node(victim)?.resume()?,
            Fault::CutLeaderOff => self.fleet.heal()?,
            _ if self.fleet.node(victim)?.is_running() => {}
            _ => self.fleet.spawn(victim)?,
        }
        self.fleet.wait_until_serving()
    }

    /// From SIGKILL of the active controller until a survivor has created a topic, and every partition of these topics
    /// is led by a survivor.
    pub(in crate::figures) fn controller_outage(&mut self, topics: &[&str]) -> Result<(Duration, Noise)> {
        self.samples += 1;
        let name = format!("after-{}", self.samples);
        let victim = self.fleet.controller()?;
        let before = Snapshot::take(&[])?;
        let began = Instant::now();
        self.fleet.node(victim)?.kill()?;
        let outcome = self.wait_for_controller(&name, topics, victim).map(|()| began.elapsed());
        let outcome = outcome.with_context(|| self.fleet.last_words());
        let noise = before.noise_until(&Snapshot::take(&[])?);
        self.fleet.spawn(victim)?;
        self.fleet.wait_until_serving()?;
        self.fleet.wait_until_in_sync(&[topics, &[&name]].concat())?;
        self.fleet.ask(|admin| admin.delete_topic(&name))?;
        Ok((outcome?, noise))
    }

    fn wait_for_controller(&self, name: &str, topics: &[&str], victim: i32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let survivors = || self.fleet.nodes().iter().filter(|node| node.is_running() && node.is_broker());
        let mut created = false;
        for node in survivors().cycle() {
            let attempt = Admin::open(node.address(), ANSWER_AT_MOST).and_then(|mut admin| {
                if !created {
                    let replicas = survivors().map(crate::fleet::Node::id).collect();
                    admin.create_topic(name, &[replicas])?;
                }
                let mut led = true;
                for topic in topics {
                    let partitions = admin.partitions(topic)?;
                    led &= partitions.iter().all(|found| found.leader.is_some_and(|leader| leader != victim));
                }
                Ok(led)
            });
            match attempt {
                Ok(true) => return Ok(()),
                Ok(false) => created = true,
                Err(error) if deadline <= Instant::now() => return Err(error),
                Err(_) => {}
            }
            thread::sleep(RETRY_PAUSE);
        }
        bail!("no broker survived")
    }

    /// In turn.
    fn other_than(&self, controller: i32) -> Result<i32> {
        let others: Vec<_> = self.fleet.ids().into_iter().filter(|id| *id != controller).collect();
        ensure!(!others.is_empty(), "a fleet of one has nobody to fail over to");
        Ok(others[self.samples % others.len()])
    }
}

/// Waits until the topics are there.
pub(in crate::figures) fn create_topics(fleet: &mut Fleet, names: &[&str], partitions: i32) -> Result<()> {
    for name in names {
        let create = || fleet.ask(|admin| admin.create_topic_of(name, partitions, 3));
        command::retry(PATIENCE, create)?;
    }
    fleet.wait_until_in_sync(names)
}
