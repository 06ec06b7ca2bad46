//! Which brokers get the replicas of a partition.

use std::collections::BTreeMap;

use protocol::types::BrokerId;

use super::decommission::is_cordoned;
use crate::metadata::Image;

/// Why a request cannot have the brokers that it names for a partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignmentError {
    #[error("no broker is given")]
    Empty,
    #[error("broker {broker} is not registered")]
    Unregistered { broker: BrokerId },
    #[error("broker {broker} is there more than once")]
    Repeated { broker: BrokerId },
    #[error("broker {broker} is cordoned: it gets no new replicas")]
    Cordoned { broker: BrokerId },
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

/// The brokers are registered.
pub(super) fn check_new_replicas<'a>(
    image: &Image,
    mut brokers: impl Iterator<Item = &'a BrokerId>,
) -> Result<(), AssignmentError> {
    let cordoned = brokers.find(|broker| is_cordoned(image, **broker));
    cordoned.map_or(Ok(()), |broker| Err(AssignmentError::Cordoned { broker: *broker }))
}

/// Limits on new replicas, besides which brokers can take them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// `millrace.broker.partitions.max`
    pub(super) broker_replicas_max: usize,
    pub(super) volume_is_full: bool,
}

/// How many more replicas each broker may have.
#[derive(Debug)]
pub(super) struct Room<'a> {
    image: &'a Image,
    limits: Limits,
    /// Replicas placed by this request, which are not in the image yet.
    taken: BTreeMap<BrokerId, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error(
        "broker {broker} would have {replicas} partitions, millrace.broker.partitions.max allows {replicas_max}: add \
         brokers, or raise it where there is memory"
    )]
    Broker { broker: BrokerId, replicas: usize, replicas_max: usize },
    #[error("the volume is full up to its reserve: delete something or make it larger")]
    Volume,
}

impl<'a> Room<'a> {
    pub(super) fn new(image: &'a Image, limits: Limits) -> Self {
        Self { image, limits, taken: BTreeMap::new() }
    }

    /// Reserves room for all of these replicas, or none.
    pub(super) fn take(&mut self, placed: &[Vec<BrokerId>]) -> Result<(), NoRoom> {
        let Limits { broker_replicas_max: replicas_max, volume_is_full } = self.limits;
        if volume_is_full {
            return Err(NoRoom::Volume);
        }
        let mut taken = self.taken.clone();
        for broker in placed.iter().flatten().copied() {
            *taken.entry(broker).or_default() += 1;
        }
        let replicas = |broker: BrokerId, new: usize| self.image.replica_count(broker) + new;
        let full = taken.iter().find(|(broker, new)| replicas_max < replicas(**broker, **new));
        if let Some((&broker, &new)) = full {
            return Err(NoRoom::Broker { broker, replicas: replicas(broker, new), replicas_max });
        }
        self.taken = taken;
        Ok(())
    }
}

/// A broker that may get replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: BrokerId,
    pub(super) rack: Option<String>,
    /// An inactive broker is chosen last, and never as a leader.
    pub(super) is_active: bool,
}

/// Every broker that is registered and not cordoned.
pub(super) fn candidates(image: &Image) -> Vec<Candidate> {
    let open = image.brokers.iter().filter(|(id, _)| !is_cordoned(image, **id));
    open.map(|(id, broker)| Candidate { id: *id, rack: broker.rack.clone(), is_active: image.is_active(*id) }).collect()
}

/// One list of brokers per partition, the preferred leader first. Leaders rotate over the active brokers. Each
/// partition uses every rack before a second broker of any, and active brokers before others. The first follower
/// shifts with every round, so that the partitions of a failed broker do not all go to the same one. `start` (any
/// number) keeps small topics from all beginning at the same broker.
///
/// There are at least `replication_factor` candidates, one of them active.
pub(super) fn place(
    candidates: &[Candidate],
    partitions: usize,
    replication_factor: usize,
    start: usize,
) -> Vec<Vec<BrokerId>> {
    assert!(replication_factor <= candidates.len(), "checked before");
    let leaders: Vec<_> = (0..).zip(candidates).filter(|(_, candidate)| candidate.is_active).collect();
    assert!(!leaders.is_empty(), "checked before");
    let replicas = |partition: usize| {
        let round = partition / leaders.len();
        let (place, leader) = leaders[(start % leaders.len() + partition) % leaders.len()];
        let others = candidates.iter().cycle().skip(place + 1).take(candidates.len() - 1);
        let others: Vec<_> = others.collect();
        let shift = round % others.len().max(1);
        let mut others: Vec<_> = others.iter().cycle().skip(shift).take(others.len()).copied().collect();
        let mut in_rack = BTreeMap::from([(&leader.rack, 1)]);
        let mut chosen = vec![leader.id];
        while chosen.len() < replication_factor {
            let rank = |candidate: &&Candidate| (in_rack.get(&candidate.rack).copied(), !candidate.is_active);
            let best = (0..others.len()).min_by_key(|index| rank(&others[*index])).unwrap_or_default();
            let next = others.remove(best);
            *in_rack.entry(&next.rack).or_default() += 1;
            chosen.push(next.id);
        }
        chosen
    };
    (0..partitions).map(replicas).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    fn candidates(racks: &[Option<&str>]) -> Vec<Candidate> {
        let candidate = |(id, rack): (i32, Option<&str>)| Candidate {
            id: BrokerId(id),
            rack: rack.map(str::to_owned),
            is_active: true,
        };
        (0..).zip(racks.iter().copied()).map(candidate).collect()
    }

    #[test]
    fn replicas_of_a_partition_are_distinct_and_leaders_are_spread() {
        let brokers = candidates(&[None; 4]);
        for start in [0, 3, usize::MAX] {
            let mut led = HashMap::<BrokerId, usize>::new();
            let mut followed = HashMap::<BrokerId, usize>::new();
            let mut successors = BTreeSet::new();
            for replicas in &place(&brokers, 12, 3, start) {
                assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), 3);
                *led.entry(replicas[0]).or_default() += 1;
                replicas[1..].iter().for_each(|id| *followed.entry(*id).or_default() += 1);
                successors.insert((replicas[0], replicas[1]));
            }
            assert!(led.values().all(|count| *count == 3), "{led:?}");
            assert!(followed.values().all(|count| *count == 6), "{followed:?}");
            assert_eq!(successors.len(), 12, "who follows a leader first is not always the same");
        }
    }

    #[test]
    fn every_rack_has_a_replica_before_one_has_two() {
        let table: [(&[Option<&str>], usize, usize); 4] = [
            (&[Some("a"), Some("b"), Some("c")], 3, 3),
            (&[Some("a"), Some("a"), Some("a"), Some("b"), Some("c")], 3, 3),
            (&[Some("a"), Some("a"), Some("b")], 3, 2),
            (&[Some("a"), None, Some("a"), None], 2, 2),
        ];
        for (racks, factor, distinct) in table {
            for replicas in &place(&candidates(racks), 20, factor, 1) {
                let of: BTreeSet<_> = replicas.iter().map(|id| racks[usize::try_from(id.0).unwrap()]).collect();
                assert_eq!((replicas.len(), of.len()), (factor, distinct), "{racks:?} {replicas:?}");
            }
        }
    }

    #[test]
    fn who_is_away_leads_nothing_and_is_taken_where_nobody_else_is_left() {
        let mut brokers = candidates(&[None; 4]);
        brokers[2].is_active = false;
        for replicas in &place(&brokers, 9, 3, 5) {
            assert!(!replicas.contains(&BrokerId(2)), "{replicas:?}");
        }
        for replicas in &place(&brokers, 9, 4, 5) {
            assert_eq!(replicas.iter().position(|id| *id == BrokerId(2)), Some(3), "{replicas:?}");
        }
        let mut brokers = candidates(&[Some("a"), Some("b"), Some("a")]);
        brokers[1].is_active = false;
        for replicas in &place(&brokers, 4, 2, 0) {
            assert_eq!(replicas[1], BrokerId(1), "a rack of its own comes before being there now");
        }
    }
}
