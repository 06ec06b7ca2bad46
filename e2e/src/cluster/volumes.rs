//! Volumes as files: a sparse XFS image in the node's directory, mounted inside the node through a loop
//! device. The file system is as large as the volume, so a full volume is a real ENOSPC, and it grows while
//! it is in use. XFS, because growing a mounted ext4 needs CAP_SYS_RESOURCE.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::addresses::NodeId;
use super::layout::Layout;
use super::node::enter;
use crate::command;

/// XFS does not allow a smaller size.
pub(super) const SIZE_MIN: u64 = 300 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub name: String,
    pub node: NodeId,
    layout: Layout,
}

impl Volume {
    pub(super) fn new(layout: &Layout, node: NodeId, name: impl Into<String>) -> Self {
        Self { name: name.into(), node, layout: layout.clone() }
    }

    /// Its mount point in the node.
    pub(super) fn mount_point(&self) -> String {
        format!("/run/volumes/{}", self.name)
    }

    pub(super) fn exists(&self) -> bool {
        self.image().is_file()
    }

    /// Creates the image. An unfinished one of a killed provisioner is created anew.
    pub(super) fn create(&self, size: u64) -> Result<()> {
        if self.exists() {
            return Ok(());
        }
        let unfinished = self.image().with_extension("unfinished");
        File::create(&unfinished)
            .and_then(|file| file.set_len(size))
            .with_context(|| format!("cannot create {}", unfinished.display()))?;
        command::output(Command::new("mkfs.xfs").args(["-q", "-f", "-K"]).arg(&unfinished))?;
        fs::rename(unfinished, self.image())?;
        Ok(())
    }

    /// Mounts the volume unless it is mounted. If the node is down nothing is done.
    pub(super) fn ensure_mounted(&self) -> Result<()> {
        let Some(init) = super::node_init(&self.layout, self.node)? else { return Ok(()) };
        if self.device(init)?.is_some() {
            return Ok(());
        }
        command::output(enter(init, "mkdir").arg("-p").arg(self.mount_point()))?;
        command::output(
            enter(init, "mount").args(["-t", "xfs", "-o", "loop"]).arg(self.image()).arg(self.mount_point()),
        )?;
        Ok(())
    }

    /// Grows image, device and file system, in that order, while the volume is in use.
    pub(super) fn grow(&self, size: u64) -> Result<()> {
        let init =
            super::node_init(&self.layout, self.node)?.with_context(|| format!("{} is not running", self.node))?;
        let image = File::options().write(true).open(self.image())?;
        if image.metadata()?.len() < size {
            image.set_len(size)?;
        }
        let Some(device) = self.device(init)? else { bail!("{} is not mounted on {}", self.name, self.node) };
        command::output(enter(init, "losetup").args(["--set-capacity", &device]))?;
        command::output(enter(init, "xfs_growfs").arg(self.mount_point()))?;
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<()> {
        if let Some(init) = super::node_init(&self.layout, self.node)?
            && self.device(init)?.is_some()
        {
            command::output(enter(init, "umount").arg(self.mount_point()))?;
        }
        match fs::remove_file(self.image()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot remove a volume's image"),
            _ => Ok(()),
        }
    }

    fn image(&self) -> PathBuf {
        self.layout.volumes(self.node).join(format!("{}.xfs", self.name))
    }

    /// The device mounted at the volume's place in the node.
    fn device(&self, init: i32) -> Result<Option<String>> {
        let mounts = fs::read_to_string(format!("/proc/{init}/mounts"))?;
        let mount = mounts.lines().map(|line| line.split(' ')).find_map(|mut fields| {
            Some((fields.next()?, fields.next()?)).filter(|(_, target)| *target == self.mount_point())
        });
        Ok(mount.map(|(device, _)| device.to_owned()))
    }
}
