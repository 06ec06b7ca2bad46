//! OffsetFetch: for one group, since version 8 for several.

use std::collections::HashSet;

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::coordinator_records::CommittedOffset;
use protocol::types::PartitionId;

use super::groups::text;
use super::{Broker, Request, RequestError, errors};
use crate::coordinator::TopicOffsets;
use crate::metadata::Image;

/// First version with an error for the whole group besides those of partitions.
const VERSION_WITH_GROUP_ERROR: i16 = 2;
/// First version that can ask for several groups.
const VERSION_WITH_GROUPS: i16 = 8;
/// No offset is committed.
const NO_OFFSET: i64 = -1;

impl Broker {
    pub(super) async fn offset_fetch(&self, request: &mut Request<'_>) -> Result<OffsetFetchResponse, RequestError> {
        let mut body: OffsetFetchRequest = request.decode()?;
        if VERSION_WITH_GROUPS <= request.version {
            let mut named = HashSet::new();
            body.groups.retain(|group| named.insert(group.group_id.clone()));
            let mut groups = Vec::with_capacity(body.groups.len());
            for group in body.groups {
                groups.push(self.offsets_of(group, request).await);
            }
            return Ok(OffsetFetchResponse::default().with_groups(groups));
        }
        let topics = body.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name)
                    .with_partition_indexes(topic.partition_indexes)
            });
            topics.collect()
        });
        let group = OffsetFetchRequestGroup::default().with_group_id(body.group_id).with_topics(topics);
        let found = self.offsets_of(group, request).await;
        let topics = found.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(single_group_partition);
            OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        let response = OffsetFetchResponse::default().with_topics(topics.collect());
        let tells_error = VERSION_WITH_GROUP_ERROR <= request.version;
        Ok(if tells_error { response.with_error_code(found.error_code) } else { response })
    }

    async fn offsets_of(&self, group: OffsetFetchRequestGroup, request: &Request<'_>) -> OffsetFetchResponseGroup {
        let image = self.image.load_full();
        let mut named = HashSet::new();
        let wanted =
            group.topics.as_ref().map(|topics| topics.iter().map(|topic| wanted(&image, topic, &mut named)).collect());
        let response = OffsetFetchResponseGroup::default();
        let response = match request.answer_of(self.groups.fetch_offsets(&group.group_id, wanted)).await {
            Ok(fetched) => response.with_topics(fetched.into_iter().map(fetched_topic).collect()),
            Err(error) => {
                let code = errors::of_offset_fetch(&error).code();
                // Old clients look for the error in each partition.
                let told_in_each = request.version < VERSION_WITH_GROUP_ERROR;
                let topics = group.topics.into_iter().flatten().filter(|_| told_in_each);
                let topics = topics.map(|topic| failed_topic(topic, code)).collect();
                response.with_error_code(code).with_topics(topics)
            }
        };
        response.with_group_id(group.group_id)
    }
}

/// A partition that is named twice is answered once, like a group: otherwise a short request could ask for a huge
/// answer.
fn wanted<'a>(
    image: &Image,
    topic: &'a OffsetFetchRequestTopics,
    named: &mut HashSet<(&'a str, i32)>,
) -> TopicOffsets<PartitionId> {
    let name: &str = &topic.name;
    let is_new = |index: &i32| named.insert((name, *index));
    TopicOffsets {
        topic: topic.name.to_string(),
        topic_id: image.topic(&topic.name).map(|topic| topic.id).unwrap_or_default(),
        partitions: topic.partition_indexes.iter().copied().filter(is_new).map(PartitionId).collect(),
    }
}

fn fetched_topic(topic: TopicOffsets<(PartitionId, Option<CommittedOffset>)>) -> OffsetFetchResponseTopics {
    let partitions = topic.partitions.into_iter().map(|(partition, committed)| {
        let response = OffsetFetchResponsePartitions::default().with_partition_index(partition.0);
        let Some(committed) = committed else { return nothing(response) };
        response
            .with_committed_offset(committed.offset.0)
            .with_committed_leader_epoch(committed.leader_epoch.map_or(-1, |epoch| epoch.0))
            .with_metadata(Some(text(committed.metadata)))
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopics::default().with_name(TopicName(text(topic.topic))).with_partitions(partitions)
}

fn failed_topic(topic: OffsetFetchRequestTopics, code: i16) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.into_iter().map(|index| {
        nothing(OffsetFetchResponsePartitions::default().with_partition_index(index)).with_error_code(code)
    });
    OffsetFetchResponseTopics::default().with_partitions(partitions.collect()).with_name(topic.name)
}

fn nothing(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartitions {
    partition
        .with_committed_offset(NO_OFFSET)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::from_static_str("")))
}

/// The same, in the form of the response for one group.
fn single_group_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_committed_offset(partition.committed_offset)
        .with_committed_leader_epoch(partition.committed_leader_epoch)
        .with_metadata(partition.metadata)
        .with_error_code(partition.error_code)
}
