//! The life of a second broker as the controller sees it: a client acts as that broker on the controller listener.

use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::alter_partition_response::PartitionData as Altered;
use kafka_protocol::messages::broker_registration_request::Feature;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerId,
    BrokerRegistrationRequest, ControllerRegistrationRequest, CreateTopicsRequest, DescribeClusterRequest,
    MetadataRequest, UnregisterBrokerRequest,
};
use kafka_protocol::protocol::StrBytes;
use protocol::api;
use uuid::Uuid;

use crate::harness::calls::name;
use crate::harness::wire::Wire;
use crate::harness::{Site, eventually};

const ID: i32 = 7;
const INCARNATION: Uuid = Uuid::from_u128(1);

const STALE_BROKER_EPOCH: i16 = 77;
const UNKNOWN_TOPIC_ID: i16 = 100;
const DUPLICATE_BROKER_REGISTRATION: i16 = 101;
const BROKER_ID_NOT_REGISTERED: i16 = 102;
const INCONSISTENT_CLUSTER_ID: i16 = 104;
const INVALID_REGISTRATION: i16 = 119;

struct Second {
    controller: Wire,
    client: Wire,
    cluster_id: StrBytes,
    epoch: i64,
}

fn versions(api_name: &str) -> impl Iterator<Item = i16> {
    let api = api::APIS.iter().find(|api| api.name == api_name).unwrap();
    api.versions.first..=api.versions.last
}

impl Second {
    fn new(site: &Site) -> Self {
        let mut client = Wire::connect(site.port);
        let cluster_id = client.call(0, &DescribeClusterRequest::default()).cluster_id;
        Self { controller: Wire::connect(site.controller_port), client, cluster_id, epoch: -1 }
    }

    fn registration(&self, incarnation: Uuid) -> BrokerRegistrationRequest {
        let feature = |name: &'static str, level| {
            Feature::default()
                .with_name(StrBytes::from_static_str(name))
                .with_min_supported_version(level)
                .with_max_supported_version(level)
        };
        BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(ID))
            .with_cluster_id(self.cluster_id.clone())
            .with_incarnation_id(incarnation)
            .with_features(vec![
                feature("metadata.version", 27),
                feature("kraft.version", 1),
                feature("eligible.leader.replicas.version", 1),
            ])
            .with_log_dirs(vec![Uuid::from_u128(77)])
            .with_previous_broker_epoch(-1)
    }

    /// Error and epoch.
    fn register(&mut self, version: i16, request: &BrokerRegistrationRequest) -> (i16, i64) {
        let response = self.controller.call(version, request);
        (response.error_code, response.broker_epoch)
    }

    fn heartbeat(&mut self, version: i16, offset: i64, wants_shutdown: bool) -> BrokerHeartbeatResponse {
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(ID))
            .with_broker_epoch(self.epoch)
            .with_current_metadata_offset(offset)
            .with_want_fence(false)
            .with_want_shut_down(wants_shutdown);
        self.controller.call(version, &request)
    }

    fn create_topic(&mut self, topic: &str) -> Uuid {
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(ID), BrokerId(1)]);
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment]);
        let request = CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]);
        let created = self.client.call(7, &request);
        assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
        created.topics[0].topic_id
    }

    fn leader(&mut self, topic: &str) -> BrokerId {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let metadata = self.client.call(9, &MetadataRequest::default().with_topics(Some(vec![topic])));
        metadata.topics[0].partitions[0].leader_id
    }

    /// Shrinks the ISR to this broker.
    fn shrink_isr(&mut self, topic: Uuid) -> Altered {
        let member = BrokerState::default().with_broker_id(BrokerId(ID)).with_broker_epoch(self.epoch);
        let partition = PartitionData::default().with_new_isr_with_epochs(vec![member]);
        let topic = TopicData::default().with_topic_id(topic).with_partitions(vec![partition]);
        let request = AlterPartitionRequest::default()
            .with_broker_id(BrokerId(ID))
            .with_broker_epoch(self.epoch)
            .with_topics(vec![topic]);
        let response = self.controller.call(3, &request);
        assert_eq!(response.error_code, 0);
        response.topics[0].partitions[0].clone()
    }
}

#[test]
fn a_broker_registers_serves_stops_and_goes() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut second = Second::new(&site);

    // It registers once, and only with everything required.
    for version in versions("BrokerRegistration") {
        let right = second.registration(INCARNATION);
        let wrong_cluster = right.clone().with_cluster_id(StrBytes::from_static_str("other"));
        assert_eq!(second.register(version, &wrong_cluster), (INCONSISTENT_CLUSTER_ID, -1));
        let two_volumes = right.clone().with_log_dirs(vec![Uuid::from_u128(77), Uuid::from_u128(78)]);
        assert_eq!(second.register(version, &two_volumes), (INVALID_REGISTRATION, -1));
        let (error, epoch) = second.register(version, &right);
        assert!(error == 0 && (second.epoch == -1 || second.epoch == epoch), "version {version}: {error} {epoch}");
        second.epoch = epoch;
        let other = second.registration(Uuid::from_u128(2));
        assert_eq!(second.register(version, &other), (DUPLICATE_BROKER_REGISTRATION, -1));
    }

    // It is unfenced as soon as it has replayed its registration.
    for version in versions("BrokerHeartbeat") {
        let behind = second.heartbeat(version, second.epoch - 1, false);
        let is_first = version == 0;
        assert_eq!((behind.error_code, behind.is_caught_up, behind.is_fenced), (0, false, is_first));
        let there = second.heartbeat(version, second.epoch, false);
        assert_eq!((there.error_code, there.is_caught_up, there.is_fenced), (0, true, false));
    }
    let block = |epoch| AllocateProducerIdsRequest::default().with_broker_id(BrokerId(ID)).with_broker_epoch(epoch);
    let first = second.controller.call(0, &block(second.epoch));
    let next = second.controller.call(0, &block(second.epoch));
    assert_eq!((first.error_code, first.producer_id_len), (0, 1000));
    assert_eq!(next.producer_id_start.0, first.producer_id_start.0 + 1000);
    assert_eq!(second.controller.call(0, &block(second.epoch - 1)).error_code, STALE_BROKER_EPOCH);
    let registered = second.controller.call(0, &ControllerRegistrationRequest::default().with_controller_id(ID));
    assert_eq!(registered.error_code, 0);

    // It leads, and proposes an ISR.
    let topic = second.create_topic("shrunk");
    assert_eq!(second.leader("shrunk"), BrokerId(ID));
    let altered = second.shrink_isr(topic);
    assert_eq!((altered.error_code, altered.isr, altered.partition_epoch), (0, vec![BrokerId(ID)], 1));
    assert_eq!(second.shrink_isr(Uuid::from_u128(9)).error_code, UNKNOWN_TOPIC_ID);

    // It hands over before it stops, and the next process need not wait.
    second.create_topic("handed-over");
    assert_eq!(second.leader("handed-over"), BrokerId(ID));
    eventually("the broker may stop", || {
        let answer = second.heartbeat(1, i64::MAX, true);
        assert_eq!(answer.error_code, 0);
        answer.should_shut_down.then_some(())
    });
    assert_eq!(second.leader("handed-over"), BrokerId(1));
    let former = second.epoch;
    let again = second.registration(Uuid::from_u128(2)).with_previous_broker_epoch(former);
    let (error, epoch) = second.register(4, &again);
    assert!(error == 0 && former < epoch, "{error} {epoch}");
    assert_eq!(second.heartbeat(1, i64::MAX, false).error_code, STALE_BROKER_EPOCH);

    // It is unregistered.
    let unregister = UnregisterBrokerRequest::default().with_broker_id(BrokerId(ID));
    assert_eq!(second.client.call(0, &unregister).error_code, 0);
    let unknown = second.client.call(0, &unregister);
    assert_eq!(unknown.error_code, BROKER_ID_NOT_REGISTERED);
    assert!(unknown.error_message.is_some_and(|message| message.contains("broker 7 is not registered")));
    second.epoch = epoch;
    assert_eq!(second.heartbeat(1, i64::MAX, false).error_code, BROKER_ID_NOT_REGISTERED);
}

#[test]
fn a_broker_that_falls_silent_is_fenced_and_others_lead() {
    let site = Site::new(&["broker.session.timeout.ms=600", "broker.heartbeat.interval.ms=100"]);
    let _broker = site.start();
    let mut second = Second::new(&site);
    let (error, epoch) = second.register(4, &second.registration(INCARNATION));
    assert_eq!(error, 0);
    second.epoch = epoch;
    assert!(!second.heartbeat(1, epoch, false).is_fenced);
    second.create_topic("t");
    assert_eq!(second.leader("t"), BrokerId(ID));
    eventually("another one leads", || (second.leader("t") == BrokerId(1)).then_some(()));
}
