//! The broker that is measured, with its own directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::broker::{self, Site};
use crate::connection::Connection;
use crate::fleet::management;

const MANAGEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// Ends when this is dropped, and its directory is removed.
#[derive(Debug)]
pub(super) struct Broker {
    process: broker::Broker,
    site: Site,
}

impl Broker {
    pub(super) fn spawn(program: &Path, parent: &Path, settings: &[&str]) -> Result<Self> {
        let site = Site::new(program, parent, settings)?;
        Ok(Self { process: site.spawn()?, site })
    }

    /// Stops it, and runs it again with the same directory.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.process.end_well()?;
        self.process = self.site.spawn()?;
        Ok(())
    }

    /// Runs work with the broker; a failure has its last log lines.
    pub(super) fn explained<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        work(self).with_context(|| self.process.last_words())
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn spawned(&self) -> Instant {
        self.process.spawned
    }

    /// A path in the data directory.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.site.data(name)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.site.address()
    }

    pub(super) fn bootstrap(&self) -> String {
        self.site.bootstrap()
    }

    /// Returns as soon as the broker listens.
    pub(super) fn connect(&mut self) -> Result<Connection> {
        self.process.reach(|| Connection::open(self.site.address()))
    }

    /// As reported by the broker itself.
    pub(super) fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = management::get(self.site.management(), "/metrics", "", MANAGEMENT_PATIENCE)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("no {name} among the metrics"))
    }
}
