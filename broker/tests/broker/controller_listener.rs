//! Requests that other nodes, or impostors, send to a controller and that must be refused: with the right error, and
//! without changing the cluster.

use bytes::Bytes;
use kafka_protocol::ResponseError::{
    self, BrokerIdNotRegistered, DuplicateBrokerRegistration, FencedLeaderEpoch, InconsistentClusterId,
    IneligibleReplica, InvalidRegistration, InvalidRequest, InvalidUpdateVersion, InvalidVoterKey, NotController,
    StaleBrokerEpoch, UnknownLeaderEpoch, UnknownTopicId, UnknownTopicOrPartition, UnsupportedVersion, VoterNotFound,
};
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::broker_registration_request::Feature;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterPartitionRequest, BeginQuorumEpochRequest,
    BrokerHeartbeatRequest, BrokerRegistrationRequest, EndQuorumEpochRequest, EnvelopeRequest, FetchRequest,
    FetchSnapshotRequest, MetadataRequest, MetadataResponse, RemoveRaftVoterRequest, TopicName,
    UnregisterBrokerRequest, UpdateRaftVoterRequest, add_raft_voter_request, begin_quorum_epoch_request,
    end_quorum_epoch_request, fetch_request, fetch_snapshot_request, update_raft_voter_request,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::DirectoryId;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::Site;
use crate::harness::calls::name;
use crate::harness::http::get;
use crate::harness::wire::{Wire, create};

const TOKEN: &str = "right";
const STRANGER: i32 = 9;

/// The only node of a cluster, and its registration.
struct Target {
    site: Site,
    wire: Wire,
    cluster: StrBytes,
    directory: Uuid,
    broker_epoch: i64,
    epoch: i32,
    topic: Uuid,
}

/// The state that must not change.
#[derive(Debug, PartialEq)]
struct Cluster {
    view: Value,
    metadata: MetadataResponse,
}

impl Target {
    fn new(site: Site) -> Self {
        create(&mut Wire::connect(site.port), "t", &[]);
        let view = get(site.management_port, "/v1/cluster", Some(TOKEN)).json();
        let broker = &view["brokers"][0];
        let directory: DirectoryId = broker["directories"][0].as_str().unwrap().parse().unwrap();
        let target = Self {
            wire: Wire::connect(site.controller_port),
            cluster: StrBytes::from_string(view["clusterId"].as_str().unwrap().to_owned()),
            directory: directory.0,
            broker_epoch: broker["epoch"].as_i64().unwrap(),
            epoch: view["controllerEpoch"].as_i64().unwrap().try_into().unwrap(),
            topic: Uuid::nil(),
            site,
        };
        let topic = target.cluster().metadata.topics[0].topic_id;
        Self { topic, ..target }
    }

    fn cluster(&self) -> Cluster {
        let view = get(self.site.management_port, "/v1/cluster", Some(TOKEN)).json();
        let metadata = Wire::connect(self.site.port).call(12, &MetadataRequest::default().with_topics(None));
        Cluster { view, metadata }
    }

    fn register(&mut self, change: impl FnOnce(BrokerRegistrationRequest) -> BrokerRegistrationRequest) -> i16 {
        let feature = |name: &'static str, level| {
            Feature::default()
                .with_name(StrBytes::from_static_str(name))
                .with_min_supported_version(level)
                .with_max_supported_version(level)
        };
        let levels = [("metadata.version", 27), ("kraft.version", 1), ("eligible.leader.replicas.version", 1)];
        let right = BrokerRegistrationRequest::default()
            .with_broker_id(STRANGER.into())
            .with_cluster_id(self.cluster.clone())
            .with_incarnation_id(Uuid::from_u128(9))
            .with_features(levels.map(|(name, level)| feature(name, level)).to_vec())
            .with_log_dirs(vec![Uuid::from_u128(9)])
            .with_previous_broker_epoch(-1);
        self.wire.call(4, &change(right)).error_code
    }

    fn heartbeat(&mut self, id: i32, epoch: i64) -> i16 {
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(id.into())
            .with_broker_epoch(epoch)
            .with_current_metadata_offset(i64::MAX)
            .with_want_fence(true);
        self.wire.call(1, &request).error_code
    }

    /// Sent as the leader of partition 0 of the topic.
    fn alter(&mut self, broker_epoch: i64, topic: Uuid, partition: PartitionData) -> i16 {
        let topic = TopicData::default().with_topic_id(topic).with_partitions(vec![partition]);
        let request = AlterPartitionRequest::default()
            .with_broker_id(1.into())
            .with_broker_epoch(broker_epoch)
            .with_topics(vec![topic]);
        let response = self.wire.call(3, &request);
        match response.error_code {
            0 => response.topics[0].partitions[0].error_code,
            refused => refused,
        }
    }
}

fn isr(members: &[(i32, i64)]) -> PartitionData {
    let member =
        |(id, epoch): &(i32, i64)| BrokerState::default().with_broker_id((*id).into()).with_broker_epoch(*epoch);
    PartitionData::default().with_new_isr_with_epochs(members.iter().map(member).collect())
}

fn metadata_topic() -> TopicName {
    name("__cluster_metadata")
}

fn check(what: &str, found: i16, expected: ResponseError) {
    assert_eq!(found, expected.code(), "{what}: {:?}", ResponseError::try_from_code(found));
}

#[test]
fn brokers_that_are_not_what_they_say_are_refused_and_change_nothing() {
    let site = Site::new(&[]).with_token(TOKEN);
    let _broker = site.start();
    let mut target = Target::new(site);
    let before = target.cluster();
    let (directory, epoch, topic) = (target.directory, target.broker_epoch, target.topic);

    let other_cluster = |it: BrokerRegistrationRequest| it.with_cluster_id(StrBytes::from_static_str("another"));
    check("another cluster", target.register(other_cluster), InconsistentClusterId);
    let live = |it: BrokerRegistrationRequest| it.with_broker_id(1.into());
    check("the id of a broker that lives", target.register(live), DuplicateBrokerRegistration);
    let foreign = |it: BrokerRegistrationRequest| it.with_log_dirs(vec![directory]);
    check("the directory of another broker", target.register(foreign), InvalidRegistration);
    check("a negative id", target.register(|it| it.with_broker_id((-1).into())), InvalidRegistration);
    check("no directory", target.register(|it| it.with_log_dirs(Vec::new())), InvalidRegistration);
    check("no features", target.register(|it| it.with_features(Vec::new())), UnsupportedVersion);

    for stale in [-1, epoch - 1, epoch + 1, i64::MAX] {
        check("a heartbeat of another epoch", target.heartbeat(1, stale), StaleBrokerEpoch);
        let alone = isr(&[(1, epoch)]);
        check("an ISR of another epoch", target.alter(stale, topic, alone), StaleBrokerEpoch);
        let block = AllocateProducerIdsRequest::default().with_broker_id(1.into()).with_broker_epoch(stale);
        check("producer ids of another epoch", target.wire.call(0, &block).error_code, StaleBrokerEpoch);
    }
    check("a heartbeat of nobody", target.heartbeat(STRANGER, 1), BrokerIdNotRegistered);
    let nobody = UnregisterBrokerRequest::default().with_broker_id(STRANGER.into());
    check("nobody is unregistered", target.wire.call(0, &nobody).error_code, BrokerIdNotRegistered);

    let alone = isr(&[(1, epoch)]);
    let isrs = [
        ("of an unknown topic", Uuid::from_u128(5), alone.clone(), UnknownTopicId),
        ("of no partition", topic, alone.clone().with_partition_index(7), UnknownTopicOrPartition),
        ("of a former leadership", topic, alone.clone().with_leader_epoch(-1), FencedLeaderEpoch),
        ("of a later leadership", topic, alone.clone().with_leader_epoch(1), NotController),
        ("of a former state", topic, alone.clone().with_partition_epoch(-1), InvalidUpdateVersion),
        ("of a later state", topic, alone.with_partition_epoch(1), NotController),
        ("of nobody", topic, isr(&[]), InvalidRequest),
        ("of a stranger", topic, isr(&[(1, epoch), (STRANGER, 1)]), InvalidRequest),
        ("of another life of the broker", topic, isr(&[(1, epoch - 1)]), IneligibleReplica),
    ];
    for (what, topic, isr, expected) in isrs {
        check(&format!("an ISR {what}"), target.alter(epoch, topic, isr), expected);
    }
    for garbage in [Bytes::new(), Bytes::from_static(&[0; 3]), Bytes::from_static(&[0xff; 64])] {
        let envelope = EnvelopeRequest::default().with_request_data(garbage);
        check("an envelope of garbage", target.wire.call(0, &envelope).error_code, InvalidRequest);
    }
    let registration = Wire::encode_alone(1, 4, &BrokerRegistrationRequest::default().with_log_dirs(vec![directory]));
    let envelope = EnvelopeRequest::default().with_request_data(Bytes::from(registration).slice(4..));
    check("what clients do not send", target.wire.call(0, &envelope).error_code, InvalidRequest);
    assert_eq!(target.cluster(), before);
}

#[test]
fn voters_that_are_none_and_epochs_that_are_over_change_nothing() {
    let site = Site::new(&[]).with_token(TOKEN);
    let _broker = site.start();
    let mut target = Target::new(site);
    let before = target.cluster();
    let (directory, epoch, wire) = (target.directory, target.epoch, &mut target.wire);
    let other = Some(StrBytes::from_static_str("another"));

    let mut begin = |leader: i32, epoch: i32, directory: Uuid| {
        let partition = begin_quorum_epoch_request::PartitionData::default()
            .with_voter_directory_id(directory)
            .with_leader_id(leader.into())
            .with_leader_epoch(epoch);
        let topic = begin_quorum_epoch_request::TopicData::default()
            .with_topic_name(metadata_topic())
            .with_partitions(vec![partition]);
        let request = BeginQuorumEpochRequest::default().with_voter_id(1.into()).with_topics(vec![topic]);
        wire.call(1, &request).topics[0].partitions[0].error_code
    };
    check("a leader of a former epoch", begin(2, epoch - 1, directory), FencedLeaderEpoch);
    check("a second leader", begin(2, epoch, directory), InvalidRequest);
    check("itself", begin(1, epoch + 1, directory), InvalidRequest);
    check("another volume", begin(2, epoch + 1, Uuid::from_u128(5)), InvalidVoterKey);

    let mut end = |leader: i32, epoch: i32| {
        let partition =
            end_quorum_epoch_request::PartitionData::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
        let topic = end_quorum_epoch_request::TopicData::default()
            .with_topic_name(metadata_topic())
            .with_partitions(vec![partition]);
        wire.call(1, &EndQuorumEpochRequest::default().with_topics(vec![topic])).topics[0].partitions[0].error_code
    };
    check("the end of a former epoch", end(2, epoch - 1), FencedLeaderEpoch);
    check("the end of another's epoch", end(2, epoch), InvalidRequest);
    check("its own end", end(1, epoch), InvalidRequest);

    let mut fetch = |epoch: i32| {
        let partition = fetch_request::FetchPartition::default()
            .with_current_leader_epoch(epoch)
            .with_last_fetched_epoch(0)
            .with_replica_directory_id(Uuid::from_u128(9))
            .with_high_watermark(-1);
        let topic =
            fetch_request::FetchTopic::default().with_topic_id(Uuid::from_u128(1)).with_partitions(vec![partition]);
        let replica = fetch_request::ReplicaState::default().with_replica_id(STRANGER.into());
        let request = FetchRequest::default().with_replica_state(replica).with_topics(vec![topic]);
        wire.call(18, &request).responses[0].partitions[0].error_code
    };
    check("a fetch of a former epoch", fetch(epoch - 1), FencedLeaderEpoch);
    check("a fetch of a later epoch", fetch(epoch + 1), UnknownLeaderEpoch);
    let mut snapshot = |epoch: i32| {
        let partition = fetch_snapshot_request::PartitionSnapshot::default().with_current_leader_epoch(epoch);
        let topic = fetch_snapshot_request::TopicSnapshot::default()
            .with_name(metadata_topic())
            .with_partitions(vec![partition]);
        let request = FetchSnapshotRequest::default().with_replica_id(STRANGER.into()).with_topics(vec![topic]);
        wire.call(1, &request).topics[0].partitions[0].error_code
    };
    check("a snapshot of a former epoch", snapshot(epoch - 1), FencedLeaderEpoch);
    check("a snapshot of a later epoch", snapshot(epoch + 1), UnknownLeaderEpoch);

    let listener = || {
        let listener = add_raft_voter_request::Listener::default().with_name(StrBytes::from_static_str("CONTROLLER"));
        listener.with_host(StrBytes::from_static_str("127.0.0.1")).with_port(9093)
    };
    let add = AddRaftVoterRequest::default().with_cluster_id(other.clone()).with_voter_id(STRANGER);
    let add = add.with_voter_directory_id(Uuid::from_u128(9)).with_listeners(vec![listener()]);
    check("a voter for another cluster", wire.call(0, &add).error_code, InconsistentClusterId);
    check("a voter that is no controller", wire.call(0, &add.with_cluster_id(None)).error_code, InvalidRequest);
    let remove = |cluster, id, directory| {
        let request = RemoveRaftVoterRequest::default().with_cluster_id(cluster).with_voter_id(id);
        request.with_voter_directory_id(directory)
    };
    check("another cluster's voter", wire.call(0, &remove(other, 1, directory)).error_code, InconsistentClusterId);
    check("who does not vote", wire.call(0, &remove(None, STRANGER, directory)).error_code, VoterNotFound);
    check("another volume's vote", wire.call(0, &remove(None, 1, Uuid::from_u128(5))).error_code, VoterNotFound);
    let listener = update_raft_voter_request::Listener::default().with_name(StrBytes::from_static_str("CONTROLLER"));
    let mut update = |epoch: i32, id: i32| {
        let request = UpdateRaftVoterRequest::default().with_current_leader_epoch(epoch).with_voter_id(id);
        let levels = update_raft_voter_request::KRaftVersionFeature::default().with_max_supported_version(1);
        let request = request.with_voter_directory_id(Uuid::from_u128(9)).with_listeners(vec![listener.clone()]);
        let request = request.with_k_raft_version_feature(levels);
        wire.call(0, &request.with_cluster_id(None)).error_code
    };
    check("an update of a former epoch", update(epoch - 1, 1), FencedLeaderEpoch);
    check("an update of a later epoch", update(epoch + 1, 1), UnknownLeaderEpoch);
    check("an update of who does not vote", update(epoch, STRANGER), VoterNotFound);
    assert_eq!(target.cluster(), before);
}
