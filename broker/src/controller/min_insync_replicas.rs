//! `min.insync.replicas`: leader and controller must use the same value, or a replica counts as eligible to lead that
//! lacks committed records. So the cluster-wide value is in the metadata, and the batch that changes it, or a topic's
//! own, also holds the resulting changes of the ELR. Pure.

use protocol::config::{self, Dynamic, Scope, Values};
use protocol::metadata_records::{ConfigResourceType, MetadataRecord};
use protocol::types::BrokerId;

use super::configs::record;
use super::partition_change::Election;
use super::policy::{MIN_INSYNC_REPLICAS as NAME, Policy};
use crate::metadata::{ConfigResource, Image, TopicImage, replay};

/// The cluster-wide options that the metadata does not have yet, with the values of the file.
pub(super) fn missing_cluster_values(image: &Image, file: &Values) -> Vec<MetadataRecord> {
    let resource = ConfigResource::all_brokers();
    let stored = image.configs.get(&resource);
    let is_missing = |name: &str| stored.is_none_or(|stored| !stored.contains_key(name));
    config::options(Scope::Broker)
        .filter(|option| option.dynamic == Dynamic::ClusterOnly && is_missing(option.name))
        .filter_map(|option| Some(record(&resource, option.name, Some(file.raw(option.name)?.to_owned()))))
        .collect()
}

/// The file's value and the cluster's, where they differ.
pub(super) fn overruled(image: &Image, file: &Values) -> Option<(String, String)> {
    let stored = image.configs.get(&ConfigResource::all_brokers())?.get(NAME)?;
    let of_file = file.raw(NAME).filter(|raw| file.is_set(NAME) && *raw != stored)?;
    Some((of_file.to_owned(), stored.clone()))
}

/// With the options of `image` a leader may commit without replicas that were in the ELR: they are removed from it.
pub(super) fn follow(
    image: &Image,
    configuration: &[MetadataRecord],
    id: BrokerId,
    file: &Values,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let mut image = image.clone();
    for record in configuration {
        let replayed = replay(&mut image, record);
        assert!(replayed.is_ok(), "the controller decided on what its image cannot replay: {replayed:?}");
    }
    let policy = Policy::new(&image, id, file);
    let concerned = |topic: &TopicImage| configuration.iter().any(|record| concerns(record, topic));
    for (topic, partition, state) in image.partitions().filter(|(topic, ..)| concerned(topic)) {
        if !state.eligible_leader_replicas.is_empty() {
            let change = policy.change(topic, partition, state).by(Election::Online);
            records.extend(change.elect(|replica| Some(replica.broker) == state.leader));
        }
    }
    records
}

fn concerns(record: &MetadataRecord, topic: &TopicImage) -> bool {
    let MetadataRecord::Config { resource_type, resource_name, name, .. } = record else { return false };
    name == NAME
        && match resource_type {
            ConfigResourceType::Topic => *resource_name == topic.name,
            ConfigResourceType::Broker => resource_name.is_empty(),
            ConfigResourceType::BrokerLogger | ConfigResourceType::ClientMetrics | ConfigResourceType::Group => false,
        }
}

#[cfg(test)]
mod tests {
    use protocol::metadata_records::PartitionChangeRecord;
    use protocol::types::PartitionId;

    use super::*;
    use crate::metadata::testing::{add_topic, apply, cluster};

    fn file() -> Values {
        Values::defaults(Scope::Broker)
    }

    fn set(resource: &ConfigResource, value: &str) -> MetadataRecord {
        record(resource, NAME, Some(value.to_owned()))
    }

    #[test]
    fn the_first_file_gives_the_value_and_no_later_one() {
        let mut image = cluster(1);
        let mut file = file();
        file.set(NAME, "2").unwrap();
        let records = missing_cluster_values(&image, &file);
        assert_eq!(records, [set(&ConfigResource::all_brokers(), "2")]);
        apply(&mut image, &records);
        file.set(NAME, "3").unwrap();
        assert_eq!(missing_cluster_values(&image, &file), []);
        assert_eq!(overruled(&image, &file), Some(("3".to_owned(), "2".to_owned())));
        let (values, errors) = image.broker_values(BrokerId(0), &file);
        assert_eq!((values.get_int(NAME), errors), (2, vec![]));
    }

    #[test]
    fn replicas_that_a_leader_need_not_wait_for_are_no_longer_eligible() {
        let table = [
            (ConfigResource::all_brokers(), "1", &["a", "b"][..]),
            (ConfigResource::topic("a"), "1", &["a"]),
            (ConfigResource::all_brokers(), "3", &[]),
            (ConfigResource::broker(BrokerId(1)), "1", &[]),
        ];
        for (resource, value, topics) in table {
            let mut image = cluster(3);
            apply(&mut image, &[set(&ConfigResource::all_brokers(), "2")]);
            for name in ["a", "b"] {
                add_topic(&mut image, name, &[0, 1, 2]);
                let shrunk = PartitionChangeRecord {
                    isr: Some(vec![BrokerId(0)]),
                    eligible_leader_replicas: Some(vec![BrokerId(1), BrokerId(2)]),
                    ..PartitionChangeRecord::new(image.topic(name).unwrap().id, PartitionId(0))
                };
                apply(&mut image, &[MetadataRecord::PartitionChange(shrunk)]);
            }
            let configuration = [set(&resource, value)];
            let records = follow(&image, &configuration, BrokerId(0), &file());
            apply(&mut image, &configuration);
            apply(&mut image, &records);
            let was_cleared = |name: &&str| {
                let partition = image.topic(name).unwrap().partitions[0].clone();
                assert_eq!((partition.leader, partition.isr), (Some(BrokerId(0)), vec![BrokerId(0)]));
                partition.eligible_leader_replicas.is_empty()
            };
            let cleared: Vec<_> = ["a", "b"].into_iter().filter(was_cleared).collect();
            assert_eq!(cleared, topics, "{resource:?}={value}");
        }
    }
}
