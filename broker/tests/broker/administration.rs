//! What the APIs for topics, partitions and the cluster refuse, and with which of Kafka's error codes.

use kafka_protocol::ResponseError::{
    self, ElectionNotNeeded, InvalidPartitions, InvalidReplicaAssignment, InvalidRequest, InvalidUpdateVersion,
    MismatchedEndpointType, NoReassignmentInProgress, PolicyViolation, UnknownTopicId, UnknownTopicOrPartition,
    UnsupportedEndpointType,
};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeQuorumRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest, TopicName,
    UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::harness::Site;
use crate::harness::wire::Wire;

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// 0 if nothing is refused.
fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}

/// With a topic `t` of one partition.
fn client(site: &Site) -> (Wire, Uuid) {
    let mut wire = Wire::connect(site.port);
    let topic = CreatableTopic::default().with_name(name("t")).with_num_partitions(1).with_replication_factor(1);
    let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    (wire, response.topics[0].topic_id)
}

#[test]
fn refusals_have_kafkas_error_codes() {
    let site = Site::new(&[]);
    let broker = site.start();
    let (mut wire, topic_id) = client(&site);
    delete_topics(&mut wire, topic_id);
    create_partitions(&mut wire);
    elect_leaders(&mut wire);
    alter_partition_reassignments(&mut wire);
    list_partition_reassignments(&mut wire);
    describe_cluster(&mut wire);
    describe_quorum(&mut wire);
    update_features(&mut wire);
    assert!(broker.stop().success());
}

fn delete_topics(wire: &mut Wire, id: Uuid) {
    let by = |name: Option<&'static str>, id| {
        let name = name.map(|name| TopicName(StrBytes::from_static_str(name)));
        DeleteTopicState::default().with_name(name).with_topic_id(id)
    };
    let missing = Uuid::from_u128(7);
    let table = [
        (vec![by(Some("x"), Uuid::nil())], vec![UnknownTopicOrPartition]),
        (vec![by(None, missing)], vec![UnknownTopicId]),
        (vec![by(None, Uuid::nil())], vec![InvalidRequest]),
        (vec![by(Some("t"), id)], vec![InvalidRequest]),
        (vec![by(Some("t"), Uuid::nil()), by(Some("t"), Uuid::nil())], vec![InvalidRequest]),
        (vec![by(None, id), by(None, id)], vec![InvalidRequest]),
        (vec![by(Some("t"), Uuid::nil()), by(None, id)], vec![InvalidRequest, InvalidRequest]),
        (vec![by(Some("x"), Uuid::nil()), by(Some("x"), Uuid::nil())], vec![InvalidRequest]),
    ];
    for (topics, errors) in table {
        let shown = format!("{topics:?}");
        let response = wire.call(6, &DeleteTopicsRequest::default().with_topics(topics));
        let found = response.responses.iter().map(|result| result.error_code);
        assert!(found.eq(errors.iter().map(ResponseError::code)), "{shown}: {:?}", response.responses);
    }
}

fn create_partitions(wire: &mut Wire) {
    let topic = |topic: &str, count: i32, assignments: Option<&[&[i32]]>| {
        let assignment = |brokers: &&[i32]| CreatePartitionsAssignment::default().with_broker_ids(ids(brokers));
        let assignments = assignments.map(|lists| lists.iter().map(assignment).collect());
        CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(assignments)
    };
    let table = [
        (topic("x", 2, None), UnknownTopicOrPartition),
        (topic("t", 1, None), InvalidPartitions),
        (topic("t", 0, None), InvalidPartitions),
        (topic("t", -1, None), InvalidPartitions),
        (topic("t", i32::MAX, None), PolicyViolation),
        (topic("t", 3, Some(&[&[1]])), InvalidReplicaAssignment),
        (topic("t", 2, Some(&[])), InvalidReplicaAssignment),
        (topic("t", 2, Some(&[&[]])), InvalidReplicaAssignment),
        (topic("t", 2, Some(&[&[2]])), InvalidReplicaAssignment),
        (topic("t", 2, Some(&[&[1, 1]])), InvalidReplicaAssignment),
    ];
    for (topic, error) in table {
        let shown = format!("{topic:?}");
        let results = wire.call(3, &CreatePartitionsRequest::default().with_topics(vec![topic])).results;
        assert_eq!(results[0].error_code, error.code(), "{shown}: {:?}", results[0].error_message);
    }
    let twice = vec![topic("t", 2, None), topic("t", 3, None)];
    let results = wire.call(3, &CreatePartitionsRequest::default().with_topics(twice)).results;
    assert_eq!(results.iter().map(|result| result.error_code).collect::<Vec<_>>(), [InvalidRequest.code()]);
}

fn elect_leaders(wire: &mut Wire) {
    let (preferred, unclean) = (0, 1);
    let table = [
        (preferred, "t", 0, ElectionNotNeeded, None),
        (unclean, "t", 0, ElectionNotNeeded, None),
        (preferred, "t", 1, UnknownTopicOrPartition, None),
        (preferred, "t", -1, UnknownTopicOrPartition, None),
        (unclean, "x", 0, UnknownTopicOrPartition, None),
        (2, "t", 0, InvalidRequest, Some(InvalidRequest)),
        (-1, "t", 0, InvalidRequest, Some(InvalidRequest)),
    ];
    for (election_type, topic, partition, error, of_the_whole) in table {
        let wanted = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![partition]);
        let request =
            ElectLeadersRequest::default().with_election_type(election_type).with_topic_partitions(Some(vec![wanted]));
        let response = wire.call(2, &request);
        let found = response.replica_election_results[0].partition_result[0].error_code;
        assert_eq!(
            (found, response.error_code),
            (error.code(), code(of_the_whole)),
            "{election_type} {topic} {partition}"
        );
    }
}

fn alter_partition_reassignments(wire: &mut Wire) {
    let one: &[i32] = &[1];
    let table = [
        ("t", 0, Some(one), true, None),
        ("t", 0, Some(one), false, None),
        ("x", 0, Some(one), true, Some(UnknownTopicOrPartition)),
        ("t", 1, Some(one), true, Some(UnknownTopicOrPartition)),
        ("t", 0, None, true, Some(NoReassignmentInProgress)),
        ("t", 0, Some(&[]), true, Some(InvalidReplicaAssignment)),
        ("t", 0, Some(&[2]), true, Some(InvalidReplicaAssignment)),
        ("t", 0, Some(&[1, 2]), true, Some(InvalidReplicaAssignment)),
        ("t", 0, Some(&[1, 1]), true, Some(InvalidReplicaAssignment)),
        ("t", 0, Some(&[-1]), true, Some(InvalidReplicaAssignment)),
    ];
    for (topic, partition, replicas, factor_may_change, error) in table {
        let wanted = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas.map(ids));
        let wanted = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![wanted]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_allow_replication_factor_change(factor_may_change)
            .with_topics(vec![wanted]);
        let response = wire.call(1, &request);
        let found = &response.responses[0].partitions[0];
        assert_eq!((response.error_code, found.error_code), (0, code(error)), "{topic} {partition} {replicas:?}");
        assert_eq!(response.allow_replication_factor_change, factor_may_change);
    }
}

fn list_partition_reassignments(wire: &mut Wire) {
    let wanted =
        |topic| ListPartitionReassignmentsTopics::default().with_name(name(topic)).with_partition_indexes(vec![0, 9]);
    let request = ListPartitionReassignmentsRequest::default().with_topics(Some(vec![wanted("t"), wanted("x")]));
    let response = wire.call(0, &request);
    assert_eq!((response.error_code, response.topics.len()), (0, 0), "none is no error");
}

fn describe_cluster(wire: &mut Wire) {
    for (endpoint_type, error) in [(1, None), (2, Some(MismatchedEndpointType)), (3, Some(UnsupportedEndpointType))] {
        let response = wire.call(1, &DescribeClusterRequest::default().with_endpoint_type(endpoint_type));
        assert_eq!(response.error_code, code(error), "endpoint type {endpoint_type}");
    }
}

fn describe_quorum(wire: &mut Wire) {
    let partition = |index| PartitionData::default().with_partition_index(index);
    let topic = |topic, partitions| TopicData::default().with_topic_name(name(topic)).with_partitions(partitions);
    let table = [
        vec![topic("t", vec![partition(0)])],
        vec![topic("__cluster_metadata", vec![partition(1)])],
        vec![topic("__cluster_metadata", vec![partition(0), partition(0)])],
        vec![topic("__cluster_metadata", vec![partition(0)]), topic("t", vec![partition(0)])],
    ];
    for topics in table {
        let shown = format!("{topics:?}");
        let response = wire.call(2, &DescribeQuorumRequest::default().with_topics(topics));
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        assert!(partitions.all(|partition| partition.error_code == UnknownTopicOrPartition.code()), "{shown}");
    }
    assert!(wire.call(2, &DescribeQuorumRequest::default()).topics.is_empty());
}

fn update_features(wire: &mut Wire) {
    let (upgrade, downgrade, unsafe_downgrade) = (1, 2, 3);
    let table = [
        ("metadata.version", 27, upgrade, None),
        ("kraft.version", 1, upgrade, None),
        ("group.version", 0, downgrade, None),
        ("metadata.version", 28, upgrade, Some(InvalidUpdateVersion)),
        ("metadata.version", 26, downgrade, Some(InvalidUpdateVersion)),
        ("metadata.version", 7, unsafe_downgrade, Some(InvalidUpdateVersion)),
        ("metadata.version", 27, 0, Some(InvalidUpdateVersion)),
        ("kraft.version", 0, downgrade, Some(InvalidUpdateVersion)),
        ("group.version", 1, upgrade, Some(InvalidUpdateVersion)),
        ("transaction.version", 2, upgrade, Some(InvalidUpdateVersion)),
        ("share.version", 1, upgrade, Some(InvalidUpdateVersion)),
        ("x", 0, downgrade, Some(InvalidUpdateVersion)),
    ];
    for (feature, level, upgrade_type, error) in table {
        let update = FeatureUpdateKey::default()
            .with_feature(StrBytes::from_static_str(feature))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type);
        for validate_only in [true, false] {
            let request = UpdateFeaturesRequest::default()
                .with_feature_updates(vec![update.clone()])
                .with_validate_only(validate_only);
            let response = wire.call(2, &request);
            assert_eq!(response.error_code, code(error), "{feature}={level}: {:?}", response.error_message);
        }
    }
}

/// On a controller listener controllers are described (KIP-919).
#[test]
fn a_controllers_listener_describes_the_quorum() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.controller_port);
    let response = wire.call(1, &DescribeClusterRequest::default().with_endpoint_type(2));
    assert_eq!((response.error_code, response.endpoint_type, response.controller_id), (0, 2, BrokerId(1)));
    assert_eq!(response.brokers[0].port, i32::from(site.controller_port));
    let brokers = wire.call(1, &DescribeClusterRequest::default());
    assert_eq!(brokers.error_code, MismatchedEndpointType.code());
    let topic = TopicData::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default()]);
    let quorum = wire.call(2, &DescribeQuorumRequest::default().with_topics(vec![topic]));
    assert_eq!(quorum.nodes[0].listeners[0].port, site.controller_port);
    assert_eq!(quorum.topics[0].partitions[0].current_voters.len(), 1);
}
