//! The files of a cluster: everything is below one directory, which `down` removes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::addresses::NodeId;

/// Distinguishes a cluster's directory from any other. Written first, removed last.
const MARKER: &str = ".millrace-kubernetes";
const MARKER_TEXT: &str =
    "A local Kubernetes lies here. Taking it down removes this directory with all that is in it.\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// In any spelling of the directory's path, whether it exists or not.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let resolved = match root.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(root),
            resolved => resolved,
        };
        let root = resolved.with_context(|| format!("cannot resolve {}", root.display()))?;
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The cluster's name where names are global on the machine. Another directory is another cluster.
    pub(super) fn name(&self) -> String {
        self.root.file_name().map_or_else(|| "millrace".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The options of the cluster, written when all of it runs.
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

    /// The machine's settings that a cluster changes, as they were.
    pub(super) fn saved_machine(&self) -> PathBuf {
        self.root.join("machine.json")
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
        let create = || {
            fs::create_dir_all(&self.root)?;
            fs::write(self.root.join(MARKER), MARKER_TEXT)
        };
        create().with_context(|| format!("cannot create {}", self.root.display()))?;
        for directory in own.into_iter().chain(of_nodes) {
            fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(())
    }

    /// Fails if the directory has content that no cluster put there.
    pub(super) fn require_own(&self) -> Result<()> {
        let mut entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("cannot read {}", self.root.display()))?,
        };
        if entries.next().is_some() && !self.root.join(MARKER).exists() {
            bail!(
                "{} is not empty and not of a local Kubernetes (it has no {MARKER}): nothing is removed; \
                 give a new or an empty directory",
                self.root.display()
            );
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<()> {
        self.require_own()?;
        let remove = || {
            for entry in fs::read_dir(&self.root)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else if entry.file_name() != MARKER {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_dir_all(&self.root)
        };
        match remove() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome.with_context(|| format!("cannot remove {}", self.root.display())),
        }
    }
}

/// The file appears complete or not at all.
pub(super) fn write_whole(file: &Path, text: &str) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text)
        .and_then(|()| fs::rename(&unfinished, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cluster_made_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let somebodys = parent.path().join("documents");
        fs::create_dir(&somebodys).unwrap();
        fs::write(somebodys.join("letter"), "dear").unwrap();
        let layout = Layout::new(&parent.path().join("documents/../documents/.")).unwrap();
        assert_eq!(layout.name(), "documents");
        assert!(layout.remove().unwrap_err().to_string().contains("is not empty"));
        assert!(somebodys.join("letter").exists());

        let own = Layout::new(&parent.path().join("cluster")).unwrap();
        own.remove().unwrap();
        own.create(1).unwrap();
        own.remove().unwrap();
        assert!(!own.root().exists());
    }
}
