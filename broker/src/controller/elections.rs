//! Elections that somebody asks for: the preferred leader back, or any leader at all, at the price of records. Pure.

use protocol::metadata_records::{LeaderUpdate, MetadataRecord};
use protocol::types::{BrokerId, PartitionId};

use super::brokers::is_active_on;
use super::partition_change::{Election, PartitionChange};
use crate::metadata::{Image, TopicImage, UnknownPartition};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ElectionError {
    #[error(transparent)]
    Unknown(#[from] UnknownPartition),
    #[error("the partition has the leader that it should have")]
    NotNeeded,
    #[error("the preferred leader {preferred:?} is not available or not in sync")]
    PreferredNotAvailable { preferred: Option<BrokerId> },
    #[error("none of the replicas is available")]
    NoneAvailable,
}

pub(crate) type ElectionResults = Vec<(String, Vec<(PartitionId, Result<(), ElectionError>)>)>;

/// `None`: all partitions; then those that need no election are not in the answer.
pub(super) fn elect_leaders(
    image: &Image,
    election: Election,
    wanted: Option<Vec<(String, Vec<PartitionId>)>>,
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> (Vec<MetadataRecord>, ElectionResults) {
    let everywhere = wanted.is_none();
    let mut records = Vec::new();
    let mut elect = |topic: &str, id: PartitionId| {
        let elected = elect_leader(image, election, (topic, id), &min_insync_replicas);
        (id, elected.map(|record| records.push(record)))
    };
    let mut results = Vec::new();
    for (topic, partitions) in wanted.unwrap_or_else(|| all_partitions(image)) {
        let mut elected: Vec<_> = partitions.into_iter().map(|id| elect(&topic, id)).collect();
        elected.retain(|(_, result)| !(everywhere && *result == Err(ElectionError::NotNeeded)));
        results.push((topic, elected));
    }
    (records, results)
}

fn all_partitions(image: &Image) -> Vec<(String, Vec<PartitionId>)> {
    let topics = image.topic_ids.iter().filter_map(|(name, id)| Some((name, image.topics.get(id)?)));
    topics.map(|(name, topic)| (name.clone(), topic.partitions().map(|(id, _)| id).collect())).collect()
}

fn elect_leader(
    image: &Image,
    election: Election,
    (topic, id): (&str, PartitionId),
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> Result<MetadataRecord, ElectionError> {
    let (found, partition) = image.find_partition(topic, id)?;
    let (preferred, leader) = (partition.brokers().next(), partition.leader);
    if leader.is_some() && (election == Election::Unclean || leader == preferred) {
        return Err(ElectionError::NotNeeded);
    }
    let change = PartitionChange::new(found.id, id, partition, min_insync_replicas(found)).by(election);
    match change.elect(|replica| is_active_on(image, replica)) {
        Some(MetadataRecord::PartitionChange(record)) if matches!(record.leader, LeaderUpdate::Broker(_)) => {
            Ok(MetadataRecord::PartitionChange(record))
        }
        _ if election == Election::Unclean => Err(ElectionError::NoneAvailable),
        _ => Err(ElectionError::PreferredNotAvailable { preferred }),
    }
}

#[cfg(test)]
#[path = "elections_test.rs"]
mod tests;
