//! The only code that changes an image: one record at a time, live and at load.

use std::sync::Arc;

use imbl::OrdMap;
use protocol::metadata_records::{
    BrokerRegistrationChangeRecord, LeaderUpdate, MetadataRecord, PartitionChangeRecord, PartitionRecord,
    RegisterBrokerRecord,
};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};

use super::image::{BrokerImage, ConfigResource, Image, PartitionImage, Replica, TopicImage, metric_name};

/// A record that contradicts the ones before it: no controller wrote this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("a record is about topic {topic}, which does not exist")]
    UnknownTopic { topic: TopicId },
    #[error("topic {name:?} is created twice")]
    DuplicateTopic { name: String },
    #[error("partition {partition} of topic {topic} is created, the topic has {count}")]
    PartitionGap { topic: TopicId, partition: PartitionId, count: usize },
    #[error("a record is about partition {partition} of topic {topic}, which does not exist")]
    UnknownPartition { topic: TopicId, partition: PartitionId },
    #[error("partition {partition} of topic {topic} has {replicas} replicas in {directories} directories")]
    Directories { topic: TopicId, partition: PartitionId, replicas: usize, directories: usize },
    #[error("a record is about broker {broker} with epoch {claimed}, which is registered with {registered:?}")]
    BrokerEpoch { broker: BrokerId, claimed: BrokerEpoch, registered: Option<BrokerEpoch> },
}

/// Applies one record. The caller advances `end_offset` and `epoch`.
pub(crate) fn replay(image: &mut Image, record: &MetadataRecord) -> Result<(), ReplayError> {
    match record {
        MetadataRecord::RegisterBroker(record) => register_broker(image, record),
        MetadataRecord::UnregisterBroker { broker_id, broker_epoch } => {
            registered(image, *broker_id, *broker_epoch)?;
            image.brokers.remove(broker_id);
        }
        MetadataRecord::BrokerRegistrationChange(record) => return change_broker(image, record),
        MetadataRecord::Topic { name, topic_id } => return create_topic(image, name, *topic_id),
        MetadataRecord::RemoveTopic { topic_id } => return remove_topic(image, *topic_id),
        MetadataRecord::Partition(record) => return create_partition(image, record),
        MetadataRecord::PartitionChange(record) => return change_partition(image, record),
        MetadataRecord::Config { resource_type, resource_name, name, value } => {
            let resource = ConfigResource { kind: *resource_type, name: resource_name.clone() };
            configure(image, resource, name, value.as_ref());
        }
        MetadataRecord::FeatureLevel { name, level: 0 } => {
            image.features.remove(name);
        }
        MetadataRecord::FeatureLevel { name, level } => {
            image.features.insert(name.clone(), *level);
        }
        MetadataRecord::ProducerIds { next_producer_id, .. } => image.next_producer_id = *next_producer_id,
        MetadataRecord::RegisterController(record) => {
            image.controllers.insert(record.controller_id, record.clone());
        }
        MetadataRecord::NoOp => {}
    }
    Ok(())
}

fn register_broker(image: &mut Image, record: &RegisterBrokerRecord) {
    let broker = BrokerImage {
        epoch: record.broker_epoch,
        incarnation: record.incarnation_id,
        directories: record.log_dirs.clone(),
        endpoints: record.endpoints.clone(),
        rack: record.rack.clone(),
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
    };
    image.brokers.insert(record.broker_id, broker);
}

fn change_broker(image: &mut Image, record: &BrokerRegistrationChangeRecord) -> Result<(), ReplayError> {
    let broker = registered(image, record.broker_id, record.broker_epoch)?;
    broker.fenced = record.fenced.unwrap_or(broker.fenced);
    broker.in_controlled_shutdown |= record.enters_controlled_shutdown;
    if !record.log_dirs.is_empty() {
        broker.directories.clone_from(&record.log_dirs);
    }
    Ok(())
}

fn registered(image: &mut Image, broker: BrokerId, claimed: BrokerEpoch) -> Result<&mut BrokerImage, ReplayError> {
    let registered = image.brokers.get(&broker).map(|broker| broker.epoch);
    match image.brokers.get_mut(&broker) {
        Some(found) if found.epoch == claimed => Ok(found),
        _ => Err(ReplayError::BrokerEpoch { broker, claimed, registered }),
    }
}

fn create_topic(image: &mut Image, name: &str, id: TopicId) -> Result<(), ReplayError> {
    if image.topic_ids.contains_key(name) || image.topics.contains_key(&id) {
        return Err(ReplayError::DuplicateTopic { name: name.to_owned() });
    }
    image.topic_ids.insert(name.to_owned(), id);
    if let Some(metric_name) = metric_name(name) {
        image.metric_names.insert(metric_name, id);
    }
    image.topics.insert(id, Arc::new(TopicImage { id, name: name.to_owned(), partitions: imbl::Vector::new() }));
    Ok(())
}

/// The topic's configuration is removed with it.
fn remove_topic(image: &mut Image, id: TopicId) -> Result<(), ReplayError> {
    let topic = image.topics.remove(&id).ok_or(ReplayError::UnknownTopic { topic: id })?;
    image.topic_ids.remove(&topic.name);
    if let Some(metric_name) = metric_name(&topic.name).filter(|name| image.metric_names.get(name) == Some(&id)) {
        image.metric_names.remove(&metric_name);
    }
    image.configs.remove(&ConfigResource::topic(&topic.name));
    for partition in &topic.partitions {
        count(&mut image.replica_counts, &partition.replicas, &[]);
    }
    Ok(())
}

fn create_partition(image: &mut Image, record: &PartitionRecord) -> Result<(), ReplayError> {
    let id = record.topic_id;
    let topic = image.topics.get_mut(&id).ok_or(ReplayError::UnknownTopic { topic: id })?;
    let topic = Arc::make_mut(topic);
    if usize::try_from(record.partition_id.0) != Ok(topic.partitions.len()) {
        let (partition, count) = (record.partition_id, topic.partitions.len());
        return Err(ReplayError::PartitionGap { topic: id, partition, count });
    }
    let replicas = replicas(id, record.partition_id, &record.replicas, &record.directories)?;
    count(&mut image.replica_counts, &[], &replicas);
    topic.partitions.push_back(PartitionImage {
        replicas,
        isr: record.isr.clone(),
        adding: record.adding_replicas.clone(),
        removing: record.removing_replicas.clone(),
        leader: record.leader,
        recovery_state: record.leader_recovery_state,
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch,
        eligible_leader_replicas: record.eligible_leader_replicas.clone(),
        last_known_elr: record.last_known_elr.clone(),
    });
    Ok(())
}

/// Every change bumps the partition epoch; naming a leader, even the same one, bumps the leader epoch.
fn change_partition(image: &mut Image, record: &PartitionChangeRecord) -> Result<(), ReplayError> {
    let (topic, partition) = (record.topic_id, record.partition_id);
    let unknown = || ReplayError::UnknownPartition { topic, partition };
    let found = image.topics.get_mut(&topic).ok_or(ReplayError::UnknownTopic { topic })?;
    let index = usize::try_from(partition.0).map_err(|_| unknown())?;
    let state = Arc::make_mut(found).partitions.get_mut(index).ok_or_else(unknown)?;
    if record.replicas.is_some() || record.directories.is_some() {
        let brokers = record.replicas.clone().unwrap_or_else(|| state.replicas.iter().map(|r| r.broker).collect());
        let directories =
            record.directories.clone().unwrap_or_else(|| state.replicas.iter().map(|r| r.directory).collect());
        let replicas = replicas(topic, partition, &brokers, &directories)?;
        count(&mut image.replica_counts, &state.replicas, &replicas);
        state.replicas = replicas;
    }
    let lists = [
        (&record.isr, &mut state.isr),
        (&record.adding_replicas, &mut state.adding),
        (&record.removing_replicas, &mut state.removing),
        (&record.eligible_leader_replicas, &mut state.eligible_leader_replicas),
        (&record.last_known_elr, &mut state.last_known_elr),
    ];
    for (change, list) in lists {
        if let Some(change) = change {
            list.clone_from(change);
        }
    }
    state.recovery_state = record.leader_recovery_state.unwrap_or(state.recovery_state);
    match record.leader {
        LeaderUpdate::Unchanged => {}
        LeaderUpdate::Nobody => state.lead_by(None),
        LeaderUpdate::Broker(leader) => state.lead_by(Some(leader)),
    }
    state.partition_epoch = PartitionEpoch(state.partition_epoch.0.saturating_add(1));
    Ok(())
}

impl PartitionImage {
    fn lead_by(&mut self, leader: Option<BrokerId>) {
        self.leader = leader;
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
    }
}

fn replicas(
    topic: TopicId,
    partition: PartitionId,
    brokers: &[BrokerId],
    directories: &[DirectoryId],
) -> Result<Vec<Replica>, ReplayError> {
    if brokers.len() != directories.len() {
        let (replicas, directories) = (brokers.len(), directories.len());
        return Err(ReplayError::Directories { topic, partition, replicas, directories });
    }
    let pairs = brokers.iter().zip(directories);
    Ok(pairs.map(|(broker, directory)| Replica { broker: *broker, directory: *directory }).collect())
}

fn count(counts: &mut OrdMap<BrokerId, usize>, left: &[Replica], joined: &[Replica]) {
    for replica in joined {
        *counts.entry(replica.broker).or_default() += 1;
    }
    for replica in left {
        if let Some(count) = counts.get_mut(&replica.broker) {
            *count = count.saturating_sub(1);
        }
    }
}

fn configure(image: &mut Image, resource: ConfigResource, name: &str, value: Option<&String>) {
    let mut options = image.configs.remove(&resource).unwrap_or_default();
    match value {
        Some(value) => options.insert(name.to_owned(), value.clone()),
        None => options.remove(name),
    };
    if !options.is_empty() {
        image.configs.insert(resource, options);
    }
}

#[cfg(test)]
#[path = "replay_test.rs"]
mod tests;
