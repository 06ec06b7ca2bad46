//! The broker that is measured: in a directory of its own, watched from outside.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::connection::Connection;
use super::machine::cpu_time;
use crate::broker::{self, Site};

const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// Of a broker that does nothing but turn its loops.
const SETTLED_CPU_MAX: Duration = Duration::from_millis(10);
const SETTLE_ATTEMPTS: usize = 20;

/// Ends with this value, as does its directory.
#[derive(Debug)]
pub(super) struct Broker {
    process: broker::Broker,
    site: Site,
}

impl Broker {
    pub(super) fn spawn(program: &Path, parent: &Path) -> Result<Self> {
        let site = Site::new(program, parent, &[])?;
        Ok(Self { process: site.spawn()?, site })
    }

    /// Runs work with the broker, whose last words are told if it fails.
    pub(super) fn explained<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        work(self).with_context(|| self.process.last_words())
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn spawned(&self) -> Instant {
        self.process.spawned
    }

    pub(super) fn bootstrap(&self) -> String {
        self.site.bootstrap()
    }

    /// Returns as soon as the broker listens.
    pub(super) fn connect(&mut self) -> Result<Connection> {
        self.process.reach(|| Connection::open(self.site.port()))
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.id())
    }

    /// CPU time once the broker rests: what it puts off belongs to the work that caused it.
    pub(super) fn settled_cpu_time(&self) -> Result<Duration> {
        let mut before = self.cpu_time()?;
        for _ in 0..SETTLE_ATTEMPTS {
            thread::sleep(SETTLE_INTERVAL);
            let now = self.cpu_time()?;
            if now <= before + SETTLED_CPU_MAX {
                return Ok(now);
            }
            before = now;
        }
        bail!("the broker does not come to rest");
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let kibibytes: u64 = resident.with_context(|| format!("{path} has no VmRSS"))?.parse()?;
        Ok(kibibytes << 10)
    }
}
