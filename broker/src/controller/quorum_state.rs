//! The `quorum-state` file beside the metadata log: the epoch this node is in, who leads it, and whom it voted for
//! (QuorumStateData version 1, KIP-853). Replaced as a whole, and durable before the epoch is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch};
use raft::{ElectionState, ReplicaKey};
use serde::{Deserialize, Serialize};
use storage::Disk;

const FILE_NAME: &str = "quorum-state";
const DATA_VERSION: i16 = 1;
const LENGTH_MAX: u64 = 4096;
const NOBODY: i32 = -1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum QuorumStateError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not a quorum-state file of version {DATA_VERSION}: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

impl QuorumStateError {
    /// Whether a resource ran out: the operation may be retried.
    pub(super) fn is_shortage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if storage::is_shortage(source))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    voted_directory_id: String,
    #[serde(rename = "data_version")]
    version: i16,
}

#[derive(Debug)]
pub(super) struct QuorumStateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl QuorumStateFile {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, path: directory.join(FILE_NAME) }
    }

    /// `None`: this node was in no epoch yet.
    pub(super) fn read(&self) -> Result<Option<ElectionState>, QuorumStateError> {
        let bytes = match storage::read_file(&*self.disk, &self.path, LENGTH_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| QuorumStateError::Io { path: self.path.clone(), source })?,
        };
        let state = decode(&bytes).map_err(|reason| QuorumStateError::Malformed { path: self.path.clone(), reason })?;
        Ok(Some(state))
    }

    pub(super) fn write(&self, state: &ElectionState) -> Result<(), QuorumStateError> {
        storage::replace_file(&*self.disk, &self.path, encode(state).as_bytes())
            .map_err(|source| QuorumStateError::Io { path: self.path.clone(), source })
    }
}

fn encode(state: &ElectionState) -> String {
    let nobody = ReplicaKey { id: BrokerId(NOBODY), directory_id: DirectoryId::default() };
    let voted = state.voted.unwrap_or(nobody);
    let data = Data {
        leader_id: state.leader.map_or(NOBODY, |leader| leader.0),
        leader_epoch: state.epoch.0,
        voted_id: voted.id.0,
        voted_directory_id: voted.directory_id.to_string(),
        version: DATA_VERSION,
    };
    serde_json::json!(data).to_string()
}

fn decode(bytes: &[u8]) -> Result<ElectionState, String> {
    let data: Data = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if data.version != DATA_VERSION {
        return Err(format!("it has version {}", data.version));
    }
    if data.leader_epoch < 0 {
        return Err(format!("it has epoch {}", data.leader_epoch));
    }
    let directory_id = data.voted_directory_id.parse().map_err(|error| format!("{error}"))?;
    Ok(ElectionState {
        epoch: LeaderEpoch(data.leader_epoch),
        leader: (0 <= data.leader_id).then_some(BrokerId(data.leader_id)),
        voted: (0 <= data.voted_id).then_some(ReplicaKey { id: BrokerId(data.voted_id), directory_id }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_round_trip_and_reads_what_kafka_writes() {
        let directory_id: DirectoryId = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        let state = ElectionState {
            epoch: LeaderEpoch(3),
            leader: Some(BrokerId(1)),
            voted: Some(ReplicaKey { id: BrokerId(1), directory_id }),
        };
        assert_eq!(decode(encode(&state).as_bytes()), Ok(state));
        let kafka = r#"{"leaderId":1,"leaderEpoch":3,"votedId":1,"votedDirectoryId":"MkU3OEVBNTcwNTJENDM2Qg","data_version":1}"#;
        assert_eq!(decode(kafka.as_bytes()), Ok(state));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for bad in [
            "",
            "{}",
            r#"{"leaderId":1,"leaderEpoch":-3,"votedId":1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#,
            r#"{"leaderId":1,"leaderEpoch":3,"votedId":1,"votedDirectoryId":"x","data_version":1}"#,
            r#"{"leaderId":1,"leaderEpoch":3,"votedId":1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":2}"#,
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
