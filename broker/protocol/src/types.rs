//! Ids and positions. Every id, offset and epoch is one of these types, so that two of them cannot be exchanged by
//! accident.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// `node.id`: in Kubernetes the pod's ordinal. Never negative in a valid configuration; −1 on the wire means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerId(pub i32);

/// Offset of the broker's registration record (KIP-631). −1: not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerEpoch(pub i64);

/// Index of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionId(pub i32);

/// Bumped on every change of a partition's leader (KIP-101). −1 on the wire: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(pub i32);

/// Bumped on every change of a partition's registration (KIP-497).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionEpoch(pub i32);

/// Position of a record in a partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

/// Id of an idempotent producer (KIP-98). −1: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerId(pub i64);

/// Fences older producers with the same id (KIP-98). −1: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerEpoch(pub i16);

/// Milliseconds since the Unix epoch. −1: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Offset {
    /// The offset `count` records further on. Saturates: no log reaches `i64::MAX`.
    #[must_use]
    pub fn advance(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl ProducerId {
    pub const NONE: Self = Self(-1);
}

impl Timestamp {
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a topic (KIP-516): a topic created again under the same name has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub Uuid);

/// Identifies a data volume, kept in its `meta.properties` (KIP-858).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DirectoryId(pub Uuid);

/// Identifies one start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IncarnationId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_kafka_uuid(self.0))
    }
}

impl FromStr for TopicId {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_kafka_uuid(self.0))
    }
}

impl FromStr for DirectoryId {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_kafka_uuid(self.0))
    }
}

impl FromStr for IncarnationId {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        parse_uuid(text).map(Self)
    }
}

/// A partition by name: the directory `topic-partition` and the key in Kafka's checkpoint files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Identifies a cluster. Kafka makes it from a UUID, 22 characters of base64url, but accepts any text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterId(String);

impl ClusterId {
    /// Longest cluster id accepted, in bytes.
    pub const LENGTH_MAX: usize = 64;

    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(encode_kafka_uuid(uuid))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, InvalidClusterId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || Self::LENGTH_MAX < text.len() || !text.chars().all(legal) {
            return Err(InvalidClusterId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cluster id: 1 to 64 letters, digits, '-' and '_'")]
pub struct InvalidClusterId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID: 22 characters of base64url as Kafka prints them, or 36 with dashes")]
pub struct InvalidUuid(String);

/// 22 characters of base64url without padding, as Kafka's `Uuid.toString`.
pub fn encode_kafka_uuid(uuid: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(uuid.as_bytes())
}

/// A random id as Kafka draws them: its text never begins with a dash, which tools would take for an option. This is
/// done by clearing the first bit.
pub fn undashed(random: Uuid) -> Uuid {
    Uuid::from_u128(random.as_u128() & (u128::MAX >> 1))
}

/// Accepts Kafka's form, and the dashed form that Kubernetes uses.
fn parse_uuid(text: &str) -> Result<Uuid, InvalidUuid> {
    let invalid = || InvalidUuid(text.to_owned());
    if text.len() == 36 {
        return Uuid::parse_str(text).map_err(|_| invalid());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    Uuid::from_slice(&bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_ids_read_both_spellings_and_print_kafkas() {
        let kafka: DirectoryId = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        assert_eq!(kafka.to_string(), "MkU3OEVBNTcwNTJENDM2Qg");
        let dashed: DirectoryId = kafka.0.to_string().parse().unwrap();
        assert_eq!(kafka, dashed);
        for bad in ["", "abc", "MkU3OEVBNTcwNTJENDM2Qg==", "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"] {
            assert!(bad.parse::<DirectoryId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn drawn_ids_are_no_options() {
        assert_eq!(encode_kafka_uuid(undashed(Uuid::from_u128(u128::MAX))).chars().next(), Some('f'));
    }

    #[test]
    fn cluster_ids_are_short_and_safe_in_files() {
        assert!("4L6g3nShT-eMCtK--X86sw".parse::<ClusterId>().is_ok());
        for bad in ["", "a b", "a\nb", &"x".repeat(65)] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
    }
}
