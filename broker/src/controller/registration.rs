//! Registration of brokers: which process is the broker from now on, and what the last one left behind. Pure.

use protocol::metadata_records::{Endpoint, FeatureRange, MetadataRecord, RegisterBrokerRecord};
use protocol::types::{BrokerEpoch, BrokerId, ClusterId, DirectoryId, IncarnationId};

use super::brokers::withdraw;
use super::discards::is_discarded;
use super::partition_change::Departure;
use super::policy::Policy;
use crate::bugs::{self, Bug};
use crate::metadata::{BrokerImage, Image, Replica};

/// What a broker sends when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: BrokerId,
    pub(crate) cluster_id: String,
    pub(crate) incarnation: IncarnationId,
    pub(crate) directory: DirectoryId,
    /// The epoch in `.kafka_cleanshutdown`; `None`: the last process did not stop cleanly.
    pub(crate) previous_epoch: Option<BrokerEpoch>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) features: Vec<FeatureRange>,
    pub(crate) rack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("the broker is of cluster {given}, this is cluster {expected}")]
    WrongCluster { given: String, expected: ClusterId },
    #[error("{id} is not a broker id: 0 or more")]
    InvalidId { id: BrokerId },
    #[error("broker {id} is registered as another process, {incarnation}, which was heard recently")]
    Duplicate { id: BrokerId, incarnation: IncarnationId },
    #[error("directory {directory} is that of broker {owner}")]
    DirectoryOwned { directory: DirectoryId, owner: BrokerId },
    #[error("directory {directory} has been discarded: format another one")]
    DirectoryDiscarded { directory: DirectoryId },
    #[error("the process is registered with directory {registered}, not with {given}")]
    DirectoryChanged { given: DirectoryId, registered: DirectoryId },
    #[error("feature {name} is at level {level}, the broker works with {supported}")]
    UnsupportedFeature { name: String, level: i16, supported: String },
}

/// Refuses processes that cannot be this broker. `is_live`: the registered process was heard recently.
pub(super) fn check(
    image: &Image,
    cluster_id: &ClusterId,
    registration: &Registration,
    is_live: bool,
) -> Result<(), RegistrationError> {
    let Registration { id, directory, .. } = *registration;
    if registration.cluster_id != cluster_id.as_str() {
        let (given, expected) = (registration.cluster_id.clone(), cluster_id.clone());
        return Err(RegistrationError::WrongCluster { given, expected });
    }
    if id.0 < 0 {
        return Err(RegistrationError::InvalidId { id });
    }
    if is_discarded(image, directory) {
        return Err(RegistrationError::DirectoryDiscarded { directory });
    }
    let owns = |(other, broker): &(&BrokerId, &BrokerImage)| **other != id && broker.directories.contains(&directory);
    if let Some((owner, _)) = image.brokers.iter().find(owns) {
        return Err(RegistrationError::DirectoryOwned { directory, owner: *owner });
    }
    check_features(image, &registration.features)?;
    match image.brokers.get(&id) {
        Some(former) if former.incarnation == registration.incarnation => check_directory(former, directory),
        Some(former) if is_live => Err(RegistrationError::Duplicate { id, incarnation: former.incarnation }),
        _ => Ok(()),
    }
}

fn check_features(image: &Image, ranges: &[FeatureRange]) -> Result<(), RegistrationError> {
    for (name, level) in &image.features {
        let range = ranges.iter().find(|range| range.name == *name);
        if !range.is_some_and(|range| (range.min..=range.max).contains(level)) {
            let supported = range.map_or_else(|| "none".to_owned(), |range| format!("{} to {}", range.min, range.max));
            return Err(RegistrationError::UnsupportedFeature { name: name.clone(), level: *level, supported });
        }
    }
    Ok(())
}

/// A process has the same directory for as long as it lives.
fn check_directory(former: &BrokerImage, given: DirectoryId) -> Result<(), RegistrationError> {
    match former.directories.first() {
        Some(registered) if *registered != given => {
            Err(RegistrationError::DirectoryChanged { given, registered: *registered })
        }
        _ => Ok(()),
    }
}

/// Registers the broker, fenced and leading nothing. Its epoch is the offset of the registration record, which
/// follows the changes of its partitions in the same batch. If the process is registered already only its details are
/// updated: it keeps its epoch and its state (KAFKA-16952).
pub(super) fn register(policy: &Policy<'_>, registration: Registration) -> (Vec<MetadataRecord>, BrokerEpoch) {
    let image = policy.image();
    let former = image.brokers.get(&registration.id);
    if let Some(same) = former.filter(|former| former.incarnation == registration.incarnation) {
        let epoch = same.epoch;
        let amended = RegisterBrokerRecord {
            fenced: same.fenced,
            in_controlled_shutdown: same.in_controlled_shutdown,
            ..record(registration, epoch)
        };
        return (vec![MetadataRecord::RegisterBroker(amended)], epoch);
    }
    let mut records = withdraw(policy, registration.id, |replica| departure(former, &registration, replica));
    let epoch = BrokerEpoch(image.end_offset.advance(i64::try_from(records.len()).unwrap_or(i64::MAX)).0);
    records.push(MetadataRecord::RegisterBroker(record(registration, epoch)));
    (records, epoch)
}

fn record(registration: Registration, epoch: BrokerEpoch) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: registration.id,
        incarnation_id: registration.incarnation,
        broker_epoch: epoch,
        endpoints: registration.endpoints,
        features: registration.features,
        rack: registration.rack,
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: vec![registration.directory],
    }
}

/// The state in which the broker's last process left a replica. Only a file that it wrote last, with the epoch it was
/// registered with, proves a clean stop (`.kafka_cleanshutdown`, KIP-966).
fn departure(former: Option<&BrokerImage>, registration: &Registration, replica: Replica) -> Departure {
    if replica.directory != registration.directory && !bugs::is_planted(Bug::OtherVolumeIsTheSame) {
        return Departure::VolumeReplaced(registration.directory);
    }
    let finished = former.is_some_and(|former| registration.previous_epoch == Some(former.epoch));
    if finished { Departure::Clean } else { Departure::Unclean }
}

#[cfg(test)]
#[path = "registration_test.rs"]
mod tests;
