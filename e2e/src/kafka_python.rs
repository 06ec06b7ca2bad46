//! kafka-python's source archive: fetched from PyPI by pip, unpacked in the user's cache. It has the message schemas
//! of Apache Kafka and a test suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{PIP, Tool, install};
use crate::progress::Progress;
use crate::{cache, command};

const PINNED: &str = "kafka-python==3.0.12";
const UNPACKED: &str = "kafka_python-3.0.12";
const FETCH_EXPECTED: Duration = Duration::from_secs(10);

/// What [`fetch`] needs of the machine.
pub fn needs() -> Result<&'static [Tool]> {
    Ok(needed(&entry()?))
}

/// The directory of the sources, fetched unless they are there.
pub fn fetch(progress: &Progress) -> Result<PathBuf> {
    let entry = entry()?;
    let (cache, _lock) = cache::lock(&entry, "kafka-python")?;
    if !entry.is_dir() {
        install(needed(&entry), progress)?;
        progress.step(format!("fetch {PINNED} with pip, once"), FETCH_EXPECTED, || download(&cache, &entry))?;
    }
    Ok(entry)
}

fn entry() -> Result<PathBuf> {
    cache::entry("kafka-python", [PINNED])
}

fn needed(entry: &Path) -> &'static [Tool] {
    if entry.is_dir() { &[] } else { PIP }
}

/// Fetches beside the final directory, which appears complete and at once.
fn download(cache: &Path, entry: &Path) -> Result<()> {
    let unfinished = tempfile::tempdir_in(cache)?;
    let mut pip = Command::new("pip3");
    pip.args(["download", "--quiet", "--no-deps", "--no-binary", ":all:", PINNED]);
    command::output(pip.current_dir(unfinished.path()))?;
    let mut tar = Command::new("tar");
    command::output(tar.arg("-xzf").arg(format!("{UNPACKED}.tar.gz")).current_dir(unfinished.path()))?;
    let unpacked = unfinished.path().join(UNPACKED);
    fs::rename(&unpacked, entry).with_context(|| format!("cannot create {}", entry.display()))
}
