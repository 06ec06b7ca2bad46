//! Formatting of a data directory, by hand or when the operator asks for it. Kafka's files:
//!
//! ```text
//! bootstrap.checkpoint                                             the feature levels that the log begins with
//! __cluster_metadata-0/00000000000000000000-0000000000.checkpoint  kraft.version and the first voters (KIP-853)
//! meta.properties                                                  written last: with it the directory is formatted
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::metadata_records::control::{ControlRecord, Voter as VoterRecord, VoterEndpoint};
use protocol::metadata_records::{DecodeError, MetadataRecord};
use protocol::produce::CheckedBatch;
use protocol::records::{self, RecordError};
use protocol::types::{ClusterId, DirectoryId, Timestamp};
use storage::{Disk, MetaProperties, directory};

use super::features;
use super::metadata_log::{EncodeError, encode_control, encode_records};
use super::voter::{InvalidVoter, Voter};
use crate::clock;
use crate::config::{BrokerConfig, ListenerKind};
use crate::metadata::METADATA_DIRECTORY;

const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
const FIRST_SNAPSHOT_FILE: &str = "00000000000000000000-0000000000.checkpoint";
const BOOTSTRAP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Who the directory will belong to.
#[derive(Debug, Clone)]
pub(crate) struct FormatPlan {
    pub(crate) cluster_id: ClusterId,
    pub(crate) directory_id: DirectoryId,
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
    #[error("{}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
}

/// Leaves a directory that is formatted, in use or has something else in it as it is.
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
    write(&metadata.join(FIRST_SNAPSHOT_FILE), voters_snapshot(config, plan, now)?)?;
    let properties = MetaProperties {
        cluster_id: plan.cluster_id.clone(),
        node_id: config.broker_id,
        directory_id: plan.directory_id,
    };
    Ok(formatting.finish(&properties)?)
}

/// What a crash during formatting leaves behind is no obstacle.
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

/// One voter, and it is this node with this directory.
fn check_voters(config: &BrokerConfig, plan: &FormatPlan) -> Result<(), FormatError> {
    match plan.voters.as_slice() {
        [voter] if voter.id == config.broker_id && voter.directory_id == plan.directory_id => Ok(()),
        [voter] => Err(FormatError::Voters(format!(
            "the only voter must be node {} with directory {}, not node {} with directory {}",
            config.broker_id, plan.directory_id, voter.id, voter.directory_id
        ))),
        voters => Err(FormatError::Voters(format!("{} voters: a cluster of one node has one", voters.len()))),
    }
}

fn bootstrap_snapshot(now: Timestamp) -> Result<Vec<u8>, EncodeError> {
    let levels = features::INITIAL.map(|(name, level)| MetadataRecord::FeatureLevel { name: name.to_owned(), level });
    snapshot(now, encode_records(&levels, now)?)
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
    snapshot(now, encode_control(&[ControlRecord::KRaftVersion(features::KRAFT_VERSION_LEVEL), voters], now)?)
}

/// A snapshot is a sequence of batches between a header and a footer, with offsets from 0.
fn snapshot(now: Timestamp, content: CheckedBatch) -> Result<Vec<u8>, EncodeError> {
    let header = encode_control(&[ControlRecord::SnapshotHeader { last_contained_log_timestamp: now }], now)?;
    let footer = encode_control(&[ControlRecord::SnapshotFooter], now)?;
    let mut bytes = Vec::new();
    let mut base_offset = protocol::types::Offset(0);
    for batch in [header, content, footer] {
        let leader_epoch = protocol::types::LeaderEpoch(0);
        let stamped = BatchHeader { base_offset, leader_epoch, ..batch.header };
        base_offset = stamped.next_offset();
        bytes.extend_from_slice(&stamped.encode());
        bytes.extend_from_slice(batch.bytes.get(HEADER_LENGTH..).unwrap_or_default());
    }
    Ok(bytes)
}

/// What a new metadata log begins with.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    /// `kraft.version` and the voters.
    pub(super) control: Vec<ControlRecord>,
    /// The feature levels.
    pub(super) metadata: Vec<MetadataRecord>,
}

pub(super) fn read_bootstrap(disk: &dyn Disk, root: &Path) -> Result<Bootstrap, BootstrapError> {
    let mut bootstrap = Bootstrap::default();
    for path in [root.join(METADATA_DIRECTORY).join(FIRST_SNAPSHOT_FILE), root.join(BOOTSTRAP_FILE)] {
        let bytes = storage::read_file(disk, &path, BOOTSTRAP_BYTES_MAX)
            .map_err(|source| BootstrapError::Io { path: path.clone(), source })?;
        bootstrap.parse_snapshot(&bytes).map_err(|reason| BootstrapError::Malformed { path, reason })?;
    }
    Ok(bootstrap)
}

impl Bootstrap {
    fn parse_snapshot(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let head = bytes.first_chunk::<HEADER_LENGTH>().ok_or("it ends within a batch header")?;
            let header = BatchHeader::decode(head);
            let length = header.length().filter(|length| *length <= bytes.len()).ok_or("it ends within a batch")?;
            let (batch, rest) = bytes.split_at(length);
            self.parse_batch(batch, header.attributes.is_control())?;
            bytes = rest;
        }
        Ok(())
    }

    fn parse_batch(&mut self, batch: &[u8], is_control: bool) -> Result<(), String> {
        let opened = records::walk(batch, 0).map_err(|error: RecordError| error.to_string())?;
        for record in &opened {
            let record = record.map_err(|error| error.to_string())?;
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            let described = |error: DecodeError| error.to_string();
            if !is_control {
                self.metadata.push(MetadataRecord::decode(value).map_err(described)?);
                continue;
            }
            match ControlRecord::decode(key, value).map_err(described)? {
                ControlRecord::SnapshotHeader { .. } | ControlRecord::SnapshotFooter => {}
                record => self.control.push(record),
            }
        }
        Ok(())
    }
}
