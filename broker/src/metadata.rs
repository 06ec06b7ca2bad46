//! The cluster's metadata: the state that the metadata log's records add up to. Pure.

mod image;
mod quorum_view;
mod records;
mod replay;
#[cfg(test)]
pub(crate) mod testing;

/// The metadata log's name where it appears as a topic.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";
/// Longest name of a topic: those of directories add a partition number and suffixes to it.
pub(crate) const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// The metadata log's directory below `log.dirs`.
pub(crate) const METADATA_DIRECTORY: &str = "__cluster_metadata-0";

pub(crate) use image::{BrokerImage, ConfigResource, Image, PartitionImage, Replica, TopicImage, UnknownPartition};
pub(crate) use quorum_view::{QuorumLeader, QuorumView, VoterProgress};
pub(crate) use replay::{ReplayError, replay};
