//! Reassignment of a partition's replicas. It is finished by whichever change brings the last target into sync,
//! possibly the first one. Pure.

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerId, PartitionId};

use super::counts::counts;
use super::placement::{AssignmentError, check_assignment, check_new_replicas};
use super::policy::Policy;
use crate::metadata::{Image, PartitionImage, Replica, TopicImage, UnknownPartition};

/// The replicas a partition has from now on, and which of them are being added and removed.
struct Steps {
    brokers: Vec<BrokerId>,
    adding: Vec<BrokerId>,
    removing: Vec<BrokerId>,
}

/// The request for one partition. `None`: cancel the reassignment in progress.
pub(crate) type Reassignment = (PartitionId, Option<Vec<BrokerId>>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReassignmentError {
    #[error(transparent)]
    Unknown(#[from] UnknownPartition),
    #[error("the partition is in the request more than once")]
    Repeated,
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
    policy: &Policy<'_>,
    wanted: &[(String, Vec<Reassignment>)],
    factor_change: FactorChange,
) -> (Vec<MetadataRecord>, ReassignmentResults) {
    let asked = wanted.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |(id, _)| (topic, *id)));
    let times_asked = counts(asked);
    let (mut records, mut results) = (Vec::new(), Vec::new());
    for (topic, partitions) in wanted {
        let mut altered = Vec::with_capacity(partitions.len());
        for (id, target) in partitions {
            let change = match times_asked.get(&(topic, *id)) {
                Some(1) => alter(policy, (topic, *id), target.as_deref(), factor_change),
                _ => Err(ReassignmentError::Repeated),
            };
            altered.push((*id, change.map(|change| records.extend(change))));
        }
        results.push((topic.clone(), altered));
    }
    (records, results)
}

/// `None`: there is nothing to do.
fn alter(
    policy: &Policy<'_>,
    (topic, id): (&str, PartitionId),
    target: Option<&[BrokerId]>,
    factor_change: FactorChange,
) -> Result<Option<MetadataRecord>, ReassignmentError> {
    let (found, partition) = policy.image().find_partition(topic, id)?;
    let steps = match target {
        Some(target) => {
            check(policy.image(), partition, target, factor_change)?;
            steps_to(partition, target)
        }
        None => Steps { brokers: revert(partition)?, adding: Vec::new(), removing: Vec::new() },
    };
    Ok(record(policy, (found, id, partition), steps))
}

/// As [`alter`], for a target that is known to be valid.
pub(super) fn move_to<'a>(
    policy: &Policy<'a>,
    partition: (&TopicImage, PartitionId, &'a PartitionImage),
    target: &[BrokerId],
) -> Option<MetadataRecord> {
    record(policy, partition, steps_to(partition.2, target))
}

/// Reverts the reassignment; `None`: not possible without losing records.
pub(super) fn back<'a>(
    policy: &Policy<'a>,
    partition: (&TopicImage, PartitionId, &'a PartitionImage),
) -> Option<MetadataRecord> {
    let brokers = revert(partition.2).ok()?;
    record(policy, partition, Steps { brokers, adding: Vec::new(), removing: Vec::new() })
}

fn record<'a>(
    policy: &Policy<'a>,
    (topic, id, partition): (&TopicImage, PartitionId, &'a PartitionImage),
    Steps { brokers, adding, removing }: Steps,
) -> Option<MetadataRecord> {
    let replicas = replicas(policy.image(), partition, &brokers);
    policy.change(topic, id, partition).on(replicas, adding, removing).elect(|replica| policy.is_active(replica))
}

/// Replicas that the partition has, or had before the reassignment in progress.
fn former(partition: &PartitionImage) -> Vec<BrokerId> {
    partition.brokers().filter(|broker| !partition.adding.contains(broker)).collect()
}

fn check(
    image: &Image,
    partition: &PartitionImage,
    target: &[BrokerId],
    factor_change: FactorChange,
) -> Result<(), ReassignmentError> {
    check_assignment(image, target)?;
    check_new_replicas(image, target.iter().filter(|broker| partition.replica_on(**broker).is_none()))?;
    let current = former(partition).len();
    if factor_change == FactorChange::Refused && target.len() != current {
        return Err(ReassignmentError::FactorChanged { current, target: target.len() });
    }
    Ok(())
}

/// The targets come first, the replicas being removed last. A replica that is only being added for an earlier target
/// is dropped at once, unless none of the former replicas is in sync.
fn steps_to(partition: &PartitionImage, target: &[BrokerId]) -> Steps {
    let former = former(partition);
    let is_safe = former.iter().any(|broker| partition.isr.contains(broker));
    let base = if is_safe { former } else { partition.brokers().collect() };
    let adding = target.iter().copied().filter(|broker| !base.contains(broker)).collect();
    let removing: Vec<_> = base.into_iter().filter(|broker| !target.contains(broker)).collect();
    let brokers = target.iter().chain(&removing).copied().collect();
    Steps { brokers, adding, removing }
}

fn revert(partition: &PartitionImage) -> Result<Vec<BrokerId>, ReassignmentError> {
    if !partition.is_reassigning() {
        return Err(ReassignmentError::NoneInProgress);
    }
    let former = former(partition);
    let in_sync = former.iter().any(|broker| partition.isr.contains(broker));
    if in_sync { Ok(former) } else { Err(ReassignmentError::CannotRevert) }
}

/// A replica that exists stays in its directory.
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
