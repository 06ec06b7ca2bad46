//! Requests about one partition that many tests send: partition 0, unless they say otherwise.

use bytes::Bytes;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::DeleteRecordsPartitionResult;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::wire::Wire;

pub(crate) fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// Sent by a consumer that knows only an offset.
pub(crate) fn fetch_partition(offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20)
}

impl Wire {
    /// With acks=1.
    pub(crate) fn produce(&mut self, version: i16, topic: &str, records: Option<Bytes>) -> PartitionProduceResponse {
        let data = PartitionProduceData::default().with_records(records);
        self.produce_data(version, name(topic), 1, data)
    }

    pub(crate) fn produce_data(
        &mut self,
        version: i16,
        topic: TopicName,
        acks: i16,
        data: PartitionProduceData,
    ) -> PartitionProduceResponse {
        let topic = TopicProduceData::default().with_name(topic).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic]);
        self.call(version, &request).responses.remove(0).partition_responses.remove(0)
    }

    pub(crate) fn fetch(&mut self, topic: &str, partition: FetchPartition) -> PartitionData {
        let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
        self.call(12, &request).responses.remove(0).partitions.remove(0)
    }

    pub(crate) fn list_offset(&mut self, version: i16, topic: &str, timestamp: i64) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        self.call(version, &request).topics.remove(0).partitions.remove(0)
    }

    pub(crate) fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> DeleteRecordsPartitionResult {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_timeout_ms(1000).with_topics(vec![topic]);
        self.call(2, &request).topics.remove(0).partitions.remove(0)
    }
}
