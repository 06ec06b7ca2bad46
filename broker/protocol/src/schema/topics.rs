//! Creating, deleting and placing topics and partitions.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;

use super::{Request, Versions, bool, int8, int16, int32, int32s, string, strings, structs, uuid};

pub static CREATE_TOPICS: Request = Request {
    key: ApiKey::CreateTopics,
    versions: Versions::between(2, 7),
    flexible: Versions::since(5),
    fields: &[
        structs::<CreatableTopic>("Topics").of(&[
            string("Name"),
            int32("NumPartitions"),
            int16("ReplicationFactor"),
            structs::<CreatableReplicaAssignment>("Assignments").of(&[int32("PartitionIndex"), int32s("BrokerIds")]),
            structs::<CreatableTopicConfig>("Configs").of(&[string("Name"), string("Value").nullable()]),
        ]),
        int32("timeoutMs"),
        bool("validateOnly"),
    ],
};

pub static DELETE_TOPICS: Request = Request {
    key: ApiKey::DeleteTopics,
    versions: Versions::between(1, 6),
    flexible: Versions::since(4),
    fields: &[
        structs::<DeleteTopicState>("Topics").since(6).of(&[string("Name").nullable(), uuid("TopicId")]),
        strings("TopicNames").until(5),
        int32("TimeoutMs"),
    ],
};

pub static CREATE_PARTITIONS: Request = Request {
    key: ApiKey::CreatePartitions,
    versions: Versions::between(0, 3),
    flexible: Versions::since(2),
    fields: &[
        structs::<CreatePartitionsTopic>("Topics").of(&[
            string("Name"),
            int32("Count"),
            structs::<CreatePartitionsAssignment>("Assignments").nullable().of(&[int32s("BrokerIds")]),
        ]),
        int32("TimeoutMs"),
        bool("ValidateOnly"),
    ],
};

pub static ELECT_LEADERS: Request = Request {
    key: ApiKey::ElectLeaders,
    versions: Versions::between(0, 2),
    flexible: Versions::since(2),
    fields: &[
        int8("ElectionType").since(1),
        structs::<TopicPartitions>("TopicPartitions").nullable().of(&[string("Topic"), int32s("Partitions")]),
        int32("TimeoutMs"),
    ],
};

pub static ALTER_PARTITION_REASSIGNMENTS: Request = Request {
    key: ApiKey::AlterPartitionReassignments,
    versions: Versions::between(0, 1),
    flexible: Versions::since(0),
    fields: &[
        int32("TimeoutMs"),
        bool("AllowReplicationFactorChange").since(1),
        structs::<ReassignableTopic>("Topics").of(&[
            string("Name"),
            structs::<ReassignablePartition>("Partitions")
                .of(&[int32("PartitionIndex"), int32s("Replicas").nullable()]),
        ]),
    ],
};

pub static LIST_PARTITION_REASSIGNMENTS: Request = Request {
    key: ApiKey::ListPartitionReassignments,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        int32("TimeoutMs"),
        structs::<ListPartitionReassignmentsTopics>("Topics")
            .nullable()
            .of(&[string("Name"), int32s("PartitionIndexes")]),
    ],
};
