//! Answers of other nodes. They come from our own cluster, but use the same decoder as requests, so they are guarded,
//! too.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    alter_partition_response, begin_quorum_epoch_response, create_topics_response, end_quorum_epoch_response,
    fetch_response, fetch_snapshot_response, vote_response,
};

use super::{
    Field, Response, Versions, bool, bytes, int8, int16, int32, int32s, int64, records, string, structs, structure,
    uint16, uuid,
};

/// Every answer that our own programs request.
pub static RESPONSES: &[&Response] = &[
    &FETCH_RESPONSE,
    &API_VERSIONS_RESPONSE,
    &CREATE_TOPICS_RESPONSE,
    &VOTE_RESPONSE,
    &BEGIN_QUORUM_EPOCH_RESPONSE,
    &END_QUORUM_EPOCH_RESPONSE,
    &ALTER_PARTITION_RESPONSE,
    &ENVELOPE_RESPONSE,
    &FETCH_SNAPSHOT_RESPONSE,
    &BROKER_REGISTRATION_RESPONSE,
    &BROKER_HEARTBEAT_RESPONSE,
    &ALLOCATE_PRODUCER_IDS_RESPONSE,
    &CONTROLLER_REGISTRATION_RESPONSE,
    &UPDATE_RAFT_VOTER_RESPONSE,
    &ADD_RAFT_VOTER_RESPONSE,
    &REMOVE_RAFT_VOTER_RESPONSE,
    &DESCRIBE_CONFIGS_RESPONSE,
    &DESCRIBE_LOG_DIRS_RESPONSE,
    &INCREMENTAL_ALTER_CONFIGS_RESPONSE,
];

const THROTTLE_TIME: Field = int32("ThrottleTimeMs");
const ERROR_CODE: Field = int16("ErrorCode");

pub static FETCH_RESPONSE: Response = Response {
    key: ApiKey::Fetch,
    versions: Versions::between(4, 18),
    flexible: Versions::since(12),
    fields: &[
        THROTTLE_TIME,
        ERROR_CODE.since(7),
        int32("SessionId").since(7),
        structs::<fetch_response::FetchableTopicResponse>("Responses").of(&[
            string("Topic").until(12),
            uuid("TopicId").since(13),
            structs::<fetch_response::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                ERROR_CODE,
                int64("HighWatermark"),
                int64("LastStableOffset").since(4),
                int64("LogStartOffset").since(5),
                structure("DivergingEpoch").since(12).tagged(0).of(&[int32("Epoch"), int64("EndOffset")]),
                structure("CurrentLeader").since(12).tagged(1).of(&[int32("LeaderId"), int32("LeaderEpoch")]),
                structure("SnapshotId").since(12).tagged(2).of(&[int64("EndOffset"), int32("Epoch")]),
                structs::<fetch_response::AbortedTransaction>("AbortedTransactions")
                    .since(4)
                    .nullable_since(4)
                    .of(&[int64("ProducerId"), int64("FirstOffset")]),
                int32("PreferredReadReplica").since(11),
                records("Records").nullable(),
            ]),
        ]),
        structs::<fetch_response::NodeEndpoint>("NodeEndpoints").since(16).tagged(0).of(&[
            int32("NodeId"),
            string("Host"),
            int32("Port"),
            string("Rack").nullable(),
        ]),
    ],
};

pub static API_VERSIONS_RESPONSE: Response = Response {
    key: ApiKey::ApiVersions,
    versions: Versions::between(0, 4),
    flexible: Versions::since(3),
    fields: &[
        ERROR_CODE,
        structs::<ApiVersion>("ApiKeys").of(&[int16("ApiKey"), int16("MinVersion"), int16("MaxVersion")]),
        THROTTLE_TIME.since(1),
        structs::<SupportedFeatureKey>("SupportedFeatures").since(3).tagged(0).of(&[
            string("Name"),
            int16("MinVersion"),
            int16("MaxVersion"),
        ]),
        int64("FinalizedFeaturesEpoch").since(3).tagged(1),
        structs::<FinalizedFeatureKey>("FinalizedFeatures").since(3).tagged(2).of(&[
            string("Name"),
            int16("MaxVersionLevel"),
            int16("MinVersionLevel"),
        ]),
        bool("ZkMigrationReady").since(3).tagged(3),
    ],
};

pub static CREATE_TOPICS_RESPONSE: Response = Response {
    key: ApiKey::CreateTopics,
    versions: Versions::between(2, 7),
    flexible: Versions::since(5),
    fields: &[
        THROTTLE_TIME,
        structs::<create_topics_response::CreatableTopicResult>("Topics").of(&[
            string("Name"),
            uuid("TopicId").since(7),
            ERROR_CODE,
            string("ErrorMessage").nullable(),
            int16("TopicConfigErrorCode").since(5).tagged(0),
            int32("NumPartitions").since(5),
            int16("ReplicationFactor").since(5),
            structs::<create_topics_response::CreatableTopicConfigs>("Configs").since(5).nullable_since(5).of(&[
                string("Name"),
                string("Value").nullable(),
                bool("ReadOnly"),
                int8("ConfigSource"),
                bool("IsSensitive"),
            ]),
        ]),
    ],
};

pub static VOTE_RESPONSE: Response = Response {
    key: ApiKey::Vote,
    versions: Versions::between(0, 2),
    flexible: Versions::ALL,
    fields: &[
        ERROR_CODE,
        structs::<vote_response::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<vote_response::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                ERROR_CODE,
                int32("LeaderId"),
                int32("LeaderEpoch"),
                bool("VoteGranted"),
            ]),
        ]),
        structs::<vote_response::NodeEndpoint>("NodeEndpoints").since(1).tagged(0).of(NODE_ENDPOINT),
    ],
};

pub static BEGIN_QUORUM_EPOCH_RESPONSE: Response = Response {
    key: ApiKey::BeginQuorumEpoch,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        ERROR_CODE,
        structs::<begin_quorum_epoch_response::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<begin_quorum_epoch_response::PartitionData>("Partitions").of(QUORUM_PARTITION),
        ]),
        structs::<begin_quorum_epoch_response::NodeEndpoint>("NodeEndpoints").since(1).tagged(0).of(NODE_ENDPOINT),
    ],
};

pub static END_QUORUM_EPOCH_RESPONSE: Response = Response {
    key: ApiKey::EndQuorumEpoch,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        ERROR_CODE,
        structs::<end_quorum_epoch_response::TopicData>("Topics").of(&[
            string("TopicName"),
            structs::<end_quorum_epoch_response::PartitionData>("Partitions").of(QUORUM_PARTITION),
        ]),
        structs::<end_quorum_epoch_response::NodeEndpoint>("NodeEndpoints").since(1).tagged(0).of(NODE_ENDPOINT),
    ],
};

pub static ALTER_PARTITION_RESPONSE: Response = Response {
    key: ApiKey::AlterPartition,
    versions: Versions::between(2, 3),
    flexible: Versions::ALL,
    fields: &[
        THROTTLE_TIME,
        ERROR_CODE,
        structs::<alter_partition_response::TopicData>("Topics").of(&[
            uuid("TopicId").since(2),
            structs::<alter_partition_response::PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                ERROR_CODE,
                int32("LeaderId"),
                int32("LeaderEpoch"),
                int32s("Isr"),
                int8("LeaderRecoveryState").since(1),
                int32("PartitionEpoch"),
            ]),
        ]),
    ],
};

pub static ENVELOPE_RESPONSE: Response = Response {
    key: ApiKey::Envelope,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[bytes("ResponseData").nullable(), ERROR_CODE],
};

pub static FETCH_SNAPSHOT_RESPONSE: Response = Response {
    key: ApiKey::FetchSnapshot,
    versions: Versions::between(0, 1),
    flexible: Versions::ALL,
    fields: &[
        THROTTLE_TIME,
        ERROR_CODE,
        structs::<fetch_snapshot_response::TopicSnapshot>("Topics").of(&[
            string("Name"),
            structs::<fetch_snapshot_response::PartitionSnapshot>("Partitions").of(&[
                int32("Index"),
                ERROR_CODE,
                structure("SnapshotId").of(&[int64("EndOffset"), int32("Epoch")]),
                structure("CurrentLeader").tagged(0).of(&[int32("LeaderId"), int32("LeaderEpoch")]),
                int64("Size"),
                int64("Position"),
                records("UnalignedRecords"),
            ]),
        ]),
        structs::<fetch_snapshot_response::NodeEndpoint>("NodeEndpoints").since(1).tagged(0).of(NODE_ENDPOINT),
    ],
};

pub static BROKER_REGISTRATION_RESPONSE: Response = Response {
    key: ApiKey::BrokerRegistration,
    versions: Versions::between(0, 4),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, int64("BrokerEpoch")],
};

pub static BROKER_HEARTBEAT_RESPONSE: Response = Response {
    key: ApiKey::BrokerHeartbeat,
    versions: Versions::between(0, 1),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, bool("IsCaughtUp"), bool("IsFenced"), bool("ShouldShutDown")],
};

pub static ALLOCATE_PRODUCER_IDS_RESPONSE: Response = Response {
    key: ApiKey::AllocateProducerIds,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, int64("ProducerIdStart"), int32("ProducerIdLen")],
};

pub static CONTROLLER_REGISTRATION_RESPONSE: Response = Response {
    key: ApiKey::ControllerRegistration,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, string("ErrorMessage").nullable()],
};

pub static UPDATE_RAFT_VOTER_RESPONSE: Response = Response {
    key: ApiKey::UpdateRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[
        THROTTLE_TIME,
        ERROR_CODE,
        structure("CurrentLeader").tagged(0).of(&[
            int32("LeaderId"),
            int32("LeaderEpoch"),
            string("Host"),
            int32("Port"),
        ]),
    ],
};

pub static ADD_RAFT_VOTER_RESPONSE: Response = Response {
    key: ApiKey::AddRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, string("ErrorMessage").nullable()],
};

pub static REMOVE_RAFT_VOTER_RESPONSE: Response = Response {
    key: ApiKey::RemoveRaftVoter,
    versions: Versions::between(0, 0),
    flexible: Versions::ALL,
    fields: &[THROTTLE_TIME, ERROR_CODE, string("ErrorMessage").nullable()],
};

const QUORUM_PARTITION: &[Field] = &[int32("PartitionIndex"), ERROR_CODE, int32("LeaderId"), int32("LeaderEpoch")];
const NODE_ENDPOINT: &[Field] = &[int32("NodeId"), string("Host"), uint16("Port")];

pub static DESCRIBE_CONFIGS_RESPONSE: Response = Response {
    key: ApiKey::DescribeConfigs,
    versions: Versions::between(1, 4),
    flexible: Versions::since(4),
    fields: &[
        THROTTLE_TIME,
        structs::<DescribeConfigsResult>("Results").of(&[
            ERROR_CODE,
            string("ErrorMessage").nullable(),
            int8("ResourceType"),
            string("ResourceName"),
            structs::<DescribeConfigsResourceResult>("Configs").of(&[
                string("Name"),
                string("Value").nullable(),
                bool("ReadOnly"),
                int8("ConfigSource").since(1),
                bool("IsSensitive"),
                structs::<DescribeConfigsSynonym>("Synonyms").since(1).of(&[
                    string("Name"),
                    string("Value").nullable(),
                    int8("Source"),
                ]),
                int8("ConfigType").since(3),
                string("Documentation").since(3).nullable(),
            ]),
        ]),
    ],
};

pub static DESCRIBE_LOG_DIRS_RESPONSE: Response = Response {
    key: ApiKey::DescribeLogDirs,
    versions: Versions::between(1, 4),
    flexible: Versions::since(2),
    fields: &[
        THROTTLE_TIME,
        ERROR_CODE.since(3),
        structs::<DescribeLogDirsResult>("Results").of(&[
            ERROR_CODE,
            string("LogDir"),
            structs::<DescribeLogDirsTopic>("Topics").of(&[
                string("Name"),
                structs::<DescribeLogDirsPartition>("Partitions").of(&[
                    int32("PartitionIndex"),
                    int64("PartitionSize"),
                    int64("OffsetLag"),
                    bool("IsFutureKey"),
                ]),
            ]),
            int64("TotalBytes").since(4),
            int64("UsableBytes").since(4),
        ]),
    ],
};

pub static INCREMENTAL_ALTER_CONFIGS_RESPONSE: Response = Response {
    key: ApiKey::IncrementalAlterConfigs,
    versions: Versions::between(0, 1),
    flexible: Versions::since(1),
    fields: &[
        THROTTLE_TIME,
        structs::<AlterConfigsResourceResponse>("Responses").of(&[
            ERROR_CODE,
            string("ErrorMessage").nullable(),
            int8("ResourceType"),
            string("ResourceName"),
        ]),
    ],
};
