//! Converts an image to the records that lead to it: the content of a snapshot.

use protocol::metadata_records::{MetadataRecord, PartitionRecord, RegisterBrokerRecord};
use protocol::types::{BrokerEpoch, BrokerId, PartitionId, ProducerId, TopicId};

use super::image::{BrokerImage, Image, PartitionImage};

/// Its level is a control record (KIP-853).
const KRAFT_VERSION: &str = "kraft.version";
/// Its level is the first record, because it decides how the others are read.
const METADATA_VERSION: &str = "metadata.version";

impl Image {
    /// In an order in which each can be replayed. The voters and kraft.version are control records and not included.
    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        let Self {
            end_offset: _,
            epoch: _,
            features,
            voters: _,
            brokers,
            controllers,
            topics,
            topic_ids,
            replica_counts: _,
            metric_names: _,
            configs,
            next_producer_id,
        } = self;
        let level = |(name, level): (&String, &i16)| MetadataRecord::FeatureLevel { name: name.clone(), level: *level };
        let first = features.get_key_value(METADATA_VERSION).map(level);
        let others = features.iter().filter(|(name, _)| ![KRAFT_VERSION, METADATA_VERSION].contains(&name.as_str()));
        let brokers = brokers.iter().map(|(id, broker)| registration(*id, broker));
        let controllers = controllers.values().cloned().map(MetadataRecord::RegisterController);
        let topics = topic_ids.values().filter_map(|id| topics.get(id)).flat_map(|topic| {
            let created = MetadataRecord::Topic { name: topic.name.clone(), topic_id: topic.id };
            let partitions = topic.partitions().map(|(id, partition)| partition_record(topic.id, id, partition));
            std::iter::once(created).chain(partitions)
        });
        let configs = configs.iter().flat_map(|(resource, options)| {
            options.iter().map(|(name, value)| MetadataRecord::Config {
                resource_type: resource.kind,
                resource_name: resource.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            })
        });
        let producer_ids = (*next_producer_id != ProducerId(0)).then_some(MetadataRecord::ProducerIds {
            broker_id: BrokerId(-1),
            broker_epoch: BrokerEpoch(-1),
            next_producer_id: *next_producer_id,
        });
        first
            .into_iter()
            .chain(others.map(level))
            .chain(brokers)
            .chain(controllers)
            .chain(topics)
            .chain(configs)
            .chain(producer_ids)
    }
}

fn registration(id: BrokerId, broker: &BrokerImage) -> MetadataRecord {
    let BrokerImage { epoch, incarnation, directories, endpoints, rack, fenced, in_controlled_shutdown } = broker;
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: *incarnation,
        broker_epoch: *epoch,
        endpoints: endpoints.clone(),
        features: Vec::new(),
        rack: rack.clone(),
        fenced: *fenced,
        in_controlled_shutdown: *in_controlled_shutdown,
        log_dirs: directories.clone(),
    })
}

fn partition_record(topic_id: TopicId, partition_id: PartitionId, partition: &PartitionImage) -> MetadataRecord {
    let PartitionImage {
        replicas,
        isr,
        adding,
        removing,
        leader,
        recovery_state,
        leader_epoch,
        partition_epoch,
        eligible_leader_replicas,
        last_known_elr,
    } = partition;
    MetadataRecord::Partition(PartitionRecord {
        partition_id,
        topic_id,
        replicas: replicas.iter().map(|replica| replica.broker).collect(),
        isr: isr.clone(),
        removing_replicas: removing.clone(),
        adding_replicas: adding.clone(),
        leader: *leader,
        leader_recovery_state: *recovery_state,
        leader_epoch: *leader_epoch,
        partition_epoch: *partition_epoch,
        directories: replicas.iter().map(|replica| replica.directory).collect(),
        eligible_leader_replicas: eligible_leader_replicas.clone(),
        last_known_elr: last_known_elr.clone(),
    })
}

#[cfg(test)]
mod tests {
    use protocol::metadata_records::ConfigResourceType;

    use super::super::replay;
    use super::super::testing::{add_topic, apply, cluster, fence};
    use super::*;

    #[test]
    fn the_records_of_an_image_add_up_to_it() {
        let mut image = cluster(3);
        add_topic(&mut image, "first", &[0, 1]);
        add_topic(&mut image, "second", &[2]);
        fence(&mut image, 1);
        let config = |resource_name: &str, name: &str| MetadataRecord::Config {
            resource_type: ConfigResourceType::Topic,
            resource_name: resource_name.to_owned(),
            name: name.to_owned(),
            value: Some("5".to_owned()),
        };
        let features = ["group.version", METADATA_VERSION];
        let levels = features.map(|name| MetadataRecord::FeatureLevel { name: name.to_owned(), level: 1 });
        apply(&mut image, &levels);
        let (broker_id, broker_epoch, next_producer_id) = (BrokerId(1), BrokerEpoch(2), ProducerId(1000));
        let ids = MetadataRecord::ProducerIds { broker_id, broker_epoch, next_producer_id };
        apply(&mut image, &[config("first", "retention.ms"), config("first", "retention.bytes"), ids]);

        let records: Vec<_> = image.records().collect();
        let mut again = Image { end_offset: image.end_offset, epoch: image.epoch, ..Image::empty() };
        for record in &records {
            replay(&mut again, record).unwrap();
        }
        // Maps are unordered, so each part is compared by itself.
        assert_eq!((&again.features, &again.brokers, &again.topics), (&image.features, &image.brokers, &image.topics));
        assert_eq!((&again.topic_ids, &again.configs), (&image.topic_ids, &image.configs));
        assert_eq!(again.next_producer_id, image.next_producer_id);
        let first = MetadataRecord::FeatureLevel { name: METADATA_VERSION.to_owned(), level: 1 };
        assert_eq!(records.first(), Some(&first));
    }
}
