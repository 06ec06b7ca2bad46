//! More partitions for a topic: from requests to records. Pure.

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerId, PartitionId};

use super::counts::counts;
use super::placement::{
    AssignmentError, Limits, NoRoom, Room, candidates, check_assignment, check_new_replicas, place,
};
use super::topics::{PARTITIONS_MAX, partition_record};
use crate::metadata::{Image, TopicImage};

/// A topic that shall have `count` partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionsSpec {
    pub(crate) topic: String,
    pub(crate) count: i32,
    /// The brokers of each new partition, the preferred leader first. `None`: the controller chooses.
    pub(crate) assignments: Option<Vec<Vec<BrokerId>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreatePartitionsError {
    #[error("the topic is in the request more than once")]
    Repeated,
    #[error("topic {topic:?} does not exist")]
    UnknownTopic { topic: String },
    #[error("topic {topic:?} has {current} partitions: {wanted} would be no increase")]
    NotAnIncrease { topic: String, current: usize, wanted: i32 },
    #[error("{partitions} new partitions: at most {PARTITIONS_MAX} can be created by one request")]
    TooMany { partitions: usize },
    #[error("{additional} partitions are to be added, but {given} assignments are given")]
    AssignmentCount { additional: usize, given: usize },
    #[error("new partition {partition}: {error}")]
    Assignment { partition: PartitionId, error: AssignmentError },
    #[error("new partition {partition} has {given} replicas, those that the topic has have {factor}")]
    AssignmentFactor { partition: PartitionId, given: usize, factor: usize },
    #[error("new partition {partition}: none of its brokers is available")]
    AllFenced { partition: PartitionId },
    #[error("replication factor {factor}: {available} brokers are available")]
    TooFewBrokers { factor: usize, available: usize },
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

pub(crate) type PartitionsResults = Vec<(String, Result<(), CreatePartitionsError>)>;

/// One answer for each distinct topic. `start` (any number) spreads the first leaders.
pub(super) fn create_partitions(
    image: &Image,
    specs: &[PartitionsSpec],
    start: usize,
    limits: Limits,
) -> (Vec<MetadataRecord>, PartitionsResults) {
    let mut times = counts(specs.iter().map(|spec| spec.topic.as_str()));
    let (mut records, mut answers) = (Vec::new(), Vec::new());
    let mut room = Room::new(image, limits);
    for spec in specs {
        let left = PARTITIONS_MAX.saturating_sub(records.len());
        let extended = match times.remove(spec.topic.as_str()) {
            Some(1) => extend(image, spec, &mut room, (start, left)),
            Some(_) => Err(CreatePartitionsError::Repeated),
            None => continue,
        };
        answers.push((spec.topic.clone(), extended.map(|partitions| records.extend(partitions))));
    }
    (records, answers)
}

fn extend(
    image: &Image,
    spec: &PartitionsSpec,
    room: &mut Room<'_>,
    (start, partitions_max): (usize, usize),
) -> Result<Vec<MetadataRecord>, CreatePartitionsError> {
    let unknown = || CreatePartitionsError::UnknownTopic { topic: spec.topic.clone() };
    let topic = image.topic(&spec.topic).ok_or_else(unknown)?;
    let current = topic.partitions.len();
    let wanted = usize::try_from(spec.count).unwrap_or(0);
    let additional = wanted.saturating_sub(current);
    if additional == 0 {
        return Err(CreatePartitionsError::NotAnIncrease { topic: spec.topic.clone(), current, wanted: spec.count });
    }
    if partitions_max < additional {
        return Err(CreatePartitionsError::TooMany { partitions: additional });
    }
    let factor = topic.partitions.front().map_or(1, |partition| partition.replicas.len());
    let ids = new_ids(topic);
    let placed = match &spec.assignments {
        None => place_anywhere(image, additional, factor, start)?,
        Some(given) if given.len() != additional => {
            return Err(CreatePartitionsError::AssignmentCount { additional, given: given.len() });
        }
        Some(given) => {
            for (partition, brokers) in ids.clone().zip(given) {
                check(image, partition, brokers, factor)?;
            }
            given.clone()
        }
    };
    room.take(&placed)?;
    Ok(ids
        .zip(&placed)
        .map(|(id, brokers)| MetadataRecord::Partition(partition_record(image, topic.id, id, brokers)))
        .collect())
}

fn new_ids(topic: &TopicImage) -> impl Iterator<Item = PartitionId> + Clone {
    (i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)..).map(PartitionId)
}

fn place_anywhere(
    image: &Image,
    count: usize,
    factor: usize,
    start: usize,
) -> Result<Vec<Vec<BrokerId>>, CreatePartitionsError> {
    let brokers = candidates(image);
    if brokers.len() < factor || !brokers.iter().any(|broker| broker.is_active) {
        return Err(CreatePartitionsError::TooFewBrokers { factor, available: brokers.len() });
    }
    Ok(place(&brokers, count, factor, start))
}

fn check(
    image: &Image,
    partition: PartitionId,
    brokers: &[BrokerId],
    factor: usize,
) -> Result<(), CreatePartitionsError> {
    let invalid = |error| CreatePartitionsError::Assignment { partition, error };
    check_assignment(image, brokers).map_err(invalid)?;
    if brokers.len() != factor {
        return Err(CreatePartitionsError::AssignmentFactor { partition, given: brokers.len(), factor });
    }
    if !brokers.iter().any(|id| image.is_active(*id)) {
        return Err(CreatePartitionsError::AllFenced { partition });
    }
    check_new_replicas(image, brokers.iter()).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::super::configs;
    use super::super::decommission::CORDONED;
    use super::super::testing::Bench;
    use super::*;
    use crate::metadata::ConfigResource;
    use crate::metadata::testing::{add_topic, apply, cluster, fence};

    fn spec(topic: &str, count: i32, assignments: Option<&[&[i32]]>) -> PartitionsSpec {
        let brokers = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
        let assignments = assignments.map(|lists| lists.iter().map(brokers).collect());
        PartitionsSpec { topic: topic.to_owned(), count, assignments }
    }

    fn up_to(broker_replicas_max: usize) -> Limits {
        Limits { broker_replicas_max, volume_is_full: false }
    }

    #[test]
    fn partitions_are_added_where_asked_or_anywhere() {
        let mut image = cluster(3);
        add_topic(&mut image, "anywhere", &[0, 1]);
        add_topic(&mut image, "assigned", &[0, 1]);
        fence(&mut image, 2);
        let specs = [spec("anywhere", 3, None), spec("assigned", 2, Some(&[&[2, 1]]))];
        let (records, answers) = create_partitions(&image, &specs, 7, up_to(100));
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
        apply(&mut image, &records);
        let anywhere = image.topic("anywhere").unwrap();
        assert_eq!(anywhere.partitions.len(), 3);
        assert!(anywhere.partitions.iter().all(|partition| partition.replicas.len() == 2 && partition.isr.len() == 2));
        let assigned = &image.topic("assigned").unwrap().partitions[1];
        assert!(assigned.brokers().eq([BrokerId(2), BrokerId(1)]));
        assert_eq!((&assigned.isr, assigned.leader), (&vec![BrokerId(1)], Some(BrokerId(1))), "2 is fenced");
    }

    #[test]
    fn a_topic_that_is_named_twice_stays_as_it_is() {
        let mut image = cluster(1);
        add_topic(&mut image, "twice", &[0]);
        add_topic(&mut image, "once", &[0]);
        let specs = [spec("twice", 2, None), spec("once", 2, None), spec("twice", 3, None)];
        let (records, answers) = create_partitions(&image, &specs, 0, up_to(100));
        let repeated = Err(CreatePartitionsError::Repeated);
        assert_eq!(answers, [("twice".to_owned(), repeated), ("once".to_owned(), Ok(()))]);
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn a_full_volume_takes_no_more_partitions() {
        let mut image = cluster(1);
        add_topic(&mut image, "t", &[0]);
        let mut bench = Bench::new(image);
        let unknown = CreatePartitionsError::UnknownTopic { topic: "x".to_owned() };
        for (is_full, expected) in [(true, Err(NoRoom::Volume.into())), (false, Ok(()))] {
            bench.decider.volume_is_full = is_full;
            let specs = vec![spec("t", 2, None), spec("x", 2, None)];
            let results = bench.ask(|reply| Command::CreatePartitions { specs, validate_only: false, reply });
            assert_eq!(results, [("t".to_owned(), expected), ("x".to_owned(), Err(unknown.clone()))]);
            assert_eq!(bench.image.topic("t").unwrap().partitions.len(), if is_full { 1 } else { 2 });
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        let mut image = cluster(3);
        add_topic(&mut image, "t", &[0]);
        add_topic(&mut image, "three", &[0, 1, 2]);
        let cordon = configs::record(&ConfigResource::broker(BrokerId(1)), CORDONED, Some("*".to_owned()));
        apply(&mut image, &[cordon]);
        fence(&mut image, 2);
        let table = [
            (spec("t", 2, Some(&[&[1]])), "broker 1 is cordoned"),
            (spec("x", 2, None), "does not exist"),
            (spec("t", 1, None), "no increase"),
            (spec("t", 0, None), "no increase"),
            (spec("t", -5, None), "no increase"),
            (spec("t", i32::MAX, None), "at most 10000"),
            (spec("t", 3, Some(&[&[0]])), "2 partitions are to be added, but 1 assignments"),
            (spec("t", 2, Some(&[])), "1 partitions are to be added, but 0 assignments"),
            (spec("t", 2, Some(&[&[]])), "new partition 1: no broker"),
            (spec("t", 2, Some(&[&[9]])), "broker 9 is not registered"),
            (spec("t", 2, Some(&[&[0, 0]])), "broker 0 is there more than once"),
            (spec("t", 2, Some(&[&[0, 1]])), "has 2 replicas"),
            (spec("t", 2, Some(&[&[2]])), "none of its brokers is available"),
            (spec("three", 2, None), "2 brokers are available"),
            (spec("t", 6, Some(&[&[0], &[0], &[0], &[0], &[0]])), "broker 0 would have 7 partitions"),
        ];
        for (spec, reason) in table {
            let (records, answers) = create_partitions(&image, &[spec], 0, up_to(5));
            let error = answers[0].1.as_ref().unwrap_err().to_string();
            assert!(error.contains(reason) && records.is_empty(), "{error:?} does not say {reason:?}");
        }
    }
}
