//! What is compared, and how each is run: with the same `server.properties`, that of Apache Kafka's release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::lab::Programs;
use crate::broker::{Broker, free_ports};
use crate::command;
use crate::figures::connection::Connection;

/// As Kafka ships it, but for ports and directory.
const SERVER_PROPERTIES: &str = include_str!("../../../kafka-tools/server.properties");
/// What the operators of small clusters change: faster detection of failures and recovery on more threads.
const TUNED_PROPERTIES: &str =
    "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\nnum.recovery.threads.per.data.dir=8\n";
/// Apache Kafka listens only when it has loaded every partition.
const START_PATIENCE: Duration = Duration::from_mins(10);
/// Any; only its form matters.
const CLUSTER_ID: &str = "bWlsbHJhY2UtYmVuY2htYQ";
/// What the release's start script passes to the JVM, besides the heap and the place of the log of collections.
const JVM_FLAGS: [&str; 9] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dcom.sun.management.jmxremote=true",
    "-Dcom.sun.management.jmxremote.authenticate=false",
    "-Dcom.sun.management.jmxremote.ssl=false",
];
const HEAP: [&str; 2] = ["-Xmx1G", "-Xms1G"];
const TUNED_HEAP: [&str; 2] = ["-Xmx512m", "-Xms128m"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Millrace,
    /// As its release starts it.
    Kafka,
    /// With a small heap and more recovery threads.
    TunedKafka,
}

impl Contender {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Millrace => "Millrace",
            Self::Kafka => "Kafka",
            Self::TunedKafka => "tuned Kafka",
        }
    }
}

/// A formatted directory and ports, which outlive the processes that use them.
#[derive(Debug)]
pub(super) struct Site<'a> {
    contender: Contender,
    programs: &'a Programs,
    directory: TempDir,
    port: u16,
}

impl<'a> Site<'a> {
    /// Formats an empty directory below `parent`.
    pub(super) fn new(programs: &'a Programs, contender: Contender, parent: &Path) -> Result<Self> {
        let directory = tempfile::tempdir_in(parent).with_context(|| format!("cannot use {}", parent.display()))?;
        let [port, controller, _] = free_ports()?;
        let site = Self { contender, programs, directory, port };
        let mut properties = SERVER_PROPERTIES
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{data}", &site.path("data").display().to_string());
        if contender == Contender::TunedKafka {
            properties = properties.replace("num.recovery.threads.per.data.dir=1\n", TUNED_PROPERTIES);
        }
        fs::write(site.properties(), properties)?;
        command::output(&mut site.format())?;
        Ok(site)
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn spawn(&self) -> Result<Broker> {
        let mut command = match self.contender {
            Contender::Millrace => Command::new(&self.programs.millrace),
            Contender::Kafka => self.kafka(HEAP),
            Contender::TunedKafka => self.kafka(TUNED_HEAP),
        };
        match self.contender {
            Contender::Millrace => command.arg("--config"),
            Contender::Kafka | Contender::TunedKafka => &mut command,
        };
        command.arg(self.properties()).current_dir(self.directory.path());
        Broker::spawn(command, self.path("broker.log"))
    }

    /// Returns as soon as the broker listens.
    pub(super) fn connect(&self, broker: &mut Broker) -> Result<Connection> {
        broker.reach_within(START_PATIENCE, || Connection::open(self.port))
    }

    fn format(&self) -> Command {
        let mut command = match self.contender {
            Contender::Millrace => Command::new(&self.programs.millrace),
            Contender::Kafka | Contender::TunedKafka => self.programs.kafka.tool("kafka.tools.StorageTool"),
        };
        command.args(["format", "--standalone", "--cluster-id", CLUSTER_ID, "--config"]).arg(self.properties());
        command
    }

    fn kafka(&self, heap: [&str; 2]) -> Command {
        let collections = self.path("kafkaServer-gc.log");
        let log = format!("-Xlog:gc*:file={}:time,tags:filecount=10,filesize=100M", collections.display());
        let flags = heap.into_iter().chain(JVM_FLAGS).chain([log.as_str()]);
        self.programs.kafka.server(flags, "kafka.Kafka")
    }

    fn properties(&self) -> PathBuf {
        self.path("server.properties")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
