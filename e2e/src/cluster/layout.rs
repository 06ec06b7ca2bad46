//! Where the files of a cluster lie: everything below one directory, which `down` removes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::addresses::NodeId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The cluster's name where names are the machine's. Another directory is another cluster.
    pub(super) fn name(&self) -> String {
        self.root.file_name().map_or_else(|| "millrace".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// What was asked for, written when the cluster begins.
    pub(super) fn description(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.root.join("pki").join(format!("{user}.kubeconfig"))
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.root.join("pki").join(format!("{name}.crt"))
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.root.join("pki").join(format!("{name}.key"))
    }

    pub(super) fn service_account_public_key(&self) -> PathBuf {
        self.root.join("pki/service-accounts.pub")
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.root.join("etcd")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    pub(super) fn records(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn record(&self, name: &str) -> PathBuf {
        self.records().join(name)
    }

    pub(super) fn corefile(&self) -> PathBuf {
        self.root.join("Corefile")
    }

    /// Settings of the machine that a kubelet changes, as they were.
    pub(super) fn saved_settings(&self) -> PathBuf {
        self.root.join("settings.json")
    }

    pub(super) fn node(&self, node: NodeId) -> PathBuf {
        self.root.join(node.to_string())
    }

    pub(super) fn volumes(&self, node: NodeId) -> PathBuf {
        self.node(node).join("volumes")
    }

    pub(super) fn create(&self, nodes: u8) -> Result<()> {
        let own = ["pki", "logs", "run", "etcd"].map(|name| self.root.join(name));
        let of_nodes = NodeId::all(nodes).flat_map(|node| {
            ["kubelet", "containerd", "log", "cni", "cni-results", "volumes"].map(|name| self.node(node).join(name))
        });
        for directory in own.into_iter().chain(of_nodes) {
            fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(())
    }
}
