//! Registration of brokers, and the leaders that come and go with it. Pure.

use protocol::metadata_records::{
    BrokerRegistrationChangeRecord, Endpoint, FeatureRange, MetadataRecord, RegisterBrokerRecord,
};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId};

use super::features;
use super::partition_change::{Departure, PartitionChange};
use crate::metadata::{BrokerImage, Image, Replica, TopicImage};

/// What a broker says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: BrokerId,
    pub(crate) incarnation: IncarnationId,
    pub(crate) directory: DirectoryId,
    /// What `.kafka_cleanshutdown` says; `None`: the last process did not stop cleanly.
    pub(crate) previous_epoch: Option<BrokerEpoch>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("broker {id} with epoch {epoch} is not registered")]
    NotRegistered { id: BrokerId, epoch: BrokerEpoch },
}

/// The broker is registered, fenced, and leads nothing any more. Its epoch is the offset of the registration, which
/// follows the changes of its partitions in the same batch. `min_insync_replicas` is asked for each topic.
pub(super) fn register(
    image: &Image,
    registration: Registration,
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> (Vec<MetadataRecord>, BrokerEpoch) {
    let id = registration.id;
    let departure = departure(image, &registration);
    let can_lead = |replica: Replica| replica.broker != id && is_active_on(image, replica);
    let mut records = Vec::new();
    for topic in image.topics.values() {
        let min_insync_replicas = min_insync_replicas(topic);
        records.extend(topic.partitions().filter(|(_, state)| state.replica_on(id).is_some()).filter_map(
            |(partition, state)| {
                let change = PartitionChange::new(topic.id, partition, state, min_insync_replicas);
                change.without(id, departure).elect(can_lead)
            },
        ));
    }
    let epoch = BrokerEpoch(image.end_offset.advance(i64::try_from(records.len()).unwrap_or(i64::MAX)).0);
    records.push(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: registration.incarnation,
        broker_epoch: epoch,
        endpoints: registration.endpoints,
        features: features::SUPPORTED.iter().map(range).collect(),
        rack: registration.rack,
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: vec![registration.directory],
    }));
    (records, epoch)
}

/// What the broker's last process left. Only a file that it wrote last of all, with the epoch that it was registered
/// with, shows that it had finished (`.kafka_cleanshutdown`, KIP-966).
pub(super) fn departure(image: &Image, registration: &Registration) -> Departure {
    let Some(former) = image.brokers.get(&registration.id) else { return Departure::Clean };
    if !former.directories.contains(&registration.directory) {
        return Departure::VolumeReplaced(registration.directory);
    }
    if registration.previous_epoch == Some(former.epoch) { Departure::Clean } else { Departure::Unclean }
}

/// The broker serves from now on, and leads what nobody led and it may.
pub(super) fn unfence(
    image: &Image,
    id: BrokerId,
    epoch: BrokerEpoch,
    min_insync_replicas: impl Fn(&TopicImage) -> usize,
) -> Result<Vec<MetadataRecord>, RegistrationError> {
    let registered = image.brokers.get(&id).filter(|broker| broker.epoch == epoch);
    let broker = registered.ok_or(RegistrationError::NotRegistered { id, epoch })?;
    let mut records = vec![MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id: id,
        broker_epoch: epoch,
        fenced: Some(false),
        enters_controlled_shutdown: false,
        log_dirs: Vec::new(),
    })];
    let can_lead = |replica: Replica| {
        let comes_back = replica.broker == id && broker.directories.contains(&replica.directory);
        comes_back || is_active_on(image, replica)
    };
    for topic in image.topics.values() {
        let min_insync_replicas = min_insync_replicas(topic);
        let leaderless = topic.partitions().filter(|(_, state)| state.leader.is_none());
        records.extend(leaderless.filter_map(|(partition, state)| {
            PartitionChange::new(topic.id, partition, state, min_insync_replicas).elect(can_lead)
        }));
    }
    Ok(records)
}

/// It serves, and from the volume that it has now (KIP-858).
pub(super) fn is_active_on(image: &Image, replica: Replica) -> bool {
    let has_directory = |broker: &BrokerImage| broker.directories.contains(&replica.directory);
    image.is_active(replica.broker) && image.brokers.get(&replica.broker).is_some_and(has_directory)
}

fn range(feature: &features::Feature) -> FeatureRange {
    FeatureRange { name: feature.name.to_owned(), min: feature.level_min, max: feature.level_max }
}

#[cfg(test)]
#[path = "brokers_test.rs"]
mod tests;
