//! The cgroups of the nodes' processes: a directory of the cluster's name at the top of every cgroup hierarchy, one
//! level below it for each node, `system` inside it for the node's own services, and beside that `kubepods`, which
//! the kubelet creates. Cgroup v1 and v2 differ only in what must be written before use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::addresses::NodeId;
use super::layout::Layout;
use crate::command;

const V1_CONTROLLERS: [&str; 8] = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];
const V2_CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    version: Version,
    /// The mount points of the hierarchies that processes of a node enter.
    hierarchies: Vec<PathBuf>,
    /// All of them: a container runtime leaves directories in a hybrid machine's v2 hierarchy as well.
    every_hierarchy: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroups {
    pub fn detect() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
        let cgroups = Self::from_mounts(&mounts)?;
        if cgroups.version == Version::V2 {
            let root = &cgroups.hierarchies[0];
            let offered = fs::read_to_string(root.join("cgroup.controllers"))?;
            let offered: Vec<_> = offered.split_whitespace().collect();
            complain_about(&V2_CONTROLLERS, &offered)?;
        }
        Ok(cgroups)
    }

    fn from_mounts(mounts: &str) -> Result<Self> {
        let (mut v1, mut v2, mut offered) = (Vec::new(), Vec::new(), Vec::new());
        for line in mounts.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let [_, target, kind, options, ..] = fields[..] else { continue };
            match kind {
                "cgroup" => {
                    v1.push(PathBuf::from(target));
                    offered.extend(options.split(','));
                }
                "cgroup2" => v2.push(PathBuf::from(target)),
                _ => {}
            }
        }
        let every_hierarchy = [v1.clone(), v2.clone()].concat();
        if !v1.is_empty() {
            complain_about(&V1_CONTROLLERS, &offered)?;
            return Ok(Self { version: Version::V1, hierarchies: v1, every_hierarchy });
        }
        if v2.is_empty() {
            bail!("no cgroup file system is mounted; mount cgroup2 at /sys/fs/cgroup");
        }
        v2.truncate(1);
        Ok(Self { version: Version::V2, hierarchies: v2, every_hierarchy })
    }

    /// Creates the node's directories, and removes the pods of its former life: a kubelet that finds them spends many
    /// seconds on containers that are gone.
    pub(super) fn create(&self, layout: &Layout, node: NodeId) -> Result<()> {
        let pods = |hierarchy: &PathBuf| hierarchy.join(layout.name()).join(node.to_string()).join("kubepods");
        self.remove_from_every_hierarchy("removal of the node's former pods", pods)?;
        for hierarchy in &self.hierarchies {
            let top = hierarchy.join(layout.name());
            let node = top.join(node.to_string());
            let system = node.join("system");
            for (parent, directory) in [(hierarchy, &top), (&top, &node), (&node, &system)] {
                self.create_one(parent, directory)
                    .with_context(|| format!("cannot prepare cgroup {}", directory.display()))?;
            }
        }
        Ok(())
    }

    fn create_one(&self, parent: &Path, directory: &Path) -> io::Result<()> {
        if self.version == Version::V2 {
            let all = V2_CONTROLLERS.map(|controller| format!("+{controller}")).join(" ");
            fs::write(parent.join("cgroup.subtree_control"), all)?;
        }
        fs::create_dir_all(directory)?;
        // A v1 cpuset accepts no process before it has both lists.
        for list in ["cpuset.cpus", "cpuset.mems"] {
            if self.version == Version::V1 && parent.join(list).exists() {
                fs::write(directory.join(list), fs::read(parent.join(list))?)?;
            }
        }
        Ok(())
    }

    /// Moves the calling process to the node's services.
    pub(super) fn enter(&self, layout: &Layout, node: NodeId) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let file = hierarchy.join(layout.name()).join(node.to_string()).join("system/cgroup.procs");
            fs::write(&file, "0").with_context(|| format!("cannot enter cgroup {}", file.display()))?;
        }
        Ok(())
    }

    /// Removes everything.
    pub(super) fn remove(&self, layout: &Layout) -> Result<()> {
        let top = |hierarchy: &PathBuf| hierarchy.join(layout.name());
        self.remove_from_every_hierarchy("removal of the nodes' cgroups", top)
    }

    /// Directories stay busy for a moment after their last process has died.
    fn remove_from_every_hierarchy(&self, what: &str, directory: impl Fn(&PathBuf) -> PathBuf) -> Result<()> {
        command::wait_for(what, Duration::from_secs(10), || {
            let removed: io::Result<()> =
                self.every_hierarchy.iter().map(&directory).try_for_each(|directory| remove_tree(&directory));
            Ok(removed.is_ok().then_some(()))
        })
    }
}

fn complain_about(needed: &[&str], offered: &[&str]) -> Result<()> {
    let missing: Vec<_> = needed.iter().filter(|controller| !offered.contains(controller)).copied().collect();
    if !missing.is_empty() {
        bail!("cgroup controllers are missing: {} (needed: {})", missing.join(", "), needed.join(", "));
    }
    Ok(())
}

/// Only the directories of a cgroup can be removed, the deepest first.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/rest cgroup rw,blkio,cpuset,devices,freezer,memory,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
";

    #[test]
    fn hybrid_machines_use_v1_and_clean_both() {
        let cgroups = Cgroups::from_mounts(HYBRID).unwrap();
        assert_eq!(cgroups.version, Version::V1);
        assert_eq!((cgroups.hierarchies.len(), cgroups.every_hierarchy.len()), (2, 3));
    }

    #[test]
    fn unified_machines_use_v2() {
        let cgroups = Cgroups::from_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n").unwrap();
        assert_eq!((cgroups.version, cgroups.hierarchies), (Version::V2, vec![PathBuf::from("/sys/fs/cgroup")]));
    }

    #[test]
    fn a_missing_controller_is_named() {
        let error = Cgroups::from_mounts(&HYBRID.replace("memory,", "")).unwrap_err().to_string();
        assert!(error.contains("missing: memory"), "{error}");
    }
}
