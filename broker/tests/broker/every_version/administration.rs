//! Topics, partitions and the cluster itself.

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreatePartitionsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Client, TOPIC, name, versions};

/// `ELECTION_NOT_NEEDED`.
const NOT_NEEDED: i16 = 84;

impl Client {
    pub(super) fn create_partitions(&mut self) {
        for (version, count) in versions("CreatePartitions").zip(4..) {
            let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
            let topic = CreatePartitionsTopic::default()
                .with_name(name(&format!("{TOPIC}-2")))
                .with_count(count)
                .with_assignments((version % 2 == 0).then(|| vec![assignment]));
            for validate_only in [true, false] {
                let request = CreatePartitionsRequest::default()
                    .with_topics(vec![topic.clone()])
                    .with_timeout_ms(1000)
                    .with_validate_only(validate_only);
                let result = &self.wire.call(version, &request).results[0];
                assert_eq!(result.error_code, 0, "version {version}: {:?}", result.error_message);
            }
        }
    }

    pub(super) fn describe_topic_partitions(&mut self) {
        let topic = TopicRequest::default().with_name(name(&format!("{TOPIC}-2")));
        let request =
            DescribeTopicPartitionsRequest::default().with_topics(vec![topic]).with_response_partition_limit(2000);
        for version in versions("DescribeTopicPartitions") {
            let response = self.wire.call(version, &request);
            assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 7));
            assert!(response.topics[0].partitions.iter().all(|partition| partition.leader_id == BrokerId(1)));
        }
    }

    pub(super) fn elect_leaders(&mut self) {
        for version in versions("ElectLeaders") {
            let topic = TopicPartitions::default().with_topic(Self::topic()).with_partitions(vec![0]);
            let request = ElectLeadersRequest::default().with_timeout_ms(1000);
            let one = self.wire.call(version, &request.clone().with_topic_partitions(Some(vec![topic])));
            let result = &one.replica_election_results[0].partition_result[0];
            assert_eq!((one.error_code, result.error_code), (0, NOT_NEEDED), "version {version}");
            let all = self.wire.call(version, &request.with_topic_partitions(None));
            assert!(all.replica_election_results.iter().all(|topic| topic.partition_result.is_empty()));
        }
    }

    pub(super) fn reassignments(&mut self) {
        for version in versions("AlterPartitionReassignments") {
            let partition = ReassignablePartition::default().with_replicas(Some(vec![BrokerId(1)]));
            let topic = ReassignableTopic::default().with_name(Self::topic()).with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
            let response = self.wire.call(version, &request);
            assert_eq!((response.error_code, response.responses[0].partitions[0].error_code), (0, 0));
        }
        for version in versions("ListPartitionReassignments") {
            let response = self.wire.call(version, &ListPartitionReassignmentsRequest::default().with_topics(None));
            assert_eq!((response.error_code, response.topics.len()), (0, 0), "version {version}");
        }
    }

    pub(super) fn describe_cluster(&mut self) {
        for version in versions("DescribeCluster") {
            let asked = self.wire.call(
                version,
                &DescribeClusterRequest::default()
                    .with_include_cluster_authorized_operations(true)
                    .with_include_fenced_brokers(2 <= version),
            );
            assert_eq!((asked.error_code, asked.controller_id, asked.brokers.len()), (0, BrokerId(1), 1));
            assert_eq!(asked.cluster_authorized_operations, 8096, "everything that a cluster knows");
            let unasked = self.wire.call(version, &DescribeClusterRequest::default());
            assert_eq!(unasked.cluster_authorized_operations, i32::MIN, "version {version}");
            assert!(!unasked.brokers[0].is_fenced);
        }
    }

    pub(super) fn describe_quorum(&mut self) {
        let topic = TopicData::default()
            .with_topic_name(name("__cluster_metadata"))
            .with_partitions(vec![PartitionData::default()]);
        for version in versions("DescribeQuorum") {
            let request = DescribeQuorumRequest::default().with_topics(vec![topic.clone()]);
            let response = self.wire.call(version, &request);
            let partition = &response.topics[0].partitions[0];
            assert_eq!((response.error_code, partition.error_code, partition.leader_id), (0, 0, BrokerId(1)));
            let [voter] = partition.current_voters.as_slice() else { panic!("{partition:?}") };
            assert_eq!((voter.replica_id, voter.log_end_offset), (BrokerId(1), partition.high_watermark));
            assert!(partition.observers.is_empty() && 0 < partition.high_watermark);
            assert_eq!(voter.last_caught_up_timestamp == -1, version == 0);
            assert_eq!((response.nodes.len() == 1, !voter.replica_directory_id.is_nil()), (2 <= version, 2 <= version));
        }
    }

    pub(super) fn update_features(&mut self) {
        for version in versions("UpdateFeatures") {
            let update = FeatureUpdateKey::default()
                .with_feature(StrBytes::from_static_str("metadata.version"))
                .with_max_version_level(27);
            let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
            let response = self.wire.call(version, &request);
            assert_eq!((response.error_code, response.results.len()), (0, usize::from(version < 2)));
        }
    }

    /// The last call: it deletes the topics.
    pub(super) fn delete_topics(&mut self) {
        for version in versions("DeleteTopics") {
            let topic = name(&format!("{TOPIC}-{}", version + 1));
            let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
            let request = if version < 6 {
                request.with_topic_names(vec![topic])
            } else {
                let by_id = DeleteTopicState::default().with_name(None).with_topic_id(self.topic_id);
                request.with_topics(vec![by_id])
            };
            let result = &self.wire.call(version, &request).responses[0];
            assert_eq!(result.error_code, 0, "version {version}: {:?}", result.error_message);
        }
    }
}
