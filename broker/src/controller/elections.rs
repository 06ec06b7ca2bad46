//! Elections that are not caused by a broker that comes or goes: preferred leaders, and unclean elections, on request
//! or periodically. Pure.

use protocol::metadata_records::{LeaderUpdate, MetadataRecord};
use protocol::types::{BrokerId, PartitionId};

use super::partition_change::Election;
use super::policy::Policy;
use crate::metadata::{Image, UnknownPartition};

/// Most leaders that the controller changes by itself in one pass; the next pass continues.
const ELECTIONS_MAX: usize = 1000;

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

/// `None`: all partitions; those that need no election are then not in the answer.
pub(super) fn elect_leaders(
    policy: &Policy<'_>,
    election: Election,
    wanted: Option<Vec<(String, Vec<PartitionId>)>>,
) -> (Vec<MetadataRecord>, ElectionResults) {
    let everywhere = wanted.is_none();
    let mut records = Vec::new();
    let mut elect = |topic: &str, id: PartitionId| {
        let elected = elect_leader(policy, election, (topic, id));
        (id, elected.map(|record| records.push(record)))
    };
    let mut results = Vec::new();
    for (topic, partitions) in wanted.unwrap_or_else(|| all_partitions(policy.image())) {
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
    policy: &Policy<'_>,
    election: Election,
    (topic, id): (&str, PartitionId),
) -> Result<MetadataRecord, ElectionError> {
    let (found, partition) = policy.image().find_partition(topic, id)?;
    let (preferred, leader) = (partition.brokers().next(), partition.leader);
    if leader.is_some() && (election == Election::Unclean || leader == preferred) {
        return Err(ElectionError::NotNeeded);
    }
    match policy.change(found, id, partition).by(election).elect(|replica| policy.is_active(replica)) {
        Some(record) if names_a_leader(&record) => Ok(record),
        _ if election == Election::Unclean => Err(ElectionError::NoneAvailable),
        _ => Err(ElectionError::PreferredNotAvailable { preferred }),
    }
}

/// Moves leadership back to preferred leaders that are in sync.
pub(super) fn balance(policy: &Policy<'_>) -> Vec<MetadataRecord> {
    let led_by_other = policy.image().partitions().filter(|(_, _, state)| {
        let preferred = state.brokers().next();
        state.leader.is_some() && state.leader != preferred && preferred.is_some_and(|id| state.isr.contains(&id))
    });
    let elected = led_by_other.filter_map(|(topic, id, state)| {
        policy.change(topic, id, state).by(Election::Preferred).elect(|replica| policy.is_active(replica))
    });
    elected.filter(names_a_leader).take(ELECTIONS_MAX).collect()
}

/// Unclean elections for leaderless partitions, where they are enabled.
pub(super) fn elect_uncleanly(policy: &Policy<'_>) -> Vec<MetadataRecord> {
    let leaderless = policy.image().partitions().filter(|(_, _, state)| state.leader.is_none());
    let enabled = leaderless.filter(|(topic, ..)| policy.rules(topic).unclean_election);
    let elected =
        enabled.filter_map(|(topic, id, state)| policy.change(topic, id, state).elect(|it| policy.is_active(it)));
    elected.filter(names_a_leader).take(ELECTIONS_MAX).collect()
}

pub(super) fn names_a_leader(record: &MetadataRecord) -> bool {
    matches!(record, MetadataRecord::PartitionChange(change) if matches!(change.leader, LeaderUpdate::Broker(_)))
}

#[cfg(test)]
#[path = "elections_test.rs"]
mod tests;
