//! The broker that is measured: in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::broker::{self, Site};
use crate::connection::Connection;

/// Ends with this value, as does its directory.
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

    /// A path in the data directory.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.site.data(name)
    }

    pub(super) fn bootstrap(&self) -> String {
        self.site.bootstrap()
    }

    /// Returns as soon as the broker listens.
    pub(super) fn connect(&mut self) -> Result<Connection> {
        self.process.reach(|| Connection::open(self.site.address()))
    }
}
