//! Names of partition directories: `topic-partition`, and `topic-partition.ID-suffix` for one that is deleted, being
//! moved here, or stray.

use std::str::FromStr;

use protocol::types::{PartitionId, TopicPartition};
use uuid::Uuid;

/// Longest file name of common file systems, in bytes.
const NAME_LENGTH_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDirectoryName {
    pub partition: TopicPartition,
    pub state: DirectoryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryState {
    Live,
    /// Being moved from another directory, not complete.
    Future,
    /// Not a partition of this broker, set aside.
    Stray,
    Deleted,
}

impl DirectoryState {
    fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Live => None,
            Self::Future => Some("-future"),
            Self::Stray => Some("-stray"),
            Self::Deleted => Some("-delete"),
        }
    }
}

/// The name of `partition`'s directory in another state. The topic's name is shortened if all of it does not fit.
pub(crate) fn renamed(partition: &TopicPartition, state: DirectoryState, id: Uuid) -> String {
    let name = partition.to_string();
    let Some(suffix) = state.suffix() else { return name };
    let suffix = format!(".{}{suffix}", id.simple());
    let end = format!("-{}{suffix}", partition.partition);
    if name.len().saturating_add(suffix.len()) <= NAME_LENGTH_MAX {
        return format!("{name}{suffix}");
    }
    let room = NAME_LENGTH_MAX.saturating_sub(end.len());
    format!("{}{end}", partition.topic.get(..room).unwrap_or_default())
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a partition directory: topic-partition")]
pub struct NotAPartitionDirectory(String);

impl FromStr for PartitionDirectoryName {
    type Err = NotAPartitionDirectory;

    fn from_str(name: &str) -> Result<Self, NotAPartitionDirectory> {
        parse(name).ok_or_else(|| NotAPartitionDirectory(name.to_owned()))
    }
}

fn parse(name: &str) -> Option<PartitionDirectoryName> {
    for state in [DirectoryState::Future, DirectoryState::Stray, DirectoryState::Deleted] {
        let renamed =
            state.suffix().and_then(|suffix| name.strip_suffix(suffix)).and_then(|rest| rest.rsplit_once('.'));
        if let Some((partition, id)) = renamed
            && Uuid::try_parse(id).is_ok()
        {
            return Some(PartitionDirectoryName { partition: parse_partition(partition)?, state });
        }
    }
    Some(PartitionDirectoryName { partition: parse_partition(name)?, state: DirectoryState::Live })
}

fn parse_partition(name: &str) -> Option<TopicPartition> {
    let (topic, number) = name.rsplit_once('-')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || !topic.chars().all(legal) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition { topic: topic.to_owned(), partition: PartitionId(number.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

    fn partition(topic: &str) -> TopicPartition {
        TopicPartition { topic: topic.to_owned(), partition: PartitionId(12) }
    }

    #[test]
    fn names_survive_the_round_trip() {
        for topic in ["a", "a-b.c_d", "x.0123456789abcdef-delete", "__consumer_offsets"] {
            for state in [DirectoryState::Live, DirectoryState::Future, DirectoryState::Stray, DirectoryState::Deleted]
            {
                let name = renamed(&partition(topic), state, ID);
                let expected = PartitionDirectoryName { partition: partition(topic), state };
                assert_eq!(name.parse(), Ok(expected), "{name}");
            }
        }
        assert_eq!(
            renamed(&partition("a"), DirectoryState::Deleted, ID),
            "a-12.0123456789abcdef0123456789abcdef-delete"
        );
    }

    #[test]
    fn long_names_fit_and_keep_the_partition() {
        let name = renamed(&partition(&"x".repeat(249)), DirectoryState::Stray, ID);
        assert_eq!(name.len(), 255);
        assert_eq!(name.parse::<PartitionDirectoryName>().unwrap().partition.partition, PartitionId(12));
    }

    #[test]
    fn other_names_are_no_partitions() {
        for name in ["", "topic", "-0", "topic-", "topic-x", "topic--1x", "to pic-0", "topic-99999999999", "lost+found"]
        {
            assert!(name.parse::<PartitionDirectoryName>().is_err(), "{name}");
        }
    }
}
