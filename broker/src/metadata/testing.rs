//! Images for tests of decisions.

use protocol::metadata_records::{
    BrokerRegistrationChangeRecord, Endpoint, LeaderRecoveryState, MetadataRecord, PartitionRecord,
    RegisterBrokerRecord,
};
use protocol::types::{
    BrokerEpoch, BrokerId, DirectoryId, IncarnationId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId,
};
use uuid::Uuid;

use super::{Image, replay};

/// The volume of a broker of these tests.
pub(crate) fn volume(broker: i32) -> DirectoryId {
    DirectoryId(Uuid::from_u128(1000 + u128::try_from(broker).unwrap()))
}

/// Replays all of them, each at the next offset.
pub(crate) fn apply(image: &mut Image, records: &[MetadataRecord]) {
    for record in records {
        replay(image, record).unwrap();
        image.end_offset = image.end_offset.advance(1);
    }
}

/// Brokers 0 to n−1, unfenced.
pub(crate) fn cluster(brokers: i32) -> Image {
    let mut image = Image::empty();
    for id in (0..brokers).map(BrokerId) {
        let broker_epoch = BrokerEpoch(image.end_offset.0);
        let register = MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: id,
            incarnation_id: IncarnationId::default(),
            broker_epoch,
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security_protocol: 0,
            }],
            features: Vec::new(),
            rack: None,
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: vec![volume(id.0)],
        });
        let unfence = MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch,
            fenced: Some(false),
            enters_controlled_shutdown: false,
            log_dirs: Vec::new(),
        });
        apply(&mut image, &[register, unfence]);
    }
    image
}

pub(crate) fn fence(image: &mut Image, broker: i32) {
    let broker_id = BrokerId(broker);
    let fenced = MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id,
        broker_epoch: image.brokers[&broker_id].epoch,
        fenced: Some(true),
        enters_controlled_shutdown: false,
        log_dirs: Vec::new(),
    });
    apply(image, &[fenced]);
}

/// A topic with one partition on these brokers, led by the first.
pub(crate) fn add_topic(image: &mut Image, name: &str, replicas: &[i32]) -> TopicId {
    let topic_id = TopicId(Uuid::from_u128(u128::try_from(image.topics.len()).unwrap() + 1));
    apply(image, &[MetadataRecord::Topic { name: name.to_owned(), topic_id }]);
    add_partition(image, topic_id, replicas);
    topic_id
}

/// The next partition of the topic.
pub(crate) fn add_partition(image: &mut Image, topic_id: TopicId, replicas: &[i32]) {
    let brokers: Vec<_> = replicas.iter().copied().map(BrokerId).collect();
    let partition = PartitionRecord {
        partition_id: PartitionId(image.topics[&topic_id].partitions.len().try_into().unwrap()),
        topic_id,
        isr: brokers.clone(),
        leader: brokers.first().copied(),
        replicas: brokers,
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        directories: replicas.iter().copied().map(volume).collect(),
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    };
    apply(image, &[MetadataRecord::Partition(partition)]);
}
