//! What a cluster changes on the machine outside its own directory, and how each change is undone: the
//! bridge, routes, the kernel settings that a kubelet overwrites, and loop devices.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::addresses::{BRIDGE, GATEWAY, NODE_COUNT_MAX, NodeId, RANGES, UNREACHABLE_METRIC};
use super::layout::Layout;
use crate::command;

const KUBELET_SETTINGS: [&str; 5] = [
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

pub(super) fn save_settings(layout: &Layout) -> Result<()> {
    let mut settings = BTreeMap::new();
    for name in KUBELET_SETTINGS {
        settings.insert(name, fs::read_to_string(Path::new("/proc/sys").join(name))?.trim().to_owned());
    }
    fs::write(layout.saved_settings(), serde_json::to_string_pretty(&settings)?)?;
    Ok(())
}

pub(super) fn restore_settings(layout: &Layout) -> Result<()> {
    let Ok(saved) = fs::read(layout.saved_settings()) else { return Ok(()) };
    let settings: BTreeMap<String, String> = serde_json::from_slice(&saved)?;
    for (name, value) in settings {
        fs::write(Path::new("/proc/sys").join(&name), value).with_context(|| format!("cannot restore {name}"))?;
    }
    Ok(())
}

/// Black holes first, so that at no moment a packet for the cluster follows the machine's default route.
pub(super) fn create_network() -> Result<()> {
    for range in RANGES {
        command::run("ip", &format!("route replace unreachable {range} metric {UNREACHABLE_METRIC}"))?;
    }
    command::run("ip", &format!("link add {BRIDGE} type bridge"))?;
    command::run("ip", &format!("address add {GATEWAY}/24 dev {BRIDGE}"))?;
    command::run("ip", &format!("link set {BRIDGE} up"))?;
    Ok(())
}

/// Ties the network namespace of `init` to the bridge. Its end is called eth0.
pub(super) fn connect_node(node: NodeId, init: i32) -> Result<()> {
    let interface = node.interface();
    command::run("ip", &format!("link add {interface} type veth peer name eth0 netns {init}"))?;
    command::run("ip", &format!("link set {interface} master {BRIDGE} up"))?;
    command::run("ip", &format!("route replace {} via {}", node.pods(), node.address()))?;
    Ok(())
}

pub(super) fn remove_network() -> Result<()> {
    // Veths go with their namespace, some time after its last process: a link may be gone before it is deleted.
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

/// A mount that was cut off with its node gives its loop device back by itself; this finds the rest.
pub(super) fn detach_loop_devices(layout: &Layout) -> Result<()> {
    for line in command::run("losetup", "--list --noheadings --output NAME,BACK-FILE")?.lines() {
        let Some((device, file)) = line.split_once(' ') else { continue };
        if Path::new(file.trim()).starts_with(layout.root()) {
            command::run("losetup", &format!("--detach {device}"))?;
        }
    }
    Ok(())
}
