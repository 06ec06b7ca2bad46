//! A number on this machine that belongs to one fleet at a time, with everything created under it: processes, files,
//! mounts, network. It is held by a file lock, which ends with its holder, however that ends; the next holder removes
//! what was left.
//!
//! ```text
//! /tmp/millrace-fleets-UID/7.lock    locked by its holder
//! /tmp/millrace-fleets-UID/7/        a directory for each node
//! /tmp/millrace-fleets-UID/7/pids/   a record of each process
//! /tmp/millrace-fleets-UID/7/network if there are a bridge and namespaces of that number
//! ```

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::network;
use crate::cluster::processes;
use crate::{command, host};

/// So many have separate ports and addresses.
pub(super) const FLEETS_MAX: u8 = 64;
const NETWORK: &str = "network";
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// Everything under the number is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) number: u8,
    pub(super) directory: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes the lowest free number. What dead holders left is removed.
    pub(super) fn take() -> Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        Self::take_below(&std::env::temp_dir().join(format!("millrace-fleets-{uid}")))
    }

    fn take_below(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let mut taken = None;
        for number in 0..FLEETS_MAX {
            let directory = root.join(number.to_string());
            if taken.is_some() && !directory.exists() {
                continue;
            }
            let lock = File::create(root.join(format!("{number}.lock")))?;
            match lock.try_lock() {
                Ok(()) => remove_everything(number, &directory)?,
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the number of a fleet"),
            }
            if taken.is_none() {
                fs::create_dir_all(directory.join("pids"))?;
                taken = Some(Self { number, directory, _lock: lock });
            }
        }
        taken.with_context(|| format!("{FLEETS_MAX} fleets run on this machine"))
    }

    /// Notes that there will be a network of that number.
    pub(super) fn note_network(&self) -> Result<()> {
        let path = self.directory.join(NETWORK);
        fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))
    }

    /// The record of a node's process.
    pub(super) fn record(&self, node: i32) -> PathBuf {
        self.directory.join("pids").join(node.to_string())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(error) = remove_everything(self.number, &self.directory) {
            tracing::error!("{} is left behind: {error:#}", self.directory.display());
        }
    }
}

/// Processes first, because they hold mounts and namespaces.
fn remove_everything(number: u8, directory: &Path) -> Result<()> {
    for (_, process) in processes::recorded(&directory.join("pids"))? {
        process.map_or(Ok(()), |process| process.kill())?;
    }
    if directory.join(NETWORK).exists() {
        network::remove(number)?;
    }
    if host::is_root() {
        unmount_below(directory)?;
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// A killed process may hold its files for a moment longer.
fn unmount_below(directory: &Path) -> Result<()> {
    command::retry(UNMOUNT_PATIENCE, || {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(place).starts_with(directory) {
                command::output(Command::new("umount").arg(place))?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::processes::ProcessRecord;

    #[test]
    fn what_a_dead_holder_left_is_removed_and_what_a_living_one_has_is_not() {
        let root = tempfile::tempdir().unwrap();
        let living = Claim::take_below(root.path()).unwrap();
        fs::write(living.directory.join("file"), "").unwrap();
        // As if its holder had been killed: no lock, but a directory with a record.
        let left = root.path().join("1");
        fs::create_dir_all(left.join("pids")).unwrap();
        let mut orphan = Command::new("sleep").arg("600").spawn().unwrap();
        ProcessRecord::of(i32::try_from(orphan.id()).unwrap()).unwrap().write(&left.join("pids/1")).unwrap();

        let next = Claim::take_below(root.path()).unwrap();
        assert_eq!([living.number, next.number], [0, 1]);
        assert!(!orphan.wait().unwrap().success());
        assert_eq!(fs::read_dir(&next.directory).unwrap().count(), 1, "only the empty directory of records");
        assert!(living.directory.join("file").exists());
        drop(living);
        assert_eq!(Claim::take_below(root.path()).unwrap().number, 0);
    }
}
