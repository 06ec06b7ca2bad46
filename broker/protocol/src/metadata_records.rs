//! The records of `__cluster_metadata-0` and its snapshots (KIP-631), as Kafka's `kafka-dump-log
//! --cluster-metadata-decoder` reads them:
//!
//! ```text
//! unsigned varint frame version = 1, unsigned varint api key, unsigned varint version, body
//! ```
//!
//! Bodies are flexible: strings and arrays with compact lengths, tagged fields at the end of every structure. Each
//! type has one version, that of metadata.version 4.1; another version is an error, as is an unknown type, because
//! skipping records would lead to a different cluster state. Unknown tagged fields are skipped.

mod broker;
pub mod control;
mod partition;
pub(crate) mod wire;

use wire::{Reader, Writer};

pub use broker::{
    BrokerRegistrationChangeRecord, Endpoint, FeatureRange, RegisterBrokerRecord, RegisterControllerRecord,
};
pub use partition::{LeaderRecoveryState, LeaderUpdate, PartitionChangeRecord, PartitionRecord};

use crate::types::{BrokerEpoch, BrokerId, ProducerId, TopicId};

const FRAME_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRecord {
    RegisterBroker(RegisterBrokerRecord),
    UnregisterBroker {
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    },
    Topic {
        name: String,
        topic_id: TopicId,
    },
    Partition(PartitionRecord),
    Config {
        resource_type: ConfigResourceType,
        /// Empty: the default for all resources of the type.
        resource_name: String,
        name: String,
        /// `None` removes it.
        value: Option<String>,
    },
    PartitionChange(PartitionChangeRecord),
    RemoveTopic {
        topic_id: TopicId,
    },
    FeatureLevel {
        name: String,
        /// 0: not supported.
        level: i16,
    },
    ProducerIds {
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        next_producer_id: ProducerId,
    },
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    NoOp,
    RegisterController(RegisterControllerRecord),
}

/// Kafka's numbers for configuration resource types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("frame version {found}, expected {FRAME_VERSION}")]
    FrameVersion { found: u32 },
    #[error("unknown record type {api_key}")]
    UnknownType { api_key: u32 },
    #[error("record type {api_key} has version {found}, expected {expected}")]
    UnknownVersion { api_key: u32, found: u32, expected: u32 },
    #[error("{field} ends early: {remaining} bytes remain")]
    Truncated { field: &'static str, remaining: usize },
    #[error("{field} claims {count} elements, but {remaining} bytes remain")]
    TooMany { field: &'static str, count: u32, remaining: usize },
    #[error("{field} is {found}")]
    BadValue { field: &'static str, found: i64 },
    #[error("{field} must not be null")]
    Null { field: &'static str },
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("{bytes} bytes follow the end of {field}")]
    Trailing { field: &'static str, bytes: usize },
}

/// Kafka does not read longer strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string of {length} bytes does not fit a record: at most {}", wire::STRING_LENGTH_MAX)]
pub struct StringTooLong {
    pub length: usize,
}

/// Api key and version of each type.
mod api {
    pub(super) const REGISTER_BROKER: (u32, u32) = (0, 3);
    pub(super) const UNREGISTER_BROKER: (u32, u32) = (1, 0);
    pub(super) const TOPIC: (u32, u32) = (2, 0);
    pub(super) const PARTITION: (u32, u32) = (3, 2);
    pub(super) const CONFIG: (u32, u32) = (4, 0);
    pub(super) const PARTITION_CHANGE: (u32, u32) = (5, 2);
    pub(super) const REMOVE_TOPIC: (u32, u32) = (9, 0);
    pub(super) const FEATURE_LEVEL: (u32, u32) = (12, 0);
    pub(super) const PRODUCER_IDS: (u32, u32) = (15, 0);
    pub(super) const BROKER_REGISTRATION_CHANGE: (u32, u32) = (17, 2);
    pub(super) const NO_OP: (u32, u32) = (20, 0);
    pub(super) const REGISTER_CONTROLLER: (u32, u32) = (27, 0);

    pub(super) const ALL: [(u32, u32); 12] = [
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        TOPIC,
        PARTITION,
        CONFIG,
        PARTITION_CHANGE,
        REMOVE_TOPIC,
        FEATURE_LEVEL,
        PRODUCER_IDS,
        BROKER_REGISTRATION_CHANGE,
        NO_OP,
        REGISTER_CONTROLLER,
    ];
}

impl MetadataRecord {
    /// The value of the log's record; it has no key.
    pub fn encode(&self) -> Result<Vec<u8>, StringTooLong> {
        let mut w = Writer::default();
        let (api_key, version) = self.api();
        w.unsigned_varint(FRAME_VERSION);
        w.unsigned_varint(api_key);
        w.unsigned_varint(version);
        self.encode_body(&mut w);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let frame = r.unsigned_varint("frame version")?;
        if frame != FRAME_VERSION {
            return Err(DecodeError::FrameVersion { found: frame });
        }
        let api_key = r.unsigned_varint("api key")?;
        let found = r.unsigned_varint("version")?;
        let (_, expected) =
            *api::ALL.iter().find(|(key, _)| *key == api_key).ok_or(DecodeError::UnknownType { api_key })?;
        if found != expected {
            return Err(DecodeError::UnknownVersion { api_key, found, expected });
        }
        let record = Self::decode_body((api_key, expected), &mut r)?;
        r.end("record")?;
        Ok(record)
    }

    fn api(&self) -> (u32, u32) {
        match self {
            Self::RegisterBroker(_) => api::REGISTER_BROKER,
            Self::UnregisterBroker { .. } => api::UNREGISTER_BROKER,
            Self::Topic { .. } => api::TOPIC,
            Self::Partition(_) => api::PARTITION,
            Self::Config { .. } => api::CONFIG,
            Self::PartitionChange(_) => api::PARTITION_CHANGE,
            Self::RemoveTopic { .. } => api::REMOVE_TOPIC,
            Self::FeatureLevel { .. } => api::FEATURE_LEVEL,
            Self::ProducerIds { .. } => api::PRODUCER_IDS,
            Self::BrokerRegistrationChange(_) => api::BROKER_REGISTRATION_CHANGE,
            Self::NoOp => api::NO_OP,
            Self::RegisterController(_) => api::REGISTER_CONTROLLER,
        }
    }

    fn encode_body(&self, w: &mut Writer) {
        match self {
            Self::RegisterBroker(record) => return record.encode(w),
            Self::Partition(record) => return record.encode(w),
            Self::PartitionChange(record) => return record.encode(w),
            Self::BrokerRegistrationChange(record) => return record.encode(w),
            Self::RegisterController(record) => return record.encode(w),
            Self::UnregisterBroker { broker_id, broker_epoch } => {
                w.i32(broker_id.0);
                w.i64(broker_epoch.0);
            }
            Self::Topic { name, topic_id } => {
                w.string(name);
                w.uuid(topic_id.0);
            }
            Self::Config { resource_type, resource_name, name, value } => {
                w.i8(*resource_type as i8);
                w.string(resource_name);
                w.string(name);
                w.nullable_string(value.as_deref());
            }
            Self::RemoveTopic { topic_id } => w.uuid(topic_id.0),
            Self::FeatureLevel { name, level } => {
                w.string(name);
                w.i16(*level);
            }
            Self::ProducerIds { broker_id, broker_epoch, next_producer_id } => {
                w.i32(broker_id.0);
                w.i64(broker_epoch.0);
                w.i64(next_producer_id.0);
            }
            Self::NoOp => {}
        }
        w.no_tags();
    }

    fn decode_body(api: (u32, u32), r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let record = match api {
            api::REGISTER_BROKER => return RegisterBrokerRecord::decode(r).map(Self::RegisterBroker),
            api::PARTITION => return PartitionRecord::decode(r).map(Self::Partition),
            api::PARTITION_CHANGE => return PartitionChangeRecord::decode(r).map(Self::PartitionChange),
            api::BROKER_REGISTRATION_CHANGE => {
                return BrokerRegistrationChangeRecord::decode(r).map(Self::BrokerRegistrationChange);
            }
            api::REGISTER_CONTROLLER => return RegisterControllerRecord::decode(r).map(Self::RegisterController),
            api::UNREGISTER_BROKER => Self::UnregisterBroker {
                broker_id: BrokerId(r.i32("broker id")?),
                broker_epoch: BrokerEpoch(r.i64("broker epoch")?),
            },
            api::TOPIC => Self::Topic { name: r.string("topic name")?, topic_id: TopicId(r.uuid("topic id")?) },
            api::CONFIG => Self::Config {
                resource_type: ConfigResourceType::decode(r)?,
                resource_name: r.string("resource name")?,
                name: r.string("config name")?,
                value: r.nullable_string("config value")?,
            },
            api::REMOVE_TOPIC => Self::RemoveTopic { topic_id: TopicId(r.uuid("topic id")?) },
            api::FEATURE_LEVEL => {
                Self::FeatureLevel { name: r.string("feature name")?, level: r.i16("feature level")? }
            }
            api::PRODUCER_IDS => Self::ProducerIds {
                broker_id: BrokerId(r.i32("broker id")?),
                broker_epoch: BrokerEpoch(r.i64("broker epoch")?),
                next_producer_id: ProducerId(r.i64("next producer id")?),
            },
            api::NO_OP => Self::NoOp,
            (api_key, _) => return Err(DecodeError::UnknownType { api_key }),
        };
        r.skip_tags()?;
        Ok(record)
    }
}

impl ConfigResourceType {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = "resource type";
        match r.i8(field)? {
            2 => Ok(Self::Topic),
            4 => Ok(Self::Broker),
            8 => Ok(Self::BrokerLogger),
            16 => Ok(Self::ClientMetrics),
            32 => Ok(Self::Group),
            other => Err(DecodeError::BadValue { field, found: other.into() }),
        }
    }
}

#[cfg(test)]
#[path = "metadata_records_test.rs"]
mod tests;
