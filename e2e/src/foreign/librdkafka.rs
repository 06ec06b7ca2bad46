//! librdkafka's tests, compiled from the sources in the crate `rdkafka-sys` and kept in the user's cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Outcome, run};
use crate::host::{LIBRDKAFKA, Tool, install};
use crate::progress::Progress;
use crate::{cache, command};

/// The version whose features the tests may expect of the broker.
const KAFKA_VERSION: &str = "4.0.0";

/// Neither Kerberos nor a web server for tokens is available here.
const CONFIGURE: [&str; 3] = ["--disable-debug-symbols", "--disable-gssapi", "--disable-curl"];

const BUILD_EXPECTED: Duration = Duration::from_mins(3);

/// The runner and the libraries that it loads.
const PRODUCTS: [&str; 3] = ["tests/test-runner", "src/librdkafka.so.1", "src-cpp/librdkafka++.so.1"];

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Librdkafka {
    directory: PathBuf,
}

/// What the runner reports when its tests have ended.
#[derive(Debug, Default, Deserialize)]
struct Report {
    tests: BTreeMap<String, Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    state: String,
}

impl Librdkafka {
    pub const NEEDS: &[Tool] = LIBRDKAFKA;

    pub fn build(progress: &Progress) -> Result<Self> {
        let package = Package::find("rdkafka-sys")?;
        let recipe = CONFIGURE.into_iter().chain(PRODUCTS).chain([package.version.as_str()]);
        let directory = cache::entry("librdkafka", recipe)?;
        let (cache, _lock) = cache::lock(&directory, "librdkafka")?;
        install(Self::NEEDS, progress)?;
        if !directory.is_dir() {
            let what = format!("compile the tests of librdkafka ({}), once", package.version);
            progress.step(what, BUILD_EXPECTED, || compile(&package.sources()?, &cache, &directory))?;
        }
        Ok(Self { directory })
    }

    /// Every test: `0005_order`.
    pub fn tests(&self) -> Result<Vec<String>> {
        let (report, _) = self.runner("127.0.0.1:1", "none", Duration::from_secs(30))?;
        Ok(report.tests.into_keys().collect())
    }

    /// One test with all its sub-tests, none shortened. A test that skips itself has not passed.
    pub fn run(&self, bootstrap: &str, test: &str, at_most: Duration) -> Result<Outcome> {
        let number = test.split('_').next().unwrap_or_default();
        let (report, said) = self.runner(bootstrap, number, at_most)?;
        Ok(Outcome { passed: report.tests.get(test).is_some_and(|test| test.state == "PASSED"), said })
    }

    /// Runs all tests of these numbers except those that need no broker. The report is empty after a timeout.
    fn runner(&self, bootstrap: &str, numbers: &str, at_most: Duration) -> Result<(Report, String)> {
        let place = tempfile::tempdir()?;
        let settings = format!("bootstrap.servers={bootstrap}\ntest.topic.random=true\ntest.timeout.multiplier=2\n");
        fs::write(place.path().join("test.conf"), settings)?;
        let mut runner = Command::new("timeout");
        runner.arg(at_most.as_secs().to_string()).arg(self.directory.join("test-runner")).args(["-p1", "-L"]);
        runner.current_dir(place.path()).env("LD_LIBRARY_PATH", &self.directory);
        runner.env("TESTS", numbers).env("TEST_KAFKA_VERSION", KAFKA_VERSION).env("TEST_REPORT", "report.json");
        // With it set the tests would take more time.
        runner.env_remove("CI");
        let (_, said) = run(&mut runner)?;
        let report = fs::read_to_string(place.path().join("report.json")).unwrap_or_default();
        let report = serde_json::from_str(&report).unwrap_or_default();
        Ok((report, said))
    }
}

/// A package that this one depends on, as known to cargo.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

impl Package {
    fn find(name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["metadata", "--format-version=1", "--locked", "--manifest-path", MANIFEST]);
        let metadata: Metadata = serde_json::from_str(&command::output(&mut cargo)?)?;
        let mut packages = metadata.packages.into_iter();
        packages.find(|package| package.name == name).with_context(|| format!("cargo knows of no package {name}"))
    }

    fn sources(&self) -> Result<PathBuf> {
        Ok(self.manifest_path.parent().context("a manifest lies in a directory")?.join("librdkafka"))
    }
}

/// Compiles a copy beside the final directory, which appears complete and at once.
fn compile(sources: &Path, cache: &Path, directory: &Path) -> Result<()> {
    let (copy, products) = (tempfile::tempdir_in(cache)?, tempfile::tempdir_in(cache)?);
    command::output(Command::new("cp").arg("--recursive").arg(sources.join(".")).arg(copy.path()))?;
    let in_copy = |program: &str, arguments: &[&str]| {
        command::output(Command::new(program).current_dir(copy.path()).args(arguments)).map(drop)
    };
    in_copy("./configure", &CONFIGURE)?;
    let jobs = format!("--jobs={}", std::thread::available_parallelism()?);
    in_copy("make", &[&jobs, "libs"])?;
    in_copy("make", &[&jobs, "--directory=tests", "build"])?;
    for product in PRODUCTS {
        let made = copy.path().join(product);
        let name = made.file_name().context("a product is a file")?;
        fs::copy(&made, products.path().join(name)).with_context(|| format!("make has not made {product}"))?;
    }
    fs::rename(products.keep(), directory).with_context(|| format!("cannot create {}", directory.display()))
}
