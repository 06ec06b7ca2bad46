//! kafka-python's integration tests, from its source archive; their dependencies are fetched by pip.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Outcome, run};
use crate::host::{PIP, Tool, install};
use crate::progress::Progress;
use crate::{cache, command, kafka_python};

/// The version whose features the tests may expect of the broker.
const KAFKA_VERSION: &str = "4.2.0";

const TESTS: &str = "test/integration/";

const FETCH_EXPECTED: Duration = Duration::from_secs(20);

/// The pinned requirements, and a module that the archive lacks.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka-python");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaPython {
    sources: PathBuf,
    /// Contains `libraries`, and `test` with what the archive lacks.
    directory: PathBuf,
}

impl KafkaPython {
    pub const NEEDS: &[Tool] = PIP;

    pub fn fetch(progress: &Progress) -> Result<Self> {
        install(Self::NEEDS, progress)?;
        let sources = kafka_python::fetch(progress)?;
        let read = |name| fs::read(Path::new(DIRECTORY).join(name)).with_context(|| format!("{DIRECTORY}/{name}"));
        let made_from = [sources.as_os_str().as_encoded_bytes().into(), read("requirements.txt")?, read("service.py")?];
        let directory = cache::entry("kafka-python-tests", made_from)?;
        let (cache, _lock) = cache::lock(&directory, "kafka-python-tests")?;
        if !directory.is_dir() {
            let what = "fetch what kafka-python's tests import, once";
            progress.step(what, FETCH_EXPECTED, || assemble(&sources, &cache, &directory))?;
        }
        Ok(Self { sources, directory })
    }

    /// Every integration test: `test_producer_integration.py::test_end_to_end[gzip]`.
    pub fn tests(&self) -> Result<Vec<String>> {
        let listed = command::output(self.pytest("127.0.0.1:1")?.args(["--collect-only", TESTS]))?;
        Ok(listed.lines().filter_map(|line| line.strip_prefix(TESTS)).map(str::to_owned).collect())
    }

    /// A skipped test has not passed.
    pub fn run(&self, bootstrap: &str, test: &str, at_most: Duration) -> Result<Outcome> {
        let mut pytest = self.pytest(bootstrap)?;
        pytest.args(["--timeout-method=thread", &format!("--timeout={}", at_most.as_secs())]);
        let (succeeded, said) = run(pytest.arg(format!("{TESTS}{test}")))?;
        let passed = succeeded && said.lines().any(|line| line.starts_with("1 passed"));
        Ok(Outcome { passed, said })
    }

    fn pytest(&self, bootstrap: &str) -> Result<Command> {
        let mut pytest = Command::new("python3");
        pytest
            .current_dir(&self.directory)
            .env("PYTHONPATH", env::join_paths([&self.directory.join("libraries"), &self.sources])?)
            .env("KAFKA_URI", format!("kafka://{bootstrap}"))
            .env("KAFKA_VERSION", KAFKA_VERSION)
            // It only has to exist.
            .env("KAFKA_ROOT", &self.directory)
            .args(["-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", "--quiet", "--disable-warnings"]);
        Ok(pytest)
    }
}

/// Assembles beside the final directory, which appears complete and at once.
fn assemble(sources: &Path, cache: &Path, directory: &Path) -> Result<()> {
    let unfinished = tempfile::tempdir_in(cache)?;
    let place = unfinished.path();
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]);
    command::output(pip.arg(format!("{DIRECTORY}/requirements.txt")).arg("--target").arg(place.join("libraries")))?;
    command::output(Command::new("cp").arg("--recursive").arg(sources.join("test")).arg(place))?;
    fs::write(place.join("test/__init__.py"), "")?;
    fs::copy(Path::new(DIRECTORY).join("service.py"), place.join("test/service.py"))?;
    fs::rename(unfinished.keep(), directory).with_context(|| format!("cannot create {}", directory.display()))
}
