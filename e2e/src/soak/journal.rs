//! A line for each part that was run, in a file that later runs continue: hours of work can be done in pieces.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// As they were found.
    lines: Vec<String>,
}

impl Journal {
    /// A missing file counts as empty.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let lines = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            text => text.with_context(|| path.display().to_string())?.lines().map(str::to_owned).collect(),
        };
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("cannot write {}", path.display()))?, lines })
    }

    /// Its result when it passed.
    pub(super) fn passed(&self, what: &str) -> Option<&str> {
        let beginning = format!("passed: {what}: ");
        self.lines.iter().find(|line| line.starts_with(&beginning)).map(String::as_str)
    }

    /// In one line and one write: several runs may share the file.
    pub(super) fn note(&mut self, verdict: &str) -> Result<()> {
        let line = verdict.lines().collect::<Vec<_>>().join(" | ") + "\n";
        Ok(self.file.write_all(line.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_knows_what_has_passed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.note("passed: faults, seed 1: all well").unwrap();
        journal.note("FAILED: faults, seed 2: lost\nwith its log").unwrap();
        assert_eq!(journal.passed("faults, seed 1"), None, "only what was there at the beginning");
        let later = Journal::open(&path).unwrap();
        let found = ["faults, seed 1", "faults, seed 2", "faults, seed"].map(|what| later.passed(what));
        assert_eq!(found, [Some("passed: faults, seed 1: all well"), None, None]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
