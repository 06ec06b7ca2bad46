//! Registration of brokers, and the leaders that come and go with it. Pure.

use protocol::metadata_records::{
    BrokerRegistrationChangeRecord, Endpoint, FeatureRange, LeaderUpdate, MetadataRecord, PartitionChangeRecord,
    RegisterBrokerRecord,
};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId, PartitionId};

use super::features;
use crate::metadata::{BrokerImage, Image, PartitionImage, TopicImage};

/// What a broker says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: BrokerId,
    pub(crate) incarnation: IncarnationId,
    pub(crate) directory: DirectoryId,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("broker {id} with epoch {epoch} is not registered")]
    NotRegistered { id: BrokerId, epoch: BrokerEpoch },
}

/// The broker is registered, fenced, and leads nothing any more. Its epoch is the offset of the first record.
pub(super) fn register(image: &Image, registration: Registration) -> (Vec<MetadataRecord>, BrokerEpoch) {
    let epoch = BrokerEpoch(image.end_offset.0);
    let id = registration.id;
    let mut records = vec![MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: registration.incarnation,
        broker_epoch: epoch,
        endpoints: registration.endpoints,
        features: features::SUPPORTED.iter().map(range).collect(),
        rack: registration.rack,
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: vec![registration.directory],
    })];
    let led = image.partitions().filter(|(_, _, partition)| partition.leader == Some(id));
    records.extend(led.map(|(topic, partition, _)| change_leader(topic, partition, LeaderUpdate::Nobody)));
    (records, epoch)
}

/// The broker serves from now on, and leads what nobody led and it has an in-sync copy of.
pub(super) fn unfence(
    image: &Image,
    id: BrokerId,
    epoch: BrokerEpoch,
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
    let mine =
        image.partitions().filter(|(_, _, partition)| partition.leader.is_none() && can_lead(id, broker, partition));
    records.extend(mine.map(|(topic, partition, _)| change_leader(topic, partition, LeaderUpdate::Broker(id))));
    Ok(records)
}

/// In sync, and the copy is the one on the volume that the broker has now (KIP-858).
fn can_lead(id: BrokerId, broker: &BrokerImage, partition: &PartitionImage) -> bool {
    let on_this_volume =
        partition.replica_on(id).is_some_and(|replica| broker.directories.contains(&replica.directory));
    partition.isr.contains(&id) && on_this_volume
}

fn change_leader(topic: &TopicImage, partition: PartitionId, leader: LeaderUpdate) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChangeRecord { leader, ..PartitionChangeRecord::new(topic.id, partition) })
}

fn range(feature: &features::Feature) -> FeatureRange {
    FeatureRange { name: feature.name.to_owned(), min: feature.level_min, max: feature.level_max }
}

#[cfg(test)]
#[path = "brokers_test.rs"]
mod tests;
