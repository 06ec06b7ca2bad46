//! Converts control records between the log's types and raft's, which differ in their types alone.

use protocol::metadata_records::control::{ControlRecord, Voter, VoterEndpoint};
use raft::{Address, Endpoint, KRaftVersion, Quorum, ReplicaKey, VoterSet};

use crate::controller::features;
use crate::metadata::Image;

pub(in crate::controller) fn to_log(record: &raft::ControlRecord) -> ControlRecord {
    match record {
        raft::ControlRecord::LeaderChange { leader, voters, granting_voters } => ControlRecord::LeaderChange {
            leader_id: *leader,
            voters: voters.clone(),
            granting_voters: granting_voters.clone(),
        },
        raft::ControlRecord::KRaftVersion(version) => ControlRecord::KRaftVersion(version.0),
        raft::ControlRecord::KRaftVoters(voters) => ControlRecord::KRaftVoters(voters.iter().map(voter).collect()),
    }
}

/// `None` for records that occur only in snapshots.
pub(in crate::controller) fn from_log(record: &ControlRecord) -> Option<raft::ControlRecord> {
    Some(match record {
        ControlRecord::LeaderChange { leader_id, voters, granting_voters } => raft::ControlRecord::LeaderChange {
            leader: *leader_id,
            voters: voters.clone(),
            granting_voters: granting_voters.clone(),
        },
        ControlRecord::KRaftVersion(level) => raft::ControlRecord::KRaftVersion(KRaftVersion(*level)),
        ControlRecord::KRaftVoters(voters) => raft::ControlRecord::KRaftVoters(voter_set(voters)),
        ControlRecord::SnapshotHeader { .. } | ControlRecord::SnapshotFooter => return None,
    })
}

/// The quorum's state in a snapshot.
pub(in crate::controller) fn quorum_of(image: &Image) -> Quorum {
    let level = image.features.get(features::KRAFT_VERSION).copied().unwrap_or_default();
    Quorum { kraft_version: KRaftVersion(level), voters: voter_set(&image.voters) }
}

fn voter_set(voters: &[Voter]) -> VoterSet {
    let voters = voters.iter().map(|voter| raft::Voter {
        key: ReplicaKey { id: voter.voter_id, directory_id: voter.directory_id },
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_min: KRaftVersion(voter.kraft_version_min),
        kraft_version_max: KRaftVersion(voter.kraft_version_max),
    });
    voters.collect()
}

fn endpoint(endpoint: &VoterEndpoint) -> Endpoint {
    let address = Address { host: endpoint.host.clone(), port: endpoint.port };
    Endpoint { name: endpoint.name.clone(), address }
}

fn voter(voter: &raft::Voter) -> Voter {
    let endpoint = |endpoint: &Endpoint| VoterEndpoint {
        name: endpoint.name.clone(),
        host: endpoint.address.host.clone(),
        port: endpoint.address.port,
    };
    Voter {
        voter_id: voter.key.id,
        directory_id: voter.key.directory_id,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_min: voter.kraft_version_min.0,
        kraft_version_max: voter.kraft_version_max.0,
    }
}
