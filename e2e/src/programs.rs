//! The binaries of this workspace, compiled by cargo, which also reports where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;
use crate::progress::Progress;

const BROKER: &str = "millrace-broker";
const OPERATOR: &str = "millrace-operator";

pub(crate) const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As compiled by `cargo test`.
    Dev,
    /// As shipped: optimised as a whole, without symbols.
    Release,
}

impl Profile {
    /// On two idle cores, from nothing.
    const fn compiles_in(self) -> Duration {
        match self {
            Self::Dev => Duration::from_mins(5),
            Self::Release => Duration::from_mins(8),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    paths: Vec<PathBuf>,
}

impl Programs {
    /// Broker and operator in one run of cargo.
    pub fn compile(profile: Profile, progress: &Progress) -> Result<Self> {
        progress.step("compile broker and operator", profile.compiles_in(), || compile(profile, &[BROKER, OPERATOR]))
    }

    /// The broker alone.
    pub fn broker(profile: Profile, progress: &Progress) -> Result<PathBuf> {
        let built = progress.step("compile the broker", profile.compiles_in(), || compile(profile, &[BROKER]))?;
        Ok(built.path(BROKER)?.to_owned())
    }

    /// By the name of the binary.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let found = self.paths.iter().find(|path| path.ends_with(name));
        found.map(PathBuf::as_path).with_context(|| format!("cargo built no {name}"))
    }
}

fn compile(profile: Profile, programs: &[&str]) -> Result<Programs> {
    let mut build = cargo();
    build.args(["build", "--quiet"]);
    match profile {
        // The features of the whole workspace, as in `cargo test --workspace`, or everything compiles twice.
        Profile::Dev => build.arg("--workspace"),
        Profile::Release => build.args(["--release", "--package=broker", "--package=operator"]),
    };
    built(build.args(programs.iter().flat_map(|program| ["--bin", program])))
}

/// A program named on a command line. It will be run in other directories.
pub fn given(path: &str) -> Result<PathBuf> {
    Path::new(path).canonicalize().with_context(|| format!("there is no {path}"))
}

/// The cargo that runs this program, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(WORKSPACE);
    cargo
}

/// Runs a build, and collects the binaries that it reports.
pub(crate) fn built(build: &mut Command) -> Result<Programs> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let messages = command::output(build.arg("--message-format=json"))?;
    let paths = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable);
    Ok(Programs { paths: paths.collect() })
}
