//! Formatting of a data directory, from the command line or by the operator. Kafka's files:
//!
//! ```text
//! bootstrap.checkpoint                                             the feature levels that the log begins with
//! __cluster_metadata-0/00000000000000000000-0000000000.checkpoint  kraft.version and the first voters (KIP-853);
//!                                                                  none on a node that joins a cluster
//! meta.properties                                                  written last: with it the directory is formatted
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::metadata_records::MetadataRecord;
use protocol::metadata_records::control::{ControlRecord, Voter as VoterRecord, VoterEndpoint};
use protocol::types::{ClusterId, DirectoryId, LeaderEpoch, Offset, Timestamp};
use raft::SnapshotId;
use storage::{Disk, MetaProperties, directory};

use super::batches::Record;
use super::features;
use super::metadata_log::{EncodeError, encode_records};
use super::snapshot::{self, SnapshotFault, SnapshotWriter};
use super::voter::{InvalidVoter, Voter};
use crate::clock;
use crate::config::{BrokerConfig, ListenerKind};
use crate::metadata::METADATA_DIRECTORY;

const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
/// The snapshot with the initial voters.
const FIRST_SNAPSHOT: SnapshotId = SnapshotId { end_offset: Offset(0), epoch: LeaderEpoch(0) };
const BOOTSTRAP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The owner of the directory.
#[derive(Debug, Clone)]
pub(crate) struct FormatPlan {
    pub(crate) cluster_id: ClusterId,
    pub(crate) directory_id: DirectoryId,
    /// Empty: the node joins a cluster, and learns its voters there.
    pub(crate) voters: Vec<Voter>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("{} is formatted already; --ignore-formatted leaves it as it is", path.display())]
    AlreadyFormatted { path: PathBuf },
    #[error("{} is not empty: it has {found:?}, but no meta.properties", path.display())]
    NotEmpty { path: PathBuf, found: String },
    #[error("{0}")]
    Voters(String),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Directory(directory::FormatError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl From<directory::FormatError> for FormatError {
    fn from(error: directory::FormatError) -> Self {
        match error {
            directory::FormatError::AlreadyFormatted { path, .. } => Self::AlreadyFormatted { path },
            other @ directory::FormatError::Other(_) => Self::Directory(other),
        }
    }
}

impl From<InvalidVoter> for FormatError {
    fn from(error: InvalidVoter) -> Self {
        Self::Voters(error.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Malformed { path: PathBuf, source: SnapshotFault },
}

/// Refuses a directory that is formatted, in use or not empty, and leaves it as it is.
pub(crate) fn format_directory(
    disk: &Arc<dyn Disk>,
    config: &BrokerConfig,
    plan: &FormatPlan,
) -> Result<(), FormatError> {
    check_voters(config, plan)?;
    let root = config.log_directory.as_path();
    let io_error = |source| FormatError::Io { path: root.to_owned(), source };
    let formatting = directory::Formatting::begin(disk, root)?;
    check_unused(&**disk, root)?;
    let metadata = root.join(METADATA_DIRECTORY);
    disk.create_directory(&metadata).map_err(io_error)?;
    let now = clock::wall();
    let write = |path: &Path, bytes: Vec<u8>| {
        storage::replace_file(&**disk, path, &bytes).map_err(|source| FormatError::Io { path: path.to_owned(), source })
    };
    write(&root.join(BOOTSTRAP_FILE), bootstrap_snapshot(now)?)?;
    if !plan.voters.is_empty() {
        write(&snapshot::path(&metadata, FIRST_SNAPSHOT), voters_snapshot(config, plan, now)?)?;
    }
    let properties = MetaProperties {
        cluster_id: plan.cluster_id.clone(),
        node_id: config.broker_id,
        directory_id: plan.directory_id,
    };
    Ok(formatting.finish(&properties)?)
}

/// Accepts what a crash during formatting has left behind.
fn check_unused(disk: &dyn Disk, root: &Path) -> Result<(), FormatError> {
    let entries = disk.list(root).map_err(|source| FormatError::Io { path: root.to_owned(), source })?;
    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect();
    let own = [BOOTSTRAP_FILE, METADATA_DIRECTORY, ".lock", "lost+found"];
    let is_foreign =
        |name: &&String| !own.contains(&name.as_str()) && Path::new(name).extension().is_none_or(|e| e != "tmp");
    match names.iter().find(is_foreign) {
        Some(found) => Err(FormatError::NotEmpty { path: root.to_owned(), found: found.clone() }),
        None => Ok(()),
    }
}

/// If there are voters this node is one of them, with this directory; no id and no directory occurs twice.
fn check_voters(config: &BrokerConfig, plan: &FormatPlan) -> Result<(), FormatError> {
    let (id, directory_id) = (config.broker_id, plan.directory_id);
    let mut seen: Vec<&Voter> = Vec::new();
    for voter in &plan.voters {
        if seen.iter().any(|other| other.id == voter.id || other.directory_id == voter.directory_id) {
            let reason = format!("node {} or its directory {} stands there twice", voter.id, voter.directory_id);
            return Err(FormatError::Voters(reason));
        }
        seen.push(voter);
    }
    match plan.voters.iter().find(|voter| voter.id == id) {
        None if plan.voters.is_empty() => Ok(()),
        Some(own) if own.directory_id == directory_id => Ok(()),
        Some(own) => Err(FormatError::Voters(format!(
            "node {id} is a voter with directory {}, but its directory is to be {directory_id}",
            own.directory_id
        ))),
        None => Err(FormatError::Voters(format!(
            "node {id} is none of the voters: a node that joins a cluster is formatted without any"
        ))),
    }
}

fn bootstrap_snapshot(now: Timestamp) -> Result<Vec<u8>, EncodeError> {
    let levels = features::INITIAL.map(|(name, level)| MetadataRecord::FeatureLevel { name: name.to_owned(), level });
    let mut writer = SnapshotWriter::begin(FIRST_SNAPSHOT.epoch, now, Vec::new(), now)?;
    writer.push(&encode_records(&levels, now)?);
    writer.finish(now)
}

fn voters_snapshot(config: &BrokerConfig, plan: &FormatPlan, now: Timestamp) -> Result<Vec<u8>, EncodeError> {
    let controller = config.listeners.iter().find(|listener| listener.kind == ListenerKind::Controller);
    let listener = controller.map_or("CONTROLLER", |listener| listener.name.as_str());
    let voter = |voter: &Voter| VoterRecord {
        voter_id: voter.id,
        directory_id: voter.directory_id,
        endpoints: vec![VoterEndpoint { name: listener.to_owned(), host: voter.host.clone(), port: voter.port }],
        kraft_version_min: 0,
        kraft_version_max: features::KRAFT_VERSION_LEVEL,
    };
    let voters = ControlRecord::KRaftVoters(plan.voters.iter().map(voter).collect());
    let control = vec![ControlRecord::KRaftVersion(features::KRAFT_VERSION_LEVEL), voters];
    SnapshotWriter::begin(FIRST_SNAPSHOT.epoch, now, control, now)?.finish(now)
}

/// The feature levels that a new metadata log starts with.
pub(super) fn read_bootstrap(disk: &dyn Disk, root: &Path) -> Result<Vec<MetadataRecord>, BootstrapError> {
    let path = root.join(BOOTSTRAP_FILE);
    let read = storage::read_file(disk, &path, BOOTSTRAP_BYTES_MAX);
    let bytes = read.map_err(|source| BootstrapError::Io { path: path.clone(), source })?;
    let mut records = Vec::new();
    let visited = snapshot::visit(&bytes, |record| {
        if let Record::Metadata(record) = record {
            records.push(record);
        }
        Ok(())
    });
    visited.map_err(|source| BootstrapError::Malformed { path, source })?;
    Ok(records)
}
