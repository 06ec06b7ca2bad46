//! Every version of every API that ApiVersions announces is answered in that version.

mod administration;
mod groups;

use crate::harness::Site;
use crate::harness::batches::produced;
use crate::harness::calls::name;
use crate::harness::wire::{Wire, batch, batch_headers};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as IncrementalResource, AlterableConfig as IncrementalConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterReplicaLogDirsRequest, ApiVersionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DescribeConfigsRequest, DescribeLogDirsRequest, DescribeProducersRequest, FetchRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListConfigResourcesRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::api::{self, Listener};
use protocol::config::{self, Scope};
use protocol::types::{Offset, Timestamp};
use uuid::Uuid;

const TOPIC: &str = "every-version";
const TOPIC_RESOURCE: i8 = 2;

struct Client {
    wire: Wire,
    topic_id: Uuid,
    produced: i64,
}

fn versions(api_name: &str) -> impl Iterator<Item = i16> + Clone {
    let api = api::APIS.iter().find(|api| api.name == api_name).unwrap();
    api.versions.first..=api.versions.last
}

#[test]
fn every_announced_version_is_served() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut client = Client { wire: Wire::connect(site.port), topic_id: Uuid::nil(), produced: 0 };
    for api in api::on(Listener::Client) {
        match api.name {
            "ApiVersions"
            | "CreateTopics"
            | "Produce"
            | "Fetch"
            | "ListOffsets"
            | "Metadata"
            | "InitProducerId"
            | "FindCoordinator"
            | "DescribeConfigs"
            | "AlterConfigs"
            | "IncrementalAlterConfigs"
            | "ListConfigResources"
            | "DeleteTopics"
            | "CreatePartitions"
            | "ElectLeaders"
            | "AlterPartitionReassignments"
            | "ListPartitionReassignments"
            | "DescribeQuorum"
            | "UpdateFeatures"
            | "DescribeCluster"
            | "DescribeTopicPartitions"
            | "OffsetForLeaderEpoch"
            | "DescribeLogDirs"
            | "AlterReplicaLogDirs"
            | "DescribeProducers"
            | "DeleteRecords"
            | "OffsetCommit"
            | "OffsetFetch"
            | "JoinGroup"
            | "Heartbeat"
            | "LeaveGroup"
            | "SyncGroup"
            | "DescribeGroups"
            | "ListGroups"
            | "DeleteGroups"
            | "OffsetDelete" => {}
            "UnregisterBroker" => assert_eq!(api.versions.last, 0, "tested with the life of a broker"),
            "AddRaftVoter" | "RemoveRaftVoter" => assert_eq!(api.versions.last, 0, "tested with the quorum"),
            other => panic!("{other} is served but not tested here"),
        }
    }
    client.api_versions();
    client.create_topics();
    client.produce();
    client.fetch();
    client.list_offsets();
    client.metadata();
    client.init_producer_id();
    client.find_coordinator();
    client.join_and_sync();
    client.offsets_of_groups();
    client.administer_groups();
    client.incremental_alter_configs();
    client.alter_configs();
    client.describe_configs();
    client.list_config_resources();
    client.offset_for_leader_epoch();
    client.describe_log_dirs();
    client.alter_replica_log_dirs();
    client.describe_producers();
    client.delete_records();
    client.create_partitions();
    client.describe_topic_partitions();
    client.elect_leaders();
    client.reassignments();
    client.describe_cluster();
    client.describe_quorum();
    client.update_features();
    client.delete_topics();
}

impl Client {
    fn api_versions(&mut self) {
        for version in versions("ApiVersions") {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str("test"))
                .with_client_software_version(StrBytes::from_static_str("1.0"));
            let request = if version < 3 { ApiVersionsRequest::default() } else { request };
            let response = self.wire.call(version, &request);
            assert_eq!(response.error_code, 0);
            let served: Vec<_> = response.api_keys.iter().map(|api| api.api_key).collect();
            let expected: Vec<_> = api::on(Listener::Client).map(api::Api::key_number).collect();
            assert_eq!(served, expected);
            if 3 <= version {
                let levels = response.finalized_features.iter().map(|f| (f.name.to_string(), f.max_version_level));
                let expected =
                    [("eligible.leader.replicas.version", 1), ("kraft.version", 1), ("metadata.version", 27)];
                assert_eq!(levels.collect::<Vec<_>>(), expected.map(|(name, level)| (name.to_owned(), level)));
            }
        }
    }

    fn create_topics(&mut self) {
        for version in versions("CreateTopics") {
            let topic = name(&format!("{TOPIC}-{version}"));
            let request = CreateTopicsRequest::default().with_timeout_ms(1000).with_topics(vec![
                CreatableTopic::default().with_name(topic).with_num_partitions(3).with_replication_factor(1),
            ]);
            let response = self.wire.call(version, &request);
            assert_eq!(response.topics[0].error_code, 0, "version {version}: {:?}", response.topics[0].error_message);
            if 5 <= version {
                assert_eq!(response.topics[0].num_partitions, 3);
                let configs = response.topics[0].configs.as_ref().unwrap();
                assert!(configs.iter().any(|config| &*config.name == "cleanup.policy"));
            }
            self.topic_id = response.topics[0].topic_id;
        }
    }

    fn topic() -> TopicName {
        name(&format!("{TOPIC}-7"))
    }

    fn produce(&mut self) {
        for version in versions("Produce") {
            let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(&[b"x"], Timestamp(5))));
            let topic = TopicProduceData::default().with_partition_data(vec![data]);
            let topic = if version < 13 { topic.with_name(Self::topic()) } else { topic.with_topic_id(self.topic_id) };
            for acks in [1, -1] {
                let request = ProduceRequest::default()
                    .with_acks(acks)
                    .with_timeout_ms(1000)
                    .with_topic_data(vec![topic.clone()]);
                let response = self.wire.call(version, &request);
                let partition = &response.responses[0].partition_responses[0];
                assert_eq!((partition.error_code, partition.base_offset), (0, self.produced), "version {version}");
                self.produced += 1;
            }
        }
    }

    fn fetch(&mut self) {
        for version in versions("Fetch") {
            let partition = FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(2)
                .with_current_leader_epoch(-1)
                .with_last_fetched_epoch(-1)
                .with_partition_max_bytes(1 << 20);
            let topic = FetchTopic::default().with_partitions(vec![partition]);
            let topic = if version < 13 { topic.with_topic(Self::topic()) } else { topic.with_topic_id(self.topic_id) };
            let request = FetchRequest::default()
                .with_max_wait_ms(0)
                .with_min_bytes(1)
                .with_max_bytes(1 << 20)
                .with_session_epoch(-1)
                .with_topics(vec![topic]);
            let response = self.wire.call(version, &request);
            let partition = &response.responses[0].partitions[0];
            assert_eq!((partition.error_code, partition.high_watermark), (0, self.produced), "version {version}");
            let batches = batch_headers(partition.records.as_ref().unwrap());
            let offsets: Vec<_> = batches.iter().map(|batch| batch.base_offset).collect();
            assert_eq!(offsets, (2..self.produced).map(Offset).collect::<Vec<_>>(), "version {version}");
        }
    }

    fn list_offsets(&mut self) {
        for version in versions("ListOffsets") {
            let mut positions = vec![(-1, self.produced), (-2, 0), (5, 0), (6, -1)];
            if 7 <= version {
                positions.push((-3, 0));
            }
            for (timestamp, expected) in positions {
                let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
                let topic = ListOffsetsTopic::default().with_name(Self::topic()).with_partitions(vec![partition]);
                let response = self.wire.call(version, &ListOffsetsRequest::default().with_topics(vec![topic]));
                let partition = &response.topics[0].partitions[0];
                assert_eq!((partition.error_code, partition.offset), (0, expected), "version {version}, {timestamp}");
            }
        }
    }

    fn metadata(&mut self) {
        for version in versions("Metadata") {
            let wanted = MetadataRequestTopic::default();
            let wanted =
                if version < 12 { wanted.with_name(Some(Self::topic())) } else { wanted.with_topic_id(self.topic_id) };
            let wanted = if version < 12 { wanted } else { wanted.with_name(None) };
            let response = self.wire.call(version, &MetadataRequest::default().with_topics(Some(vec![wanted])));
            assert_eq!(response.brokers.len(), 1);
            let topic = &response.topics[0];
            assert_eq!((topic.error_code, topic.partitions.len()), (0, 3), "version {version}");
            assert_eq!(topic.partitions[0].leader_id, response.brokers[0].node_id);
            let all = if version == 0 { Some(Vec::new()) } else { None };
            let operations = (8..=10).contains(&version);
            let request = MetadataRequest::default()
                .with_topics(all)
                .with_include_cluster_authorized_operations(operations)
                .with_include_topic_authorized_operations(8 <= version);
            let response = self.wire.call(version, &request);
            assert_eq!(response.topics.len(), 6);
            let expected = if 8 <= version { 3576 } else { i32::MIN };
            assert!(response.topics.iter().all(|topic| topic.topic_authorized_operations == expected));
            assert_eq!(response.cluster_authorized_operations, if operations { 8096 } else { i32::MIN });
        }
    }

    fn init_producer_id(&mut self) {
        let mut ids = Vec::new();
        for version in versions("InitProducerId") {
            let response = self.wire.call(version, &InitProducerIdRequest::default().with_transactional_id(None));
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            ids.push(response.producer_id);
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "every producer has an id of its own");
    }

    fn find_coordinator(&mut self) {
        for version in versions("FindCoordinator") {
            let key = StrBytes::from_static_str("group");
            let request = FindCoordinatorRequest::default();
            let request = if version < 4 { request.with_key(key) } else { request.with_coordinator_keys(vec![key]) };
            let response = self.wire.call(version, &request);
            let found = response.coordinators.first();
            let (error, node) = found.map_or((response.error_code, response.node_id), |c| (c.error_code, c.node_id));
            assert_eq!((error, node.0), (0, 1), "version {version}");
        }
    }

    fn incremental_alter_configs(&mut self) {
        for version in versions("IncrementalAlterConfigs") {
            let config = IncrementalConfig::default()
                .with_name(StrBytes::from_static_str("segment.ms"))
                .with_value(Some(StrBytes::from_string((1000 + i32::from(version)).to_string())));
            let resource = IncrementalResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(Self::topic().0)
                .with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            let response = self.wire.call(version, &request);
            assert_eq!(response.responses[0].error_code, 0, "version {version}");
        }
    }

    fn alter_configs(&mut self) {
        for version in versions("AlterConfigs") {
            let config = AlterableConfig::default()
                .with_name(StrBytes::from_static_str("retention.ms"))
                .with_value(Some(StrBytes::from_string((5000 + i32::from(version)).to_string())));
            let resource = AlterConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(Self::topic().0)
                .with_configs(vec![config]);
            let response = self.wire.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
            assert_eq!(response.responses[0].error_code, 0, "version {version}");
        }
    }

    fn describe_configs(&mut self) {
        for version in versions("DescribeConfigs") {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(Self::topic().0)
                .with_configuration_keys(None);
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![resource])
                .with_include_synonyms(true)
                .with_include_documentation(3 <= version);
            let response = self.wire.call(version, &request);
            let result = &response.results[0];
            assert_eq!((result.error_code, &*result.resource_name), (0, &*Self::topic().0), "version {version}");
            assert_eq!(result.configs.len(), config::options(Scope::Topic).count());
            let retention = result.configs.iter().find(|config| &*config.name == "retention.ms").unwrap();
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5002"), 1), "version {version}");
            assert_eq!(retention.documentation.as_deref().is_some_and(|text| !text.is_empty()), 3 <= version);
            assert_eq!(retention.config_type, if 3 <= version { 5 } else { 0 });
        }
    }

    fn list_config_resources(&mut self) {
        for version in versions("ListConfigResources") {
            let response = self.wire.call(version, &ListConfigResourcesRequest::default());
            let listed = response.config_resources.len();
            // In version 1: six topics and that of the offsets, and one broker.
            assert_eq!((response.error_code, listed), (0, if version == 0 { 0 } else { 8 }), "version {version}");
        }
    }

    fn offset_for_leader_epoch(&mut self) {
        for version in versions("OffsetForLeaderEpoch") {
            let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
            let topic = OffsetForLeaderTopic::default().with_topic(Self::topic()).with_partitions(vec![partition]);
            let response = self.wire.call(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
            let answer = &response.topics[0].partitions[0];
            let expected = (0, 0, self.produced);
            assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), expected, "version {version}");
        }
    }

    fn describe_log_dirs(&mut self) {
        for version in versions("DescribeLogDirs") {
            let topic = DescribableLogDirTopic::default().with_topic(Self::topic()).with_partitions(vec![0, 2]);
            let response = self.wire.call(version, &DescribeLogDirsRequest::default().with_topics(Some(vec![topic])));
            let result = &response.results[0];
            assert_eq!((result.error_code, result.topics[0].partitions.len()), (0, 2), "version {version}");
            assert!(0 < result.topics[0].partitions[0].partition_size);
            assert_eq!(0 < result.total_bytes, 4 <= version, "version {version}");
        }
    }

    fn alter_replica_log_dirs(&mut self) {
        let directories = self.wire.call(1, &DescribeLogDirsRequest::default().with_topics(Some(Vec::new())));
        let here = directories.results[0].log_dir.clone();
        let elsewhere = StrBytes::from_static_str("/nowhere");
        let table = [
            (&here, 0, 0),
            (&here, 99, ResponseError::ReplicaNotAvailable.code()),
            (&elsewhere, 0, ResponseError::LogDirNotFound.code()),
        ];
        for version in versions("AlterReplicaLogDirs") {
            for (path, index, error) in table {
                let topic = AlterReplicaLogDirTopic::default().with_name(Self::topic()).with_partitions(vec![index]);
                let directory = AlterReplicaLogDir::default().with_path(path.clone()).with_topics(vec![topic]);
                let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![directory]);
                let answer = &self.wire.call(version, &request).results[0].partitions[0];
                assert_eq!((answer.partition_index, answer.error_code), (index, error), "version {version}, {path}");
            }
        }
    }

    fn describe_producers(&mut self) {
        let records = produced(&batch(&[b"x", b"y"], Timestamp(5)), 4000, 3, 8);
        let data = PartitionProduceData::default().with_index(1).with_records(Some(records));
        assert_eq!(self.wire.produce_data(9, Self::topic(), 1, data).error_code, 0);
        for version in versions("DescribeProducers") {
            let topic = TopicRequest::default().with_name(Self::topic()).with_partition_indexes(vec![0, 1]);
            let response = self.wire.call(version, &DescribeProducersRequest::default().with_topics(vec![topic]));
            let partitions = &response.topics[0].partitions;
            assert!(partitions[0].active_producers.is_empty());
            let producer = &partitions[1].active_producers[0];
            assert_eq!((producer.producer_id.0, producer.producer_epoch, producer.last_sequence), (4000, 3, 9));
            assert_eq!((producer.last_timestamp, producer.coordinator_epoch), (5, -1));
            assert_eq!(producer.current_txn_start_offset, -1);
        }
    }

    fn delete_records(&mut self) {
        for (version, offset) in versions("DeleteRecords").zip(1..) {
            let partition = DeleteRecordsPartition::default().with_offset(offset);
            let topic = DeleteRecordsTopic::default().with_name(Self::topic()).with_partitions(vec![partition]);
            let response = self.wire.call(version, &DeleteRecordsRequest::default().with_topics(vec![topic]));
            let answer = &response.topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.low_watermark), (0, offset), "version {version}");
        }
    }
}
