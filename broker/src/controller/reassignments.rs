//! Which brokers a partition is to be on: begun here, and finished here where its replicas are in sync already. Pure.

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerId, PartitionId};

use super::brokers::is_active_on;
use super::partition_change::PartitionChange;
use super::placement::{AssignmentError, check_assignment};
use crate::metadata::{Image, PartitionImage, Replica, TopicImage, UnknownPartition};

/// The brokers that a partition is to be on now, and of those who joins and who leaves.
struct Steps {
    brokers: Vec<BrokerId>,
    adding: Vec<BrokerId>,
    removing: Vec<BrokerId>,
}

impl Steps {
    fn finished(brokers: Vec<BrokerId>) -> Self {
        Self { brokers, adding: Vec::new(), removing: Vec::new() }
    }
}

/// What is asked for one partition. `None`: cancel the reassignment in progress.
pub(crate) type Reassignment = (PartitionId, Option<Vec<BrokerId>>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReassignmentError {
    #[error(transparent)]
    Unknown(#[from] UnknownPartition),
    #[error("no reassignment is in progress")]
    NoneInProgress,
    #[error("none of the former replicas is in sync: the reassignment cannot be cancelled")]
    CannotRevert,
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error("the partition has {current} replicas and would have {target}")]
    FactorChanged { current: usize, target: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactorChange {
    Allowed,
    Refused,
}

pub(crate) type ReassignmentResults = Vec<(String, Vec<(PartitionId, Result<(), ReassignmentError>)>)>;

pub(super) fn alter_reassignments(
    image: &Image,
    wanted: Vec<(String, Vec<Reassignment>)>,
    factor_change: FactorChange,
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> (Vec<MetadataRecord>, ReassignmentResults) {
    let (mut records, mut results) = (Vec::new(), Vec::new());
    for (topic, partitions) in wanted {
        let mut altered = Vec::with_capacity(partitions.len());
        for (id, target) in partitions {
            let change = alter(image, (&topic, id), target.as_deref(), factor_change, &min_insync_replicas);
            altered.push((id, change.map(|change| records.extend(change))));
        }
        results.push((topic, altered));
    }
    (records, results)
}

/// `None`: nothing is to be done.
fn alter(
    image: &Image,
    (topic, id): (&str, PartitionId),
    target: Option<&[BrokerId]>,
    factor_change: FactorChange,
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> Result<Option<MetadataRecord>, ReassignmentError> {
    let (found, partition) = image.find_partition(topic, id)?;
    let Steps { brokers, adding, removing } = match target {
        Some(target) => change(image, partition, target, factor_change)?,
        None => Steps::finished(revert(partition)?),
    };
    let change = PartitionChange::new(found.id, id, partition, min_insync_replicas(found));
    let change = change.on(replicas(image, partition, &brokers), adding, removing);
    Ok(change.elect(|replica| is_active_on(image, replica)))
}

/// Replicas that the partition has, or had before the reassignment that is in progress.
fn former(partition: &PartitionImage) -> Vec<BrokerId> {
    partition.brokers().filter(|broker| !partition.adding.contains(broker)).collect()
}

/// Who is removed leaves once all of the target are in sync. If they are already, it is finished at once.
fn change(
    image: &Image,
    partition: &PartitionImage,
    target: &[BrokerId],
    factor_change: FactorChange,
) -> Result<Steps, ReassignmentError> {
    check_assignment(image, target)?;
    let current = former(partition).len();
    if factor_change == FactorChange::Refused && target.len() != current {
        return Err(ReassignmentError::FactorChanged { current, target: target.len() });
    }
    if target.iter().all(|broker| partition.isr.contains(broker)) {
        return Ok(Steps::finished(target.to_vec()));
    }
    let is_new = |broker: &BrokerId| partition.replica_on(*broker).is_none() || partition.adding.contains(broker);
    let adding = target.iter().copied().filter(is_new).collect();
    let removing: Vec<_> = partition.brokers().filter(|broker| !target.contains(broker)).collect();
    let brokers = target.iter().chain(&removing).copied().collect();
    Ok(Steps { brokers, adding, removing })
}

fn revert(partition: &PartitionImage) -> Result<Vec<BrokerId>, ReassignmentError> {
    if !partition.is_reassigning() {
        return Err(ReassignmentError::NoneInProgress);
    }
    let former = former(partition);
    let in_sync = former.iter().any(|broker| partition.isr.contains(broker));
    if in_sync { Ok(former) } else { Err(ReassignmentError::CannotRevert) }
}

/// A replica that is there already stays in its directory.
fn replicas(image: &Image, partition: &PartitionImage, brokers: &[BrokerId]) -> Vec<Replica> {
    let replica = |broker: &BrokerId| {
        let new = || Replica { broker: *broker, directory: image.directory_for_new_replica(*broker) };
        partition.replica_on(*broker).unwrap_or_else(new)
    };
    brokers.iter().map(replica).collect()
}

#[cfg(test)]
#[path = "reassignments_test.rs"]
mod tests;
