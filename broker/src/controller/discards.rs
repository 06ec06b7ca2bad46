//! Discarding a volume that is lost or to be thrown away: it leaves every ISR and ELR and never registers again.
//! Refused if the last good copy of a partition is on it. Pure.

use protocol::metadata_records::{ConfigResourceType, MetadataRecord};
use protocol::types::{BrokerId, DirectoryId, TopicPartition};

use super::brokers::fenced;
use super::configs;
use super::partition_change::Departure;
use super::policy::Policy;
use crate::metadata::{ConfigResource, Image, PartitionImage, Replica};

pub(super) const DISCARDED: &str = "millrace.discarded.log.dirs";
/// As many as fit in a value. The oldest are forgotten; their volumes are long gone.
const DIRECTORIES_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiscardError {
    #[error("directory {directory} belongs to broker {owner}, not to {broker}")]
    OwnedByOther { directory: DirectoryId, owner: BrokerId, broker: BrokerId },
    #[error("no broker has replicas on directory {directory}, and none is registered with it")]
    Unknown { directory: DirectoryId },
    #[error("the last good copy is there of {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    LastCopies(Vec<TopicPartition>),
}

pub(super) fn is_discarded(image: &Image, directory: DirectoryId) -> bool {
    let brokers = image.configs.iter().filter(|(resource, _)| resource.kind == ConfigResourceType::Broker);
    let mut lists = brokers.filter_map(|(_, stored)| stored.get(DISCARDED));
    lists.any(|list| listed(list).any(|discarded| discarded == directory))
}

fn listed(list: &str) -> impl Iterator<Item = DirectoryId> {
    list.split(',').filter_map(|id| id.trim().parse().ok())
}

/// Repeating it changes nothing.
pub(super) fn discard(
    policy: &Policy<'_>,
    broker: BrokerId,
    directory: DirectoryId,
) -> Result<Vec<MetadataRecord>, DiscardError> {
    let image = policy.image();
    if is_discarded(image, directory) {
        return Ok(Vec::new());
    }
    let owner = image.brokers.iter().find(|(_, registered)| registered.directories.contains(&directory));
    let owner = owner.map(|(id, _)| *id);
    if let Some(owner) = owner.filter(|owner| *owner != broker) {
        return Err(DiscardError::OwnedByOther { directory, owner, broker });
    }
    let on_it: Vec<_> = policy.partitions_on(broker).filter(|(.., replica)| replica.directory == directory).collect();
    if owner.is_none() && on_it.is_empty() {
        return Err(DiscardError::Unknown { directory });
    }
    let last = on_it.iter().filter(|(_, _, state, replica)| !is_elsewhere(image, state, *replica));
    let last = last.map(|(topic, partition, ..)| TopicPartition { topic: topic.name.clone(), partition: *partition });
    let last: Vec<_> = last.collect();
    if !last.is_empty() {
        return Err(DiscardError::LastCopies(last));
    }
    let can_lead = |replica: Replica| replica.directory != directory && policy.is_active(replica);
    let mut records: Vec<_> = on_it
        .into_iter()
        .filter_map(|(topic, id, state, _)| {
            policy.change(topic, id, state).without(broker, Departure::Unclean).elect(can_lead)
        })
        .collect();
    if owner.is_some() && image.is_active(broker) {
        records.extend(fenced(image, broker));
    }
    records.push(refuse(image, broker, directory));
    Ok(records)
}

/// Whether another replica has all that was committed: in the ISR or ELR, and on the volume that it is recorded on.
fn is_elsewhere(image: &Image, partition: &PartitionImage, lost: Replica) -> bool {
    let good = partition.isr.iter().chain(&partition.eligible_leader_replicas);
    let mut others = good.filter(|id| **id != lost.broker).filter_map(|id| partition.replica_on(*id));
    others.any(|replica| image.brokers.get(&replica.broker).is_some_and(|b| b.directories.contains(&replica.directory)))
}

fn refuse(image: &Image, broker: BrokerId, directory: DirectoryId) -> MetadataRecord {
    let resource = ConfigResource::broker(broker);
    let stored = image.configs.get(&resource).and_then(|stored| stored.get(DISCARDED));
    let former: Vec<_> = stored.into_iter().flat_map(|list| listed(list)).collect();
    let kept = former.iter().skip((former.len() + 1).saturating_sub(DIRECTORIES_MAX));
    let all: Vec<_> = kept.copied().chain([directory]).map(|id| id.to_string()).collect();
    configs::record(&resource, DISCARDED, Some(all.join(",")))
}

#[cfg(test)]
#[path = "discards_test.rs"]
mod tests;
