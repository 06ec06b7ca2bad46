//! The schemas of messages: fields, types, versions. The guard walks bodies by this table before anything is decoded.
//! Names, versions and tags are Kafka's; `versions` ends where kafka-protocol's codec ends.
//!
//! A table reads like Kafka's own message definitions:
//!
//! ```text
//! structs::<FetchTopic>("Topics").of(&[      an array; the type is what one element is decoded into
//!     string("Topic").until(12),             in the versions up to 12
//!     uuid("TopicId").since(13),
//!     int32s("Partitions").since(7),         an array of int32
//! ])
//! ```

mod brokers;
mod cluster;
mod configs;
mod data;
mod groups;
mod quorum;
mod responses;
mod security;
mod topics;
mod transactions;

use std::fmt;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

pub use brokers::*;
pub use cluster::*;
pub use configs::*;
pub use data::*;
pub use groups::*;
pub use quorum::*;
pub use responses::*;
pub use security::*;
pub use topics::*;
pub use transactions::*;

/// Every request described here, served or not.
pub static REQUESTS: &[&Request] = &[
    &PRODUCE,
    &FETCH,
    &LIST_OFFSETS,
    &METADATA,
    &OFFSET_COMMIT,
    &OFFSET_FETCH,
    &FIND_COORDINATOR,
    &JOIN_GROUP,
    &HEARTBEAT,
    &LEAVE_GROUP,
    &SYNC_GROUP,
    &DESCRIBE_GROUPS,
    &LIST_GROUPS,
    &SASL_HANDSHAKE,
    &API_VERSIONS,
    &CREATE_TOPICS,
    &DELETE_TOPICS,
    &DELETE_RECORDS,
    &INIT_PRODUCER_ID,
    &OFFSET_FOR_LEADER_EPOCH,
    &ADD_PARTITIONS_TO_TXN,
    &ADD_OFFSETS_TO_TXN,
    &END_TXN,
    &WRITE_TXN_MARKERS,
    &TXN_OFFSET_COMMIT,
    &DESCRIBE_ACLS,
    &CREATE_ACLS,
    &DELETE_ACLS,
    &DESCRIBE_CONFIGS,
    &ALTER_CONFIGS,
    &ALTER_REPLICA_LOG_DIRS,
    &DESCRIBE_LOG_DIRS,
    &SASL_AUTHENTICATE,
    &CREATE_PARTITIONS,
    &DELETE_GROUPS,
    &ELECT_LEADERS,
    &INCREMENTAL_ALTER_CONFIGS,
    &ALTER_PARTITION_REASSIGNMENTS,
    &LIST_PARTITION_REASSIGNMENTS,
    &OFFSET_DELETE,
    &DESCRIBE_CLIENT_QUOTAS,
    &ALTER_CLIENT_QUOTAS,
    &DESCRIBE_USER_SCRAM_CREDENTIALS,
    &ALTER_USER_SCRAM_CREDENTIALS,
    &VOTE,
    &BEGIN_QUORUM_EPOCH,
    &END_QUORUM_EPOCH,
    &DESCRIBE_QUORUM,
    &ALTER_PARTITION,
    &UPDATE_FEATURES,
    &ENVELOPE,
    &FETCH_SNAPSHOT,
    &DESCRIBE_CLUSTER,
    &DESCRIBE_PRODUCERS,
    &BROKER_REGISTRATION,
    &BROKER_HEARTBEAT,
    &UNREGISTER_BROKER,
    &DESCRIBE_TRANSACTIONS,
    &LIST_TRANSACTIONS,
    &ALLOCATE_PRODUCER_IDS,
    &CONTROLLER_REGISTRATION,
    &LIST_CONFIG_RESOURCES,
    &DESCRIBE_TOPIC_PARTITIONS,
    &ADD_RAFT_VOTER,
    &REMOVE_RAFT_VOTER,
    &UPDATE_RAFT_VOTER,
];

/// Versions `first` to `last`, both included; none where `last < first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const ALL: Self = Self::since(0);
    pub const NONE: Self = Self::between(0, -1);

    pub const fn between(first: i16, last: i16) -> Self {
        Self { first, last }
    }

    pub const fn since(first: i16) -> Self {
        Self::between(first, i16::MAX)
    }

    pub const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The body of one request.
#[derive(Debug)]
pub struct Request {
    pub key: ApiKey,
    pub versions: Versions,
    /// Versions with compact lengths and tagged fields (KIP-482).
    pub flexible: Versions,
    pub fields: &'static [Field],
}

/// The body of the answer to one request.
#[derive(Debug)]
pub struct Response {
    /// The key of the request.
    pub key: ApiKey,
    pub versions: Versions,
    pub flexible: Versions,
    pub fields: &'static [Field],
}

/// The schema of the answer to requests with this key, if a node of ours sends such requests.
pub fn response(key: i16) -> Option<&'static Response> {
    RESPONSES.iter().copied().find(|response| response.key as i16 == key)
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// For an array: the memory that one decoded element takes.
    pub element_bytes: Option<usize>,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
}

/// The type of a field, or of an array's elements.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    /// Record batches: on the wire like bytes.
    Records,
    Struct(&'static [Field]),
}

impl Kind {
    /// Bytes on the wire, for kinds of fixed width.
    pub const fn width(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 => 4,
            Self::Int64 | Self::Float64 => 8,
            Self::Uuid => 16,
            Self::String | Self::Bytes | Self::Records | Self::Struct(_) => return None,
        })
    }
}

impl Field {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, element_bytes: None, versions: Versions::ALL, nullable: Versions::NONE, tag: None }
    }

    const fn array<Element>(name: &'static str, kind: Kind) -> Self {
        Self { element_bytes: Some(size_of::<Element>()), ..Self::new(name, kind) }
    }

    const fn since(self, first: i16) -> Self {
        Self { versions: Versions::since(first), ..self }
    }

    const fn until(self, last: i16) -> Self {
        Self { versions: Versions::between(0, last), ..self }
    }

    const fn between(self, first: i16, last: i16) -> Self {
        Self { versions: Versions::between(first, last), ..self }
    }

    const fn nullable(self) -> Self {
        self.nullable_since(0)
    }

    const fn nullable_since(self, first: i16) -> Self {
        Self { nullable: Versions::since(first), ..self }
    }

    const fn tagged(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    const fn of(self, fields: &'static [Self]) -> Self {
        Self { kind: Kind::Struct(fields), ..self }
    }
}

const fn bool(name: &'static str) -> Field {
    Field::new(name, Kind::Bool)
}

const fn int8(name: &'static str) -> Field {
    Field::new(name, Kind::Int8)
}

const fn int16(name: &'static str) -> Field {
    Field::new(name, Kind::Int16)
}

const fn uint16(name: &'static str) -> Field {
    Field::new(name, Kind::Uint16)
}

const fn int32(name: &'static str) -> Field {
    Field::new(name, Kind::Int32)
}

const fn int64(name: &'static str) -> Field {
    Field::new(name, Kind::Int64)
}

const fn float64(name: &'static str) -> Field {
    Field::new(name, Kind::Float64)
}

const fn uuid(name: &'static str) -> Field {
    Field::new(name, Kind::Uuid)
}

const fn string(name: &'static str) -> Field {
    Field::new(name, Kind::String)
}

const fn bytes(name: &'static str) -> Field {
    Field::new(name, Kind::Bytes)
}

const fn records(name: &'static str) -> Field {
    Field::new(name, Kind::Records)
}

const fn int8s(name: &'static str) -> Field {
    Field::array::<i8>(name, Kind::Int8)
}

const fn int32s(name: &'static str) -> Field {
    Field::array::<i32>(name, Kind::Int32)
}

const fn int64s(name: &'static str) -> Field {
    Field::array::<i64>(name, Kind::Int64)
}

const fn uuids(name: &'static str) -> Field {
    Field::array::<Uuid>(name, Kind::Uuid)
}

const fn strings(name: &'static str) -> Field {
    Field::array::<StrBytes>(name, Kind::String)
}

/// One struct; its fields follow with [`Field::of`].
const fn structure(name: &'static str) -> Field {
    Field::new(name, Kind::Struct(&[]))
}

/// An array of structs, each decoded into an `Element`.
const fn structs<Element>(name: &'static str) -> Field {
    Field::array::<Element>(name, Kind::Struct(&[]))
}
