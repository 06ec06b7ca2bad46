//! What a cluster changes on the machine outside its own directory, and how each change is undone: the
//! bridge, routes, the kernel settings that a kubelet overwrites, directories to mount on, and loop devices.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::addresses::{BRIDGE, GATEWAY, NODE_COUNT_MAX, NodeId, RANGES, UNREACHABLE_METRIC};
use super::init::BOUND;
use super::layout::Layout;
use super::processes::Boot;
use crate::command;

const KUBELET_SETTINGS: [&str; 5] = [
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// How the machine was before the cluster.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    boot: Boot,
    settings: BTreeMap<String, String>,
    /// Created by nodes for mounts. If the machine uses them itself, they belong to it.
    absent_directories: Vec<PathBuf>,
}

pub(super) fn save(layout: &Layout) -> Result<()> {
    let mut settings = BTreeMap::new();
    for name in KUBELET_SETTINGS {
        settings.insert(name.to_owned(), fs::read_to_string(Path::new("/proc/sys").join(name))?.trim().to_owned());
    }
    let mount_points = BOUND.map(|(_, target)| PathBuf::from(target));
    let absent_directories = mount_points.into_iter().filter(|directory| !directory.exists()).collect();
    let saved = Saved { boot: Boot::current()?, settings, absent_directories };
    fs::write(layout.saved_machine(), serde_json::to_string_pretty(&saved)?)?;
    Ok(())
}

pub(super) fn restore(layout: &Layout) -> Result<()> {
    let Ok(saved) = fs::read(layout.saved_machine()) else { return Ok(()) };
    // Nothing is changed before the file is complete.
    let Ok(Saved { boot, settings, absent_directories }) = serde_json::from_slice(&saved) else { return Ok(()) };
    // A reboot has restored them already, perhaps to something newer.
    if boot == Boot::current()? {
        for (name, value) in settings {
            fs::write(Path::new("/proc/sys").join(&name), value).with_context(|| format!("cannot restore {name}"))?;
        }
    }
    for directory in absent_directories {
        // If it is not empty the machine has come to use it.
        drop(fs::remove_dir(directory));
    }
    Ok(())
}

/// Black holes first, so that no packet for the cluster ever follows the machine's default route.
pub(super) fn create_network() -> Result<()> {
    for range in RANGES {
        command::run("ip", &format!("route replace unreachable {range} metric {UNREACHABLE_METRIC}"))?;
    }
    command::run("ip", &format!("link add {BRIDGE} type bridge"))?;
    command::run("ip", &format!("address add {GATEWAY}/24 dev {BRIDGE}"))?;
    command::run("ip", &format!("link set {BRIDGE} up"))?;
    Ok(())
}

/// Connects the network namespace of `init` to the bridge. Its end is called eth0.
pub(super) fn connect_node(node: NodeId, init: i32) -> Result<()> {
    let interface = node.interface();
    command::run("ip", &format!("link add {interface} type veth peer name eth0 netns {init}"))?;
    command::run("ip", &format!("link set {interface} master {BRIDGE} up"))?;
    command::run("ip", &format!("route replace {} via {}", node.pods(), node.address()))?;
    Ok(())
}

/// A veth is removed with its namespace, some time after the last process in it.
pub(super) fn wait_until_disconnected(node: NodeId) -> Result<()> {
    command::wait_for(&format!("the end of {node}'s network"), Duration::from_secs(20), || {
        Ok((!links()?.contains(&node.interface())).then_some(()))
    })
}

pub(super) fn remove_network() -> Result<()> {
    // Veths are removed with their namespace, some time after its last process: a link may be gone before it is
    // deleted.
    command::wait_for("removal of the cluster's network links", Duration::from_secs(10), || {
        let links = links()?;
        for link in &links {
            drop(command::run("ip", &format!("link delete {link}")));
        }
        Ok(links.is_empty().then_some(()))
    })?;
    let routes = command::run("ip", "-4 route show type unreachable")?;
    for range in RANGES.into_iter().filter(|range| routes.contains(range)) {
        command::run("ip", &format!("route delete unreachable {range} metric {UNREACHABLE_METRIC}"))?;
    }
    Ok(())
}

fn links() -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Link {
        ifname: String,
    }
    let ours: Vec<_> = NodeId::all(NODE_COUNT_MAX).map(NodeId::interface).chain([BRIDGE.to_owned()]).collect();
    let all: Vec<Link> = serde_json::from_str(&command::run("ip", "-json link show")?)?;
    Ok(all.into_iter().map(|link| link.ifname).filter(|name| ours.contains(name)).collect())
}

/// A mount cut off with its node releases its loop device by itself; this finds the others.
pub(super) fn detach_loop_devices(layout: &Layout) -> Result<()> {
    for line in command::run("losetup", "--list --noheadings --output NAME,BACK-FILE")?.lines() {
        let Some((device, file)) = line.split_once(' ') else { continue };
        if Path::new(file.trim()).starts_with(layout.root()) {
            command::run("losetup", &format!("--detach {device}"))?;
        }
    }
    Ok(())
}
