//! Maintains the committed corpus, and unpacks it for an engine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use fuzz::{TARGETS, Target, corpus, target};

/// Maintains the fuzz targets' corpus, which every test run replays
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Add the files of a directory to the corpus of a target
    Add { target: String, directory: PathBuf },
    /// Write each seed and each input of a target to a separate file, as engines want it
    Unpack { target: String, directory: PathBuf },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Cmd::Add { target, directory } => add(named(&target)?, &directory),
        Cmd::Unpack { target, directory } => unpack(named(&target)?, &directory),
    }
}

fn named(name: &str) -> Result<&'static Target> {
    target(name).with_context(|| format!("no target is called {name}; there are {}", names()))
}

fn names() -> String {
    TARGETS.map(|target| target.name).join(", ")
}

fn add(target: &Target, directory: &Path) -> Result<()> {
    let mut inputs = corpus::read(target)?;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        inputs.insert(fs::read(entry?.path())?);
    }
    corpus::write(target, &inputs)
}

fn unpack(target: &Target, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let inputs = corpus::with_seeds(target)?;
    (0..).zip(&inputs).try_for_each(|(number, input): (u32, _)| {
        fs::write(directory.join(format!("{number:04}")), input).map_err(anyhow::Error::from)
    })
}
