//! A node's data volume: a directory, or a small separate file system that can run full and lose its power. An ext4
//! in a file, mounted through a loop device; its power is cut by the ioctl that `xfs_io` calls, after which nothing
//! unsynced reaches the file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FallocateFlags, fallocate, statvfs, syncfs};
use rustix::io::Errno;

use super::plan::Volumes;
use crate::command;

const BALLAST: &str = "ballast";
const PIECE_MIN: u64 = 4096;
/// A killed process may keep its files open for a moment longer.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Volume {
    /// Its mount point, if it is mounted.
    directory: PathBuf,
    image: Option<PathBuf>,
}

impl Volume {
    /// In the directory of the node.
    pub(super) fn create(node: &Path, volumes: Volumes) -> Result<Self> {
        let directory = node.join("volume");
        fs::create_dir_all(&directory)?;
        let Volumes::FileSystems { mebibytes } = volumes else { return Ok(Self { directory, image: None }) };
        let image = node.join("volume.ext4");
        File::create(&image)?.set_len(mebibytes << 20)?;
        let mut make = Command::new("mkfs.ext4");
        // No blocks reserved for root, as which the brokers run.
        command::output(make.args(["-q", "-F", "-m", "0", "-E", "nodiscard"]).arg(&image))?;
        let volume = Self { directory, image: Some(image) };
        volume.mount()?;
        Ok(volume)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Takes all the space left, in pieces as large as possible.
    pub(super) fn fill(&self) -> Result<()> {
        self.file_system()?;
        let ballast = File::options().create(true).append(true).open(self.ballast())?;
        let space = statvfs(&self.directory)?;
        let (mut length, mut piece) = (0, space.f_bavail * space.f_frsize);
        while PIECE_MIN <= piece {
            match fallocate(&ballast, FallocateFlags::empty(), length, piece) {
                Ok(()) => length += piece,
                Err(Errno::NOSPC) => piece /= 2,
                Err(error) => return Err(error).context("cannot fill the volume"),
            }
        }
        Ok(())
    }

    pub(super) fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("the volume was not filled")
    }

    /// From now on nothing is written, and every attempt gets an error.
    pub(super) fn cut_power(&self) -> Result<()> {
        self.file_system()?;
        command::output(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.directory)).map(drop)
    }

    /// Restores what was written before the power was cut, and no more. The volume must not be in use.
    pub(super) fn restore_power(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Replaces it by an empty volume.
    pub(super) fn wipe(&self) -> Result<()> {
        fs::remove_dir_all(self.data()).context("cannot wipe the volume")
    }

    /// Keeps a copy of all data as it is now.
    pub(super) fn copy(&self) -> Result<()> {
        self.discard_copy()?;
        copy(&self.data(), &self.copied())
    }

    /// Restores the copied data.
    pub(super) fn put_copy_back(&self) -> Result<()> {
        self.wipe()?;
        copy(&self.copied(), &self.data())?;
        syncfs(File::open(self.data())?)?;
        self.discard_copy()
    }

    fn discard_copy(&self) -> Result<()> {
        if self.copied().exists() {
            fs::remove_dir_all(self.copied())?;
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        let Some(image) = &self.image else { return Ok(()) };
        command::output(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(&self.directory))
            .map(drop)
    }

    fn unmount(&self) -> Result<()> {
        command::retry(UNMOUNT_PATIENCE, || command::output(Command::new("umount").arg(&self.directory)).map(drop))
    }

    fn file_system(&self) -> Result<()> {
        match self.image {
            Some(_) => Ok(()),
            None => bail!("{} is no file system of its own", self.directory.display()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join(BALLAST)
    }

    fn copied(&self) -> PathBuf {
        self.directory.with_extension("copy")
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    command::output(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to)).map(drop)
}
