//! Records and offsets of partitions: Produce, Fetch and related APIs.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::{Request, Versions, int8, int16, int32, int32s, int64, records, string, structs, structure, uuid};

pub static PRODUCE: Request = Request {
    key: ApiKey::Produce,
    versions: Versions::between(3, 13),
    flexible: Versions::since(9),
    fields: &[
        string("TransactionalId").nullable(),
        int16("Acks"),
        int32("TimeoutMs"),
        structs::<TopicProduceData>("TopicData").of(&[
            string("Name").until(12),
            uuid("TopicId").since(13),
            structs::<PartitionProduceData>("PartitionData").of(&[int32("Index"), records("Records").nullable()]),
        ]),
    ],
};

pub static FETCH: Request = Request {
    key: ApiKey::Fetch,
    versions: Versions::between(4, 18),
    flexible: Versions::since(12),
    fields: &[
        string("ClusterId").since(12).nullable().tagged(0),
        int32("ReplicaId").until(14),
        structure("ReplicaState").since(15).tagged(1).of(&[int32("ReplicaId"), int64("ReplicaEpoch")]),
        int32("MaxWaitMs"),
        int32("MinBytes"),
        int32("MaxBytes"),
        int8("IsolationLevel"),
        int32("SessionId").since(7),
        int32("SessionEpoch").since(7),
        structs::<FetchTopic>("Topics").of(&[
            string("Topic").until(12),
            uuid("TopicId").since(13),
            structs::<FetchPartition>("Partitions").of(&[
                int32("Partition"),
                int32("CurrentLeaderEpoch").since(9),
                int64("FetchOffset"),
                int32("LastFetchedEpoch").since(12),
                int64("LogStartOffset").since(5),
                int32("PartitionMaxBytes"),
                uuid("ReplicaDirectoryId").since(17).tagged(0),
                int64("HighWatermark").since(18).tagged(1),
            ]),
        ]),
        structs::<ForgottenTopic>("ForgottenTopicsData").since(7).of(&[
            string("Topic").until(12),
            uuid("TopicId").since(13),
            int32s("Partitions"),
        ]),
        string("RackId").since(11),
    ],
};

pub static LIST_OFFSETS: Request = Request {
    key: ApiKey::ListOffsets,
    versions: Versions::between(1, 10),
    flexible: Versions::since(6),
    fields: &[
        int32("ReplicaId"),
        int8("IsolationLevel").since(2),
        structs::<ListOffsetsTopic>("Topics").of(&[
            string("Name"),
            structs::<ListOffsetsPartition>("Partitions").of(&[
                int32("PartitionIndex"),
                int32("CurrentLeaderEpoch").since(4),
                int64("Timestamp"),
            ]),
        ]),
        int32("TimeoutMs").since(10),
    ],
};

pub static OFFSET_FOR_LEADER_EPOCH: Request = Request {
    key: ApiKey::OffsetForLeaderEpoch,
    versions: Versions::between(2, 4),
    flexible: Versions::since(4),
    fields: &[
        int32("ReplicaId").since(3),
        structs::<OffsetForLeaderTopic>("Topics").of(&[
            string("Topic"),
            structs::<OffsetForLeaderPartition>("Partitions").of(&[
                int32("Partition"),
                int32("CurrentLeaderEpoch"),
                int32("LeaderEpoch"),
            ]),
        ]),
    ],
};

pub static DELETE_RECORDS: Request = Request {
    key: ApiKey::DeleteRecords,
    versions: Versions::between(0, 2),
    flexible: Versions::since(2),
    fields: &[
        structs::<DeleteRecordsTopic>("Topics").of(&[
            string("Name"),
            structs::<DeleteRecordsPartition>("Partitions").of(&[int32("PartitionIndex"), int64("Offset")]),
        ]),
        int32("TimeoutMs"),
    ],
};

pub static ALTER_REPLICA_LOG_DIRS: Request = Request {
    key: ApiKey::AlterReplicaLogDirs,
    versions: Versions::between(1, 2),
    flexible: Versions::since(2),
    fields: &[structs::<AlterReplicaLogDir>("Dirs").of(&[
        string("Path"),
        structs::<AlterReplicaLogDirTopic>("Topics").of(&[string("Name"), int32s("Partitions")]),
    ])],
};

pub static DESCRIBE_LOG_DIRS: Request = Request {
    key: ApiKey::DescribeLogDirs,
    versions: Versions::between(1, 4),
    flexible: Versions::since(2),
    fields: &[structs::<DescribableLogDirTopic>("Topics").nullable().of(&[string("Topic"), int32s("Partitions")])],
};

pub static DESCRIBE_PRODUCERS: Request = Request {
    key: ApiKey::DescribeProducers,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[structs::<TopicRequest>("Topics").of(&[string("Name"), int32s("PartitionIndexes")])],
};
