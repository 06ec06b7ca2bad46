//! The binaries of this workspace, compiled by cargo, which also says where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;
use crate::progress::Progress;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What `cargo test` has compiled already.
    Dev,
    /// What is shipped: optimised as a whole, without symbols.
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
        progress.step("compile broker and operator", profile.compiles_in(), || compile(profile))
    }

    /// By the name of the binary.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let found = self.paths.iter().find(|path| path.ends_with(name));
        found.map(PathBuf::as_path).with_context(|| format!("cargo built no {name}"))
    }
}

fn compile(profile: Profile) -> Result<Programs> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(WORKSPACE).args(["build", "--message-format=json", "--quiet"]);
    match profile {
        // The features of the whole workspace, as in `cargo test --workspace`, or everything compiles twice.
        Profile::Dev => command.args(["--workspace", "--bins"]),
        Profile::Release => command.args(["--release", "--package=broker", "--package=operator", "--bins"]),
    };
    let messages = command::output(&mut command)?;
    let paths = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable);
    Ok(Programs { paths: paths.collect() })
}
