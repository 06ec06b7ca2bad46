//! Creation of topics: from requests to records. Pure.

use std::collections::BTreeSet;

use imbl::OrdMap;
use protocol::config::{self, Scope, Values};
use protocol::metadata_records::{LeaderRecoveryState, MetadataRecord, PartitionRecord};
use protocol::types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};

use super::configs;
use super::placement::{Limits, NoRoom, Room, candidates, check_new_replicas, place};
use crate::metadata::{ConfigResource, Image, METADATA_TOPIC, TOPIC_NAME_LENGTH_MAX};

/// Kafka's limit of partitions per request, whatever the number of topics.
pub(super) const PARTITIONS_MAX: usize = 10_000;
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// A topic to be created. `None`: the broker's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSpec {
    pub(crate) name: String,
    pub(crate) partitions: Option<i32>,
    pub(crate) replication_factor: Option<i16>,
    /// Brokers per partition, the preferred leader first; if any is given, counts must not be.
    pub(crate) assignments: Vec<(PartitionId, Vec<BrokerId>)>,
    pub(crate) configs: Vec<(String, String)>,
}

impl TopicSpec {
    pub(crate) fn with_defaults(name: String) -> Self {
        Self { name, partitions: None, replication_factor: None, assignments: Vec::new(), configs: Vec::new() }
    }
}

/// Defaults for topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicDefaults {
    /// `num.partitions`
    pub(crate) partitions: i32,
    /// `default.replication.factor`
    pub(crate) replication_factor: i16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreatedTopic {
    pub(crate) id: TopicId,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: OrdMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum CreateTopicError {
    #[error("topic {name:?} is the metadata log: it cannot be created")]
    Reserved { name: String },
    #[error(
        "topic name {name:?} is not legal: 1 to {TOPIC_NAME_LENGTH_MAX} of the characters a-z A-Z 0-9 . _ -, and not . or .."
    )]
    InvalidName { name: String },
    #[error("topic {name:?} collides with {existing:?}: '.' and '_' are the same in metric names")]
    NameCollides { name: String, existing: String },
    #[error("topic {name:?} already exists")]
    AlreadyExists { name: String },
    #[error("{partitions} partitions: at least 1 is needed")]
    InvalidPartitions { partitions: i32 },
    #[error("{partitions} partitions: at most {PARTITIONS_MAX} can be created by one request")]
    TooManyPartitions { partitions: usize },
    #[error("replication factor {replication_factor}: {available} brokers are available")]
    InvalidReplicationFactor { replication_factor: i16, available: usize },
    #[error("replica assignment: {reason}")]
    InvalidAssignment { reason: String },
    #[error("a replica assignment excludes a number of partitions and a replication factor")]
    CountsAndAssignment,
    #[error(transparent)]
    InvalidConfig(#[from] config::ConfigError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("{0}")]
    NotWritable(String),
}

pub(crate) fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

pub(crate) fn is_legal_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=TOPIC_NAME_LENGTH_MAX).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".."
}

/// How topics are created, besides what the request says of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct CreationRules {
    pub(super) defaults: TopicDefaults,
    pub(super) limits: Limits,
    /// Partitions that the request may still create.
    pub(super) partitions_max: usize,
    /// Any number: it spreads the first leaders.
    pub(super) start: usize,
}

/// The records that create the topic under `id`.
pub(super) fn create_topic(
    image: &Image,
    spec: TopicSpec,
    id: TopicId,
    rules: CreationRules,
) -> Result<(Vec<MetadataRecord>, CreatedTopic), CreateTopicError> {
    check_name(image, &spec.name)?;
    for (name, value) in &spec.configs {
        config::validate(Scope::Topic, name, value)?;
    }
    let configs = spec.configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    if let Some(contradiction) = config::check_topic(&Values::parse(Scope::Topic, configs).0) {
        return Err(contradiction.into());
    }
    let placed = replicas(image, &spec, rules)?;
    Room::new(image, rules.limits).take(&placed)?;
    let mut records = vec![MetadataRecord::Topic { name: spec.name.clone(), topic_id: id }];
    for (partition, brokers) in (0..).map(PartitionId).zip(&placed) {
        records.push(MetadataRecord::Partition(partition_record(image, id, partition, brokers)));
    }
    let topic = ConfigResource::topic(&spec.name);
    records.extend(spec.configs.iter().map(|(name, value)| configs::record(&topic, name, Some(value.clone()))));
    let created = CreatedTopic {
        id,
        partitions: i32::try_from(placed.len()).unwrap_or(i32::MAX),
        replication_factor: placed.first().map_or(0, |brokers| i16::try_from(brokers.len()).unwrap_or(i16::MAX)),
        configs: spec.configs.into_iter().collect(),
    };
    Ok((records, created))
}

fn check_name(image: &Image, name: &str) -> Result<(), CreateTopicError> {
    if !is_legal_topic_name(name) {
        return Err(CreateTopicError::InvalidName { name: name.to_owned() });
    }
    if name == METADATA_TOPIC {
        return Err(CreateTopicError::Reserved { name: name.to_owned() });
    }
    if image.topic(name).is_some() {
        return Err(CreateTopicError::AlreadyExists { name: name.to_owned() });
    }
    image.collides_with(name).map_or(Ok(()), |existing| {
        Err(CreateTopicError::NameCollides { name: name.to_owned(), existing: existing.to_owned() })
    })
}

fn replicas(
    image: &Image,
    spec: &TopicSpec,
    CreationRules { defaults, partitions_max, start, .. }: CreationRules,
) -> Result<Vec<Vec<BrokerId>>, CreateTopicError> {
    if !spec.assignments.is_empty() {
        if spec.partitions.is_some() || spec.replication_factor.is_some() {
            return Err(CreateTopicError::CountsAndAssignment);
        }
        return assigned(image, &spec.assignments, partitions_max);
    }
    let partitions = spec.partitions.unwrap_or(defaults.partitions);
    let count = usize::try_from(partitions).unwrap_or(0);
    if count == 0 {
        return Err(CreateTopicError::InvalidPartitions { partitions });
    }
    if partitions_max < count {
        return Err(CreateTopicError::TooManyPartitions { partitions: count });
    }
    let brokers = candidates(image);
    let replication_factor = spec.replication_factor.unwrap_or(defaults.replication_factor);
    let factor = usize::try_from(replication_factor).unwrap_or(0);
    if factor == 0 || brokers.len() < factor || !brokers.iter().any(|broker| broker.is_active) {
        return Err(CreateTopicError::InvalidReplicationFactor { replication_factor, available: brokers.len() });
    }
    Ok(place(&brokers, count, factor, start))
}

/// Checks an assignment: partitions 0 to n−1 in any order, each with as many distinct, active brokers as the others.
fn assigned(
    image: &Image,
    assignments: &[(PartitionId, Vec<BrokerId>)],
    partitions_max: usize,
) -> Result<Vec<Vec<BrokerId>>, CreateTopicError> {
    let invalid = |reason: String| CreateTopicError::InvalidAssignment { reason };
    if partitions_max < assignments.len() {
        return Err(CreateTopicError::TooManyPartitions { partitions: assignments.len() });
    }
    let by_id: OrdMap<PartitionId, &Vec<BrokerId>> = assignments.iter().map(|(id, brokers)| (*id, brokers)).collect();
    if by_id.len() != assignments.len()
        || !(0..).map(PartitionId).zip(by_id.keys()).all(|(expected, id)| expected == *id)
    {
        return Err(invalid("partitions must be numbered from 0, each once".to_owned()));
    }
    let factor = by_id.values().next().map_or(0, |brokers| brokers.len());
    for (partition, brokers) in &by_id {
        let distinct: BTreeSet<_> = brokers.iter().collect();
        if brokers.is_empty() || brokers.len() != factor || distinct.len() != brokers.len() {
            return Err(invalid(format!(
                "partition {partition} has {} distinct brokers of {}, the first partition has {factor}",
                distinct.len(),
                brokers.len()
            )));
        }
        if let Some(unknown) = brokers.iter().find(|id| image.brokers.get(*id).is_none_or(|broker| broker.fenced)) {
            return Err(invalid(format!("broker {unknown} of partition {partition} is not available")));
        }
        let open = check_new_replicas(image, brokers.iter());
        open.map_err(|error| invalid(format!("partition {partition}: {error}")))?;
    }
    Ok(by_id.into_iter().map(|(_, brokers)| brokers.clone()).collect())
}

/// A new partition, led by the first available one of its brokers; the available ones start in sync.
pub(super) fn partition_record(
    image: &Image,
    topic_id: TopicId,
    id: PartitionId,
    brokers: &[BrokerId],
) -> PartitionRecord {
    let isr: Vec<_> = brokers.iter().copied().filter(|id| image.is_active(*id)).collect();
    PartitionRecord {
        partition_id: id,
        topic_id,
        replicas: brokers.to_vec(),
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader: isr.first().copied(),
        isr,
        leader_recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        directories: brokers.iter().map(|id| image.directory_for_new_replica(*id)).collect(),
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    }
}

#[cfg(test)]
#[path = "topics_test.rs"]
mod tests;
