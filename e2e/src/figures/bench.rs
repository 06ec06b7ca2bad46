//! The setup of every figure of one broker.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::thread::CpuSet;

use super::machine::{Cores, on_cores};
use super::process::Broker;
use crate::progress::Progress;

/// A program, the place for its data directories, and a core for it and one for its clients.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    program: PathBuf,
    pub(super) directory: PathBuf,
    cores: Cores,
    pub(super) progress: &'a Progress,
}

impl<'a> Bench<'a> {
    /// Data directories lie beside the program: on a disk, and on the same one for every sample.
    pub(super) fn new(program: &Path, progress: &'a Progress) -> Result<Self> {
        let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
        let directory = program.parent().context("a program in no directory")?.to_owned();
        Ok(Self { program, directory, cores: Cores::choose()?, progress })
    }

    /// Work with a broker that is not pinned to a core.
    pub(super) fn with_broker<T>(&self, work: impl FnOnce(&mut Broker) -> Result<T>) -> Result<T> {
        Broker::spawn(&self.program, &self.directory, &[])?.explained(work)
    }

    /// Work of clients on one core with a broker on the other.
    pub(super) fn with_pinned<T>(&self, settings: &[&str], work: impl FnOnce(&mut Broker) -> Result<T>) -> Result<T> {
        self.with_clients_on(&self.cores.client, settings, work)
    }

    /// Work of clients on the broker's own core. No idle core is ever woken, which on a virtual machine costs both
    /// sides more than a small request does: see [`super::echo`].
    pub(super) fn with_one_core<T>(&self, settings: &[&str], work: impl FnOnce(&mut Broker) -> Result<T>) -> Result<T> {
        self.with_clients_on(&self.cores.broker, settings, work)
    }

    fn with_clients_on<T>(
        &self,
        core: &CpuSet,
        settings: &[&str],
        work: impl FnOnce(&mut Broker) -> Result<T>,
    ) -> Result<T> {
        let spawn = || Broker::spawn(&self.program, &self.directory, settings);
        self.on_broker_core(spawn)?.explained(|broker| on_cores(core, || work(broker)))
    }

    pub(super) fn on_broker_core<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        on_cores(&self.cores.broker, work)
    }

    pub(super) fn on_client_core<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        on_cores(&self.cores.client, work)
    }

    /// The broker returns to its core.
    pub(super) fn restart(&self, broker: &mut Broker) -> Result<()> {
        self.on_broker_core(|| broker.restart())
    }
}
