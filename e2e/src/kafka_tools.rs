//! Apache Kafka's own command-line tools: fetched by Maven, kept in the user's cache under the hash of the
//! `pom.xml` that pins them, run by the names of their classes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::progress::Progress;
use crate::{command, hash};

const FETCH_EXPECTED: Duration = Duration::from_secs(30);
const INSTALL_EXPECTED: Duration = Duration::from_mins(1);

/// The pom, and a logging configuration that leaves standard error to what the tools themselves say.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka-tools");

/// A tool lives for a second: neither a parallel collector nor the second compiler pays.
const JVM_FLAGS: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// The JVM announces on standard error that it heeds them.
const JVM_VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// A program, and the Debian package that brings it.
type Needed = (&'static str, &'static str);

const JAVA: Needed = ("java", "default-jdk-headless");
const MAVEN: Needed = ("mvn", "maven");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTools {
    jars: PathBuf,
}

impl KafkaTools {
    /// Fetches the jars unless they are there, and installs what it takes to fetch and to run them.
    pub fn fetch(progress: &Progress) -> Result<Self> {
        let jars = cache_directory()?;
        let cache = jars.parent().context("the cache directory has no parent")?;
        fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let lock = File::create(cache.join("kafka-tools.lock"))?;
        lock.lock()?;
        if jars.is_dir() {
            install(&[JAVA], progress)?;
        } else {
            install(&[JAVA, MAVEN], progress)?;
            progress.step("fetch Apache Kafka's tools with Maven, once", FETCH_EXPECTED, || download(cache, &jars))?;
        }
        Ok(Self { jars })
    }

    /// The command that runs a tool, to be given the tool's arguments.
    pub fn tool(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        for variable in JVM_VARIABLES {
            java.env_remove(variable);
        }
        java.args(JVM_FLAGS)
            .arg(format!("-Dlog4j2.configurationFile={DIRECTORY}/log4j2.properties"))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class);
        java
    }
}

fn cache_directory() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where to keep Apache Kafka's tools")?;
    let pom = fs::read(pom()).with_context(|| format!("cannot read {}", pom().display()))?;
    Ok(cache.join("millrace").join(format!("kafka-tools-{}", hash::short([pom]))))
}

fn pom() -> PathBuf {
    Path::new(DIRECTORY).join("pom.xml")
}

/// Fetches beside the final directory, which appears at once and complete.
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

fn install(needed: &[Needed], progress: &Progress) -> Result<()> {
    let missing: Vec<_> = needed.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    ensure!(on_path("apt-get"), "not installed: {packages} (Debian's package names); please install them");
    progress.step(format!("install {packages} with apt-get"), INSTALL_EXPECTED, || {
        apt_get("update")?;
        apt_get(&format!("install -y --no-install-recommends {packages}"))
    })
}

fn apt_get(arguments: &str) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").args(arguments.split_whitespace());
    command::output(&mut apt_get).map(drop)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
