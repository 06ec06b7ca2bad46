//! The records of `__consumer_offsets`, as Kafka's group coordinator writes and reads them. Key and value each begin
//! with a version of 16 bits; the key's is the type of the record:
//!
//! ```text
//! key 0, 1   group, topic, partition i32    value 3: offset i64, leader epoch i32, metadata, commit time i64
//!                                           value 1: without the epoch, with an expiry i64 at the end
//!                                           value 4: flexible, the topic's id as tagged field 0
//! key 2      group                          value 3: protocol type, generation i32, protocol or null, leader or null,
//!                                           time of the state i64, members; 0 to 2 have fewer fields, 4 is flexible
//! ```
//!
//! Up to version 3 strings have 16-bit lengths, bytes and arrays 32-bit ones. A null value is a tombstone. Written
//! are the versions of a 4.1 broker: offsets as version 4, or 1 with an explicit expiry, groups as version 3.

mod members;

use crate::metadata_records::wire::{Reader, Tag, Tags, Writer};
use crate::metadata_records::{DecodeError, StringTooLong};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};

pub use members::{RecordedMember, subscribed_topics};

/// How often a group has been rebalanced. −1 on the wire: the sender is not a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GenerationId(pub i32);

impl std::fmt::Display for GenerationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoordinatorRecord {
    OffsetCommit {
        group: String,
        topic: String,
        partition: PartitionId,
        /// `None` is a tombstone.
        value: Option<CommittedOffset>,
    },
    GroupMetadata {
        group: String,
        /// `None` is a tombstone.
        value: Option<GroupMetadata>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    /// The epoch of the last record that was consumed; `None`: unknown.
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    pub commit_timestamp: Timestamp,
    /// Set only if the client asked for its own retention.
    pub expire_timestamp: Option<Timestamp>,
    /// Nil: unknown.
    pub topic_id: TopicId,
}

/// A generation of a group, with its members and their assignments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty: none.
    pub protocol_type: String,
    pub generation: GenerationId,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group entered this state. −1: unknown.
    pub state_timestamp: Timestamp,
    pub members: Vec<RecordedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorRecordError {
    #[error("no key")]
    NoKey,
    #[error("keys of version {found} are records of a type that is not known")]
    UnknownType { found: i16 },
    #[error("{record} has version {found}, the last known is {last}")]
    UnknownVersion { record: &'static str, found: i16, last: i16 },
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;
const OFFSET_COMMIT: i16 = 4;
const OFFSET_COMMIT_WITH_EXPIRY: i16 = 1;
const GROUP_METADATA: i16 = 3;
/// The latest version that can be read, and the first flexible ones.
const LAST: i16 = 4;
const FLEXIBLE: i16 = 4;

impl CoordinatorRecord {
    pub fn group(&self) -> &str {
        match self {
            Self::OffsetCommit { group, .. } | Self::GroupMetadata { group, .. } => group,
        }
    }

    /// Key and value.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), StringTooLong> {
        let mut key = Writer::default();
        let value = match self {
            Self::OffsetCommit { group, topic, partition, value } => {
                key.i16(OFFSET_COMMIT_KEY);
                key.fixed_string(group);
                key.fixed_string(topic);
                key.i32(partition.0);
                value.as_ref().map(CommittedOffset::encode)
            }
            Self::GroupMetadata { group, value } => {
                key.i16(GROUP_METADATA_KEY);
                key.fixed_string(group);
                value.as_ref().map(GroupMetadata::encode)
            }
        };
        Ok((key.finish()?, value.transpose()?))
    }

    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, CoordinatorRecordError> {
        let mut r = Reader::new(key.ok_or(CoordinatorRecordError::NoKey)?);
        let record = match r.i16("key version")? {
            0 | OFFSET_COMMIT_KEY => Self::OffsetCommit {
                group: string(&mut r, "group", false)?,
                topic: string(&mut r, "topic", false)?,
                partition: PartitionId(r.i32("partition")?),
                value: value.map(CommittedOffset::decode).transpose()?,
            },
            GROUP_METADATA_KEY => Self::GroupMetadata {
                group: string(&mut r, "group", false)?,
                value: value.map(GroupMetadata::decode).transpose()?,
            },
            found => return Err(CoordinatorRecordError::UnknownType { found }),
        };
        r.end("key")?;
        Ok(record)
    }
}

impl CommittedOffset {
    fn encode(&self) -> Result<Vec<u8>, StringTooLong> {
        let mut w = Writer::default();
        if let Some(expire_timestamp) = self.expire_timestamp {
            w.i16(OFFSET_COMMIT_WITH_EXPIRY);
            w.i64(self.offset.0);
            w.fixed_string(&self.metadata);
            w.i64(self.commit_timestamp.0);
            w.i64(expire_timestamp.0);
            return w.finish();
        }
        w.i16(OFFSET_COMMIT);
        w.i64(self.offset.0);
        w.i32(self.leader_epoch.map_or(-1, |epoch| epoch.0));
        w.string(&self.metadata);
        w.i64(self.commit_timestamp.0);
        let mut tags = Tags::default();
        if self.topic_id != TopicId::default() {
            tags.put(0, |w| w.uuid(self.topic_id.0));
        }
        w.tags(tags);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CoordinatorRecordError> {
        let mut r = Reader::new(bytes);
        let version = known_version(&mut r, "an offset commit")?;
        let flexible = FLEXIBLE <= version;
        let offset = Offset(r.i64("offset")?);
        let epoch = if 3 <= version { r.i32("leader epoch")? } else { -1 };
        let mut committed = Self {
            offset,
            leader_epoch: (0 <= epoch).then_some(LeaderEpoch(epoch)),
            metadata: string(&mut r, "metadata", flexible)?,
            commit_timestamp: Timestamp(r.i64("commit timestamp")?),
            expire_timestamp: None,
            topic_id: TopicId::default(),
        };
        if version == OFFSET_COMMIT_WITH_EXPIRY {
            committed.expire_timestamp = Some(Timestamp(r.i64("expire timestamp")?)).filter(|at| 0 <= at.0);
        }
        if flexible {
            r.tags(|tag, value| {
                if tag != 0 {
                    return Ok(Tag::Unknown);
                }
                committed.topic_id = TopicId(value.uuid("topic id")?);
                Ok(Tag::Known)
            })?;
        }
        r.end("offset commit")?;
        Ok(committed)
    }
}

impl GroupMetadata {
    fn encode(&self) -> Result<Vec<u8>, StringTooLong> {
        let mut w = Writer::default();
        w.i16(GROUP_METADATA);
        w.fixed_string(&self.protocol_type);
        w.i32(self.generation.0);
        w.fixed_nullable_string(self.protocol.as_deref());
        w.fixed_nullable_string(self.leader.as_deref());
        w.i64(self.state_timestamp.0);
        w.fixed_length(self.members.len());
        for member in &self.members {
            member.encode(&mut w);
        }
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CoordinatorRecordError> {
        let mut r = Reader::new(bytes);
        let version = known_version(&mut r, "a group")?;
        let flexible = FLEXIBLE <= version;
        let mut metadata = Self {
            protocol_type: string(&mut r, "protocol type", flexible)?,
            generation: GenerationId(r.i32("generation")?),
            protocol: nullable_string(&mut r, "protocol", flexible)?,
            leader: nullable_string(&mut r, "leader", flexible)?,
            state_timestamp: Timestamp(if 2 <= version { r.i64("state timestamp")? } else { -1 }),
            members: Vec::new(),
        };
        metadata.members = members::decode(&mut r, version)?;
        if flexible {
            r.skip_tags()?;
        }
        r.end("group")?;
        Ok(metadata)
    }
}

fn known_version(r: &mut Reader<'_>, record: &'static str) -> Result<i16, CoordinatorRecordError> {
    let found = r.i16("value version")?;
    let unknown = CoordinatorRecordError::UnknownVersion { record, found, last: LAST };
    if (0..=LAST).contains(&found) { Ok(found) } else { Err(unknown) }
}

fn string(r: &mut Reader<'_>, field: &'static str, flexible: bool) -> Result<String, DecodeError> {
    nullable_string(r, field, flexible)?.ok_or(DecodeError::Null { field })
}

fn nullable_string(r: &mut Reader<'_>, field: &'static str, flexible: bool) -> Result<Option<String>, DecodeError> {
    if flexible { r.nullable_string(field) } else { r.fixed_nullable_string(field) }
}

#[cfg(test)]
#[path = "coordinator_records_test.rs"]
mod tests;
