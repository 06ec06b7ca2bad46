//! Which brokers get the replicas of a partition.

use protocol::types::BrokerId;

use crate::metadata::Image;

/// Brokers that a request names for a partition, and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignmentError {
    #[error("no broker is given")]
    Empty,
    #[error("broker {broker} is not registered")]
    Unregistered { broker: BrokerId },
    #[error("broker {broker} is there more than once")]
    Repeated { broker: BrokerId },
}

pub(super) fn check_assignment(image: &Image, brokers: &[BrokerId]) -> Result<(), AssignmentError> {
    if brokers.is_empty() {
        return Err(AssignmentError::Empty);
    }
    for (index, broker) in brokers.iter().copied().enumerate() {
        if !image.brokers.contains_key(&broker) {
            return Err(AssignmentError::Unregistered { broker });
        }
        if brokers.iter().take(index).any(|earlier| *earlier == broker) {
            return Err(AssignmentError::Repeated { broker });
        }
    }
    Ok(())
}

/// One list of brokers per partition, the preferred leader first: leaders and followers go round the brokers, so that
/// each gets its share. `start` (any number) keeps small topics from all beginning at the same broker.
///
/// `brokers` has at least `replication_factor` members.
pub(super) fn place(
    brokers: &[BrokerId],
    partitions: usize,
    replication_factor: usize,
    start: usize,
) -> Vec<Vec<BrokerId>> {
    assert!(replication_factor <= brokers.len(), "checked before");
    let replicas = |partition: usize| {
        let leader = start % brokers.len() + partition % brokers.len();
        brokers.iter().copied().cycle().skip(leader).take(replication_factor).collect()
    };
    (0..partitions).map(replicas).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn replicas_of_a_partition_are_distinct_and_leaders_are_spread() {
        let brokers: Vec<_> = (0..4).map(BrokerId).collect();
        for start in [0, 3, usize::MAX] {
            let placed = place(&brokers, 8, 3, start);
            let mut led = HashMap::<BrokerId, usize>::new();
            for replicas in &placed {
                let mut distinct = replicas.clone();
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), 3);
                *led.entry(replicas[0]).or_default() += 1;
            }
            assert!(led.values().all(|count| *count == 2), "{led:?}");
        }
    }
}
