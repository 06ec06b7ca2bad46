//! Nodes that die and come back.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::LocalCluster;
use super::addresses::NodeId;
use super::machine;
use super::processes::ProcessRecord;
use crate::command;
use crate::harness::LOOK_EVERY;

/// Longer than node monitoring takes to detect a lost node.
const NOTICED_AT_MOST: Duration = Duration::from_mins(1);
const BACK_AT_MOST: Duration = Duration::from_mins(2);

impl LocalCluster {
    /// Cuts the power of a node: everything on it dies at once, its disks stay.
    pub fn kill_node(&self, node: NodeId) -> Result<()> {
        let record = ProcessRecord::read(&self.layout.record(&node.to_string()))?;
        record.with_context(|| format!("{node} was never started"))?.kill()?;
        machine::wait_until_disconnected(node)
    }

    /// Starts the node with its disks, and waits until Kubernetes uses it again.
    pub fn return_node(&self, node: NodeId) -> Result<()> {
        self.start_node(node)?;
        self.wait_for_containerd(node)?;
        self.wait_for_node(node, "True", BACK_AT_MOST).with_context(|| self.log_to_see(node, "kubelet"))
    }

    /// Waits until Kubernetes has noticed that a node does not answer.
    pub fn wait_until_lost(&self, node: NodeId) -> Result<()> {
        self.wait_for_node(node, "Unknown", NOTICED_AT_MOST)
    }

    fn wait_for_node(&self, node: NodeId, ready: &str, at_most: Duration) -> Result<()> {
        command::wait_for_every(LOOK_EVERY, &format!("{node} to be Ready={ready}"), at_most, || {
            let name = format!("node/{node}");
            let object = command::output(self.kubectl().args(["get", &name, "--output", "json"]))?;
            let object: Value = serde_json::from_str(&object)?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.iter().find(|condition| condition["type"] == "Ready");
            Ok(found.is_some_and(|condition| condition["status"] == ready).then_some(()))
        })
    }
}
