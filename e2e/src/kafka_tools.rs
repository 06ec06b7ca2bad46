//! Apache Kafka, its own command-line tools and its broker: fetched by Maven, kept in the user's cache under the hash
//! of the `pom.xml` that pins them, run by the names of their classes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::host::{JAVA, JAVA_AND_MAVEN, Tool, install};
use crate::progress::Progress;

const FETCH_EXPECTED: Duration = Duration::from_secs(30);

/// The pom, the broker's configuration as released, and the log configuration: standard error has only what the tools
/// print themselves.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka-tools");

/// A tool lives for a second: neither a parallel collector nor the second compiler pays off.
const JVM_FLAGS: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// The JVM prints to standard error if they are set.
const JVM_VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTools {
    jars: PathBuf,
}

impl KafkaTools {
    /// What [`KafkaTools::fetch`] needs of the machine.
    pub fn needs() -> Result<&'static [Tool]> {
        Ok(needed(&jars()?))
    }

    /// Fetches the jars unless they exist, and installs what is needed to fetch and to run them.
    pub fn fetch(progress: &Progress) -> Result<Self> {
        let jars = jars()?;
        let (cache, _lock) = cache::lock(&jars, "kafka-tools")?;
        install(needed(&jars), progress)?;
        if !jars.is_dir() {
            progress.step("fetch Apache Kafka's tools with Maven, once", FETCH_EXPECTED, || download(&cache, &jars))?;
        }
        Ok(Self { jars })
    }

    /// The command that runs a tool, to be given the tool's arguments.
    pub fn tool(&self, class: &str) -> Command {
        self.java(JVM_FLAGS, "log4j2.properties", class)
    }

    /// The command that runs a server, which logs to its standard output.
    pub(crate) fn server<'f>(&self, flags: impl IntoIterator<Item = &'f str>, class: &str) -> Command {
        self.java(flags, "server-log4j2.properties", class)
    }

    fn java<'f>(&self, flags: impl IntoIterator<Item = &'f str>, logging: &str, class: &str) -> Command {
        let mut java = Command::new("java");
        for variable in JVM_VARIABLES {
            java.env_remove(variable);
        }
        java.args(flags)
            .arg(format!("-Dlog4j2.configurationFile={DIRECTORY}/{logging}"))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class);
        java
    }
}

fn needed(jars: &Path) -> &'static [Tool] {
    if jars.is_dir() { JAVA } else { JAVA_AND_MAVEN }
}

fn jars() -> Result<PathBuf> {
    let pinned = fs::read(pom()).with_context(|| format!("cannot read {}", pom().display()))?;
    cache::entry("kafka-tools", [pinned])
}

fn pom() -> PathBuf {
    Path::new(DIRECTORY).join("pom.xml")
}

/// Fetches beside the final directory, which appears complete and at once.
fn download(cache: &Path, jars: &Path) -> Result<()> {
    let unfinished = tempfile::tempdir_in(cache)?;
    let mut output_directory = OsString::from("-DoutputDirectory=");
    output_directory.push(unfinished.path());
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(pom());
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]).arg(output_directory);
    let result = maven.output().context("cannot run mvn")?;
    // Maven complains on standard output.
    ensure!(result.status.success(), "mvn failed, {}: {}", result.status, String::from_utf8_lossy(&result.stdout));
    fs::rename(unfinished.keep(), jars).with_context(|| format!("cannot create {}", jars.display()))
}
