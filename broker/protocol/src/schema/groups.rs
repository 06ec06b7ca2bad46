//! Consumer groups and their offsets.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use super::{Request, Versions, bool, bytes, int8, int32, int32s, int64, string, strings, structs};

pub static FIND_COORDINATOR: Request = Request {
    key: ApiKey::FindCoordinator,
    versions: Versions::between(0, 6),
    flexible: Versions::since(3),
    fields: &[string("Key").until(3), int8("KeyType").since(1), strings("CoordinatorKeys").since(4)],
};

pub static JOIN_GROUP: Request = Request {
    key: ApiKey::JoinGroup,
    versions: Versions::between(0, 9),
    flexible: Versions::since(6),
    fields: &[
        string("GroupId"),
        int32("SessionTimeoutMs"),
        int32("RebalanceTimeoutMs").since(1),
        string("MemberId"),
        string("GroupInstanceId").since(5).nullable(),
        string("ProtocolType"),
        structs::<JoinGroupRequestProtocol>("Protocols").of(&[string("Name"), bytes("Metadata")]),
        string("Reason").since(8).nullable(),
    ],
};

pub static SYNC_GROUP: Request = Request {
    key: ApiKey::SyncGroup,
    versions: Versions::between(0, 5),
    flexible: Versions::since(4),
    fields: &[
        string("GroupId"),
        int32("GenerationId"),
        string("MemberId"),
        string("GroupInstanceId").since(3).nullable(),
        string("ProtocolType").since(5).nullable(),
        string("ProtocolName").since(5).nullable(),
        structs::<SyncGroupRequestAssignment>("Assignments").of(&[string("MemberId"), bytes("Assignment")]),
    ],
};

pub static HEARTBEAT: Request = Request {
    key: ApiKey::Heartbeat,
    versions: Versions::between(0, 4),
    flexible: Versions::since(4),
    fields: &[
        string("GroupId"),
        int32("GenerationId"),
        string("MemberId"),
        string("GroupInstanceId").since(3).nullable(),
    ],
};

pub static LEAVE_GROUP: Request = Request {
    key: ApiKey::LeaveGroup,
    versions: Versions::between(0, 5),
    flexible: Versions::since(4),
    fields: &[
        string("GroupId"),
        string("MemberId").until(2),
        structs::<MemberIdentity>("Members").since(3).of(&[
            string("MemberId"),
            string("GroupInstanceId").nullable(),
            string("Reason").since(5).nullable(),
        ]),
    ],
};

pub static OFFSET_COMMIT: Request = Request {
    key: ApiKey::OffsetCommit,
    versions: Versions::between(2, 9),
    flexible: Versions::since(8),
    fields: &[
        string("GroupId"),
        int32("GenerationIdOrMemberEpoch"),
        string("MemberId"),
        string("GroupInstanceId").since(7).nullable(),
        int64("RetentionTimeMs").until(4),
        structs::<OffsetCommitRequestTopic>("Topics").of(&[
            string("Name"),
            structs::<OffsetCommitRequestPartition>("Partitions").of(&[
                int32("PartitionIndex"),
                int64("CommittedOffset"),
                int32("CommittedLeaderEpoch").since(6),
                string("CommittedMetadata").nullable(),
            ]),
        ]),
    ],
};

pub static OFFSET_FETCH: Request = Request {
    key: ApiKey::OffsetFetch,
    versions: Versions::between(1, 9),
    flexible: Versions::since(6),
    fields: &[
        string("GroupId").until(7),
        structs::<OffsetFetchRequestTopic>("Topics")
            .until(7)
            .nullable_since(2)
            .of(&[string("Name"), int32s("PartitionIndexes")]),
        structs::<OffsetFetchRequestGroup>("Groups").since(8).of(&[
            string("GroupId"),
            string("MemberId").since(9).nullable(),
            int32("MemberEpoch").since(9),
            structs::<OffsetFetchRequestTopics>("Topics").nullable().of(&[string("Name"), int32s("PartitionIndexes")]),
        ]),
        bool("RequireStable").since(7),
    ],
};

pub static OFFSET_DELETE: Request = Request {
    key: ApiKey::OffsetDelete,
    versions: Versions::between(0, 0),
    flexible: Versions::NONE,
    fields: &[
        string("GroupId"),
        structs::<OffsetDeleteRequestTopic>("Topics").of(&[
            string("Name"),
            structs::<OffsetDeleteRequestPartition>("Partitions").of(&[int32("PartitionIndex")]),
        ]),
    ],
};

pub static DESCRIBE_GROUPS: Request = Request {
    key: ApiKey::DescribeGroups,
    versions: Versions::between(0, 6),
    flexible: Versions::since(5),
    fields: &[strings("Groups"), bool("IncludeAuthorizedOperations").since(3)],
};

pub static LIST_GROUPS: Request = Request {
    key: ApiKey::ListGroups,
    versions: Versions::between(0, 5),
    flexible: Versions::since(3),
    fields: &[strings("StatesFilter").since(4), strings("TypesFilter").since(5)],
};

pub static DELETE_GROUPS: Request = Request {
    key: ApiKey::DeleteGroups,
    versions: Versions::between(0, 2),
    flexible: Versions::since(2),
    fields: &[strings("GroupsNames")],
};
