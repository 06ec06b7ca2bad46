//! The contenders, and how each is run: with the same `server.properties`, that of Apache Kafka's release.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::lab::Programs;
use crate::broker::{Broker, free_ports};
use crate::command;
use crate::connection::Connection;
use crate::fleet::Program;

/// As shipped by Kafka, except for ports and directory.
const SERVER_PROPERTIES: &str = include_str!("../../../kafka-tools/server.properties");
/// Options that operators of small clusters change: faster failure detection and recovery on more threads.
const TUNED_PROPERTIES: &str =
    "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\nnum.recovery.threads.per.data.dir=8\n";
/// Apache Kafka listens only when it has loaded every partition.
const START_PATIENCE: Duration = Duration::from_mins(10);
/// Any value of the right form.
const CLUSTER_ID: &str = "bWlsbHJhY2UtYmVuY2htYQ";
/// As started by the release.
const HEAP: [&str; 2] = ["-Xmx1G", "-Xms1G"];
const TUNED_HEAP: [&str; 2] = ["-Xmx512m", "-Xms128m"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Millrace,
    /// As started by its release.
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

    /// Settings in addition to Kafka's defaults.
    pub(super) fn settings(self) -> impl Iterator<Item = &'static str> {
        let tuned = if self == Self::TunedKafka { TUNED_PROPERTIES } else { "" };
        tuned.lines()
    }

    pub(super) fn program(self, programs: &Programs) -> Program {
        let kafka = |heap| Program::Kafka { tools: programs.kafka.clone(), heap };
        match self {
            Self::Millrace => Program::Millrace(programs.millrace.clone()),
            Self::Kafka => kafka(HEAP),
            Self::TunedKafka => kafka(TUNED_HEAP),
        }
    }
}

/// A formatted directory and ports, which outlive the processes that use them.
#[derive(Debug)]
pub(super) struct Site {
    program: Program,
    directory: TempDir,
    port: u16,
}

impl Site {
    /// Formats an empty directory below `parent`.
    pub(super) fn new(programs: &Programs, contender: Contender, parent: &Path) -> Result<Self> {
        let directory = tempfile::tempdir_in(parent).with_context(|| format!("cannot use {}", parent.display()))?;
        let [port, controller, _] = free_ports()?;
        let site = Self { program: contender.program(programs), directory, port };
        let mut properties = SERVER_PROPERTIES
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{data}", &site.path("data").display().to_string());
        if contender == Contender::TunedKafka {
            properties = properties.replace("num.recovery.threads.per.data.dir=1\n", TUNED_PROPERTIES);
        }
        fs::write(site.properties(), properties)?;
        let mut format = site.program.format(&site.properties());
        command::output(format.args(["--standalone", "--cluster-id", CLUSTER_ID]))?;
        Ok(site)
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn spawn(&self) -> Result<Broker> {
        Broker::spawn(self.program.serve(&self.properties(), self.directory.path()), self.path("broker.log"))
    }

    /// Returns as soon as the broker listens.
    pub(super) fn connect(&self, broker: &mut Broker) -> Result<Connection> {
        broker.reach_within(START_PATIENCE, || Connection::open(([127, 0, 0, 1], self.port)))
    }

    fn properties(&self) -> PathBuf {
        self.path("server.properties")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
