//! The metadata quorum: votes, epochs, snapshots and voters (KIP-595, KIP-630, KIP-853, KIP-996).

use kafka_protocol::messages::{
    ApiKey, add_raft_voter_request, begin_quorum_epoch_request, describe_quorum_request, end_quorum_epoch_request,
    fetch_snapshot_request, update_raft_voter_request, vote_request,
};

use super::{Request, Versions, bool, int16, int32, int32s, int64, string, structs, structure, uint16, uuid};

pub static VOTE: Request = Request {
    key: ApiKey::Vote,
    versions: Versions::between(0, 2),
    flexible: Versions::since(0),
    fields: &[
        string("ClusterId").nullable(),
        int32("VoterId").since(1),
        structs::<vote_request::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<vote_request::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                int32("ReplicaEpoch"),
                int32("ReplicaId"),
                uuid("ReplicaDirectoryId").since(1),
                uuid("VoterDirectoryId").since(1),
                int32("LastOffsetEpoch"),
                int64("LastOffset"),
                bool("PreVote").since(2),
            ]),
        ]),
    ],
};

pub static BEGIN_QUORUM_EPOCH: Request = Request {
    key: ApiKey::BeginQuorumEpoch,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        string("ClusterId").nullable(),
        int32("VoterId").since(1),
        structs::<begin_quorum_epoch_request::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<begin_quorum_epoch_request::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                uuid("VoterDirectoryId").since(1),
                int32("LeaderId"),
                int32("LeaderEpoch"),
            ]),
        ]),
        structs::<begin_quorum_epoch_request::LeaderEndpoint>("LeaderEndpoints").since(1).of(ENDPOINT),
    ],
};

pub static END_QUORUM_EPOCH: Request = Request {
    key: ApiKey::EndQuorumEpoch,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        string("ClusterId").nullable(),
        structs::<end_quorum_epoch_request::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<end_quorum_epoch_request::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                int32("LeaderId"),
                int32("LeaderEpoch"),
                int32s("PreferredSuccessors").until(0),
                structs::<end_quorum_epoch_request::ReplicaInfo>("PreferredCandidates")
                    .since(1)
                    .of(&[int32("CandidateId"), uuid("CandidateDirectoryId")]),
            ]),
        ]),
        structs::<end_quorum_epoch_request::LeaderEndpoint>("LeaderEndpoints").since(1).of(ENDPOINT),
    ],
};

pub static DESCRIBE_QUORUM: Request = Request {
    key: ApiKey::DescribeQuorum,
    versions: Versions::between(0, 2),
    flexible: Versions::since(0),
    fields: &[structs::<describe_quorum_request::TopicData>("Topics").of(&[
        string("TopicName"),
        structs::<describe_quorum_request::PartitionData>("Partitions").of(&[int32("PartitionIndex")]),
    ])],
};

pub static FETCH_SNAPSHOT: Request = Request {
    key: ApiKey::FetchSnapshot,
    versions: Versions::between(0, 1),
    flexible: Versions::since(0),
    fields: &[
        string("ClusterId").nullable().tagged(0),
        int32("ReplicaId"),
        int32("MaxBytes"),
        structs::<fetch_snapshot_request::TopicSnapshot>("Topics").of(&[
            string("Name"),
            structs::<fetch_snapshot_request::PartitionSnapshot>("Partitions").of(&[
                int32("Partition"),
                int32("CurrentLeaderEpoch"),
                structure("SnapshotId").of(&[int64("EndOffset"), int32("Epoch")]),
                int64("Position"),
                uuid("ReplicaDirectoryId").since(1).tagged(0),
            ]),
        ]),
    ],
};

pub static ADD_RAFT_VOTER: Request = Request {
    key: ApiKey::AddRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        string("ClusterId").nullable(),
        int32("TimeoutMs"),
        int32("VoterId"),
        uuid("VoterDirectoryId"),
        structs::<add_raft_voter_request::Listener>("Listeners").of(ENDPOINT),
    ],
};

pub static REMOVE_RAFT_VOTER: Request = Request {
    key: ApiKey::RemoveRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[string("ClusterId").nullable(), int32("VoterId"), uuid("VoterDirectoryId")],
};

pub static UPDATE_RAFT_VOTER: Request = Request {
    key: ApiKey::UpdateRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        string("ClusterId").nullable(),
        int32("CurrentLeaderEpoch"),
        int32("VoterId"),
        uuid("VoterDirectoryId"),
        structs::<update_raft_voter_request::Listener>("Listeners").of(ENDPOINT),
        structure("KRaftVersionFeature").of(&[int16("MinSupportedVersion"), int16("MaxSupportedVersion")]),
    ],
};

/// A controller's endpoint.
const ENDPOINT: &[super::Field] = &[string("Name"), string("Host"), uint16("Port")];
