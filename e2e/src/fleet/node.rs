//! A node of a fleet: its addresses, its volume and, while it runs, its process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use super::management;
use super::network::Network;
use super::plan::{Member, Volumes};
use super::program::Program;
use super::volume::Volume;
use crate::broker::Broker;
use crate::cluster::processes::ProcessRecord;
use crate::command;

const ANSWER_AT_MOST: Duration = Duration::from_secs(5);
/// Including controlled shutdown.
const STOP_PATIENCE: Duration = Duration::from_mins(1);
/// Token of the management API.
pub(super) const TOKEN: &str = "fleet";

#[derive(Debug)]
pub struct Node {
    pub(super) member: Member,
    program: Program,
    directory: PathBuf,
    volume: Volume,
    record: PathBuf,
    process: Option<Broker>,
}

impl Node {
    /// With an empty volume, not formatted yet.
    pub(super) fn new(
        member: Member,
        program: &Program,
        directory: PathBuf,
        record: PathBuf,
        volumes: Volumes,
    ) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let volume = Volume::create(&directory, volumes)?;
        Ok(Self { member, program: program.clone(), directory, volume, record, process: None })
    }

    pub fn id(&self) -> i32 {
        self.member.id
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.member.clients
    }

    /// The address for the quorum.
    pub fn controller_address(&self) -> SocketAddr {
        self.member.controller
    }

    pub fn is_broker(&self) -> bool {
        self.member.is_broker
    }

    pub fn is_controller(&self) -> bool {
        self.member.is_controller
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn process_id(&self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    /// A path in the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.volume.data().join(name)
    }

    /// The directory id in its data directory.
    pub fn directory_id(&self) -> Result<Uuid> {
        let path = self.data("meta.properties");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let id = text.lines().find_map(|line| line.strip_prefix("directory.id="));
        let id: protocol::types::DirectoryId = id.and_then(|id| id.parse().ok()).context("no directory.id")?;
        Ok(id.0)
    }

    /// The file that configures it.
    pub fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    /// Formats the empty volume, with these arguments for the initial controllers.
    pub(super) fn format(&self, cluster_id: &str, controllers: &[&str]) -> Result<()> {
        let mut format = self.program.format(&self.properties());
        command::output(format.args(["--cluster-id", cluster_id]).args(controllers)).map(drop)
    }

    pub(super) fn spawn(&mut self, network: Option<&Network>) -> Result<()> {
        ensure!(self.process.is_none(), "node {} runs already", self.id());
        let mut serve = self.program.serve(&self.properties(), &self.directory);
        if let Some(network) = network {
            serve = network.within(u8::try_from(self.id())?, &serve);
        }
        let broker = Broker::spawn(serve, self.log())?;
        ProcessRecord::of(i32::try_from(broker.id())?)?.write(&self.record)?;
        self.process = Some(broker);
        Ok(())
    }

    /// SIGKILL, also to a paused process. Fails if it had ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        let process = self.process.take().with_context(|| format!("node {} does not run", self.id()))?;
        process.kill().with_context(|| format!("node {}", self.id()))
    }

    /// SIGTERM; the exit must be successful.
    pub fn terminate(&mut self) -> Result<()> {
        let mut process = self.process.take().with_context(|| format!("node {} does not run", self.id()))?;
        let status = process.terminate(STOP_PATIENCE).with_context(|| process.last_words())?;
        // A JVM that heeds the signal does not exit successfully.
        let is_well = status.success() || matches!(self.program, Program::Kafka { .. });
        ensure!(is_well, "node {} ended with {status}; {}", self.id(), process.last_words());
        Ok(())
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.running()?.resume()
    }

    /// Cuts the machine's power: everything unsynced is lost, and the process ends.
    pub fn lose_power(&mut self) -> Result<()> {
        // It must not notice, and log, that its disk has gone first.
        self.pause()?;
        self.volume.cut_power()?;
        self.kill()?;
        self.volume.restore_power()
    }

    pub fn fill_volume(&self) -> Result<()> {
        self.volume.fill()
    }

    pub fn free_volume(&self) -> Result<()> {
        self.volume.free()
    }

    /// Copies the volume of a stopped node.
    pub fn copy_volume(&self) -> Result<()> {
        self.down()?;
        self.volume.copy()
    }

    /// Restores the copy to the volume of a stopped node.
    pub fn put_copy_back(&self) -> Result<()> {
        self.down()?;
        self.volume.put_copy_back()
    }

    /// Replaces the volume of a stopped node by an empty one.
    pub(super) fn wipe(&self) -> Result<()> {
        self.down()?;
        self.volume.wipe()
    }

    /// Whether the node has registered and may serve.
    pub fn is_ready(&self) -> Result<bool> {
        Ok(self.ask("/readyz")?.0 == 200)
    }

    /// Its answer to `/v1/cluster`.
    pub fn cluster(&self) -> Result<Value> {
        let (status, body) = self.ask("/v1/cluster")?;
        ensure!(status == 200, "node {} answers {status}: {body}", self.id());
        Ok(serde_json::from_str(&body)?)
    }

    /// Calls it as the active controller. Returns status and body.
    pub fn command(&self, path: &str, body: &Value) -> Result<(u16, String)> {
        management::post(self.member.management, path, TOKEN, body, ANSWER_AT_MOST)
    }

    fn ask(&self, path: &str) -> Result<(u16, String)> {
        management::get(self.member.management, path, TOKEN, ANSWER_AT_MOST)
    }

    /// Whether its log contains these words.
    pub fn has_said(&self, words: &str) -> Result<bool> {
        Ok(fs::read_to_string(self.log())?.contains(words))
    }

    pub(super) fn keep_log(&self, copy: &Path) -> Result<()> {
        fs::copy(self.log(), copy).with_context(|| format!("cannot write {}", copy.display())).map(drop)
    }

    /// The end of the log of a node that has run.
    pub fn last_words(&self) -> String {
        format!("node {}: {}", self.id(), crate::broker::end_of(&self.log()))
    }

    /// Fails with the end of its log if the process has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let id = self.member.id;
        self.process.as_mut().map_or(Ok(()), |process| process.check().with_context(|| format!("node {id}")))
    }

    fn running(&self) -> Result<&Broker> {
        self.process.as_ref().with_context(|| format!("node {} does not run", self.id()))
    }

    fn down(&self) -> Result<()> {
        ensure!(self.process.is_none(), "node {} runs", self.id());
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("broker.log")
    }
}
