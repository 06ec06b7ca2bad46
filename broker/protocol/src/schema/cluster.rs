//! The connection and the cluster: ApiVersions, SASL, Metadata and related APIs.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

use super::{Request, Versions, bool, bytes, int8, int32, string, structs, structure, uuid};

pub static API_VERSIONS: Request = Request {
    key: ApiKey::ApiVersions,
    versions: Versions::between(0, 4),
    flexible: Versions::since(3),
    fields: &[string("ClientSoftwareName").since(3), string("ClientSoftwareVersion").since(3)],
};

pub static METADATA: Request = Request {
    key: ApiKey::Metadata,
    versions: Versions::between(0, 13),
    flexible: Versions::since(9),
    fields: &[
        structs::<MetadataRequestTopic>("Topics")
            .nullable_since(1)
            .of(&[uuid("TopicId").since(10), string("Name").nullable_since(10)]),
        bool("AllowAutoTopicCreation").since(4),
        bool("IncludeClusterAuthorizedOperations").between(8, 10),
        bool("IncludeTopicAuthorizedOperations").since(8),
    ],
};

pub static DESCRIBE_CLUSTER: Request = Request {
    key: ApiKey::DescribeCluster,
    versions: Versions::between(0, 2),
    flexible: Versions::since(0),
    fields: &[
        bool("IncludeClusterAuthorizedOperations"),
        int8("EndpointType").since(1),
        bool("IncludeFencedBrokers").since(2),
    ],
};

pub static DESCRIBE_TOPIC_PARTITIONS: Request = Request {
    key: ApiKey::DescribeTopicPartitions,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        structs::<TopicRequest>("Topics").of(&[string("Name")]),
        int32("ResponsePartitionLimit"),
        structure("Cursor").nullable().of(&[string("TopicName"), int32("PartitionIndex")]),
    ],
};

pub static SASL_HANDSHAKE: Request = Request {
    key: ApiKey::SaslHandshake,
    versions: Versions::between(0, 1),
    flexible: Versions::NONE,
    fields: &[string("Mechanism")],
};

pub static SASL_AUTHENTICATE: Request = Request {
    key: ApiKey::SaslAuthenticate,
    versions: Versions::between(0, 2),
    flexible: Versions::since(2),
    fields: &[bytes("AuthBytes")],
};

pub static ENVELOPE: Request = Request {
    key: ApiKey::Envelope,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[bytes("RequestData"), bytes("RequestPrincipal").nullable(), bytes("ClientHostAddress")],
};
