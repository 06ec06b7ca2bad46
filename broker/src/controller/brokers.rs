//! Changes of partitions when a broker comes, goes, or is about to go. Pure.

use protocol::metadata_records::{BrokerRegistrationChangeRecord, MetadataRecord};
use protocol::types::{BrokerEpoch, BrokerId};

use super::configs;
use super::decommission::CORDONED;
use super::partition_change::Departure;
use super::policy::Policy;
use crate::metadata::{BrokerImage, ConfigResource, Image, Replica};

/// Why a request does not come from the registered process of the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokerEpochError {
    #[error("broker {id} is not registered")]
    NotRegistered { id: BrokerId },
    #[error("broker {id} is registered with epoch {registered}, not with {given}")]
    Stale { id: BrokerId, given: BrokerEpoch, registered: BrokerEpoch },
}

pub(super) fn registered(image: &Image, id: BrokerId) -> Result<&BrokerImage, BrokerEpochError> {
    image.brokers.get(&id).ok_or(BrokerEpochError::NotRegistered { id })
}

pub(super) fn check_epoch(image: &Image, id: BrokerId, given: BrokerEpoch) -> Result<&BrokerImage, BrokerEpochError> {
    let broker = registered(image, id)?;
    let registered = broker.epoch;
    if registered == given { Ok(broker) } else { Err(BrokerEpochError::Stale { id, given, registered }) }
}

/// Fences the broker: as far as is known it no longer serves.
pub(super) fn fence(policy: &Policy<'_>, id: BrokerId) -> Vec<MetadataRecord> {
    let mut records = withdraw(policy, id, |_| Departure::Clean);
    records.extend(fenced(policy.image(), id));
    records
}

/// Marks the registration as fenced; partitions are left alone.
pub(super) fn fenced(image: &Image, id: BrokerId) -> Option<MetadataRecord> {
    change(image, id, |change| change.fenced = Some(true))
}

/// Unfences the broker, which becomes leader of leaderless partitions where it may.
pub(super) fn unfence(policy: &Policy<'_>, id: BrokerId) -> Vec<MetadataRecord> {
    let image = policy.image();
    let mut records: Vec<_> = change(image, id, |change| change.fenced = Some(false)).into_iter().collect();
    let broker = image.brokers.get(&id);
    let can_lead = |replica: Replica| {
        let comes_back = replica.broker == id && broker.is_some_and(|own| own.directories.contains(&replica.directory));
        comes_back || policy.is_active(replica)
    };
    let leaderless = policy.partitions_on(id).filter(|(_, _, state, _)| state.leader.is_none());
    records.extend(leaderless.filter_map(|(topic, id, state, _)| policy.change(topic, id, state).elect(can_lead)));
    records
}

/// Moves leadership off the broker and takes it out of every ISR, while it still serves.
pub(super) fn begin_shutdown(policy: &Policy<'_>, id: BrokerId) -> Vec<MetadataRecord> {
    let mut records = withdraw(policy, id, |_| Departure::Clean);
    records.extend(change(policy.image(), id, |change| change.enters_controlled_shutdown = true));
    records
}

/// Removes the broker from the cluster; its copies count for nothing. If its id is registered again it is not
/// cordoned.
pub(super) fn unregister(policy: &Policy<'_>, id: BrokerId) -> Result<Vec<MetadataRecord>, BrokerEpochError> {
    let broker_epoch = registered(policy.image(), id)?.epoch;
    let mut records = withdraw(policy, id, |_| Departure::Unclean);
    let resource = ConfigResource::broker(id);
    let stored = policy.image().configs.get(&resource);
    if stored.is_some_and(|stored| stored.contains_key(CORDONED)) {
        records.push(configs::record(&resource, CORDONED, None));
    }
    records.push(MetadataRecord::UnregisterBroker { broker_id: id, broker_epoch });
    Ok(records)
}

/// Takes the broker out of every ISR and moves leadership off it. `departure` is asked for each of its replicas.
pub(super) fn withdraw(
    policy: &Policy<'_>,
    id: BrokerId,
    departure: impl Fn(Replica) -> Departure,
) -> Vec<MetadataRecord> {
    let can_lead = |replica: Replica| replica.broker != id && policy.is_active(replica);
    let withdrawn = policy.partitions_on(id).filter_map(|(topic, partition, state, replica)| {
        policy.change(topic, partition, state).without(id, departure(replica)).elect(can_lead)
    });
    withdrawn.collect()
}

/// `None`: the broker is not registered, so there is nothing to change.
fn change(
    image: &Image,
    id: BrokerId,
    edit: impl FnOnce(&mut BrokerRegistrationChangeRecord),
) -> Option<MetadataRecord> {
    let mut record = BrokerRegistrationChangeRecord {
        broker_id: id,
        broker_epoch: image.brokers.get(&id)?.epoch,
        fenced: None,
        enters_controlled_shutdown: false,
        log_dirs: Vec::new(),
    };
    edit(&mut record);
    Some(MetadataRecord::BrokerRegistrationChange(record))
}

#[cfg(test)]
#[path = "brokers_test.rs"]
mod tests;
