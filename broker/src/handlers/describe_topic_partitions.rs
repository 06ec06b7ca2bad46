//! DescribeTopicPartitions (KIP-966): topics with their ELR, a bounded number of partitions at a time. The rest
//! begins at the cursor, which the client sends back.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId as WireBrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::{BrokerId, PartitionId};

use super::{Broker, Request, RequestError, authorized_operations, topics};
use crate::controller::{is_internal_topic, is_legal_topic_name};
use crate::metadata::{Image, PartitionImage, TopicImage};

impl Broker {
    pub(super) fn describe_topic_partitions(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeTopicPartitionsResponse, RequestError> {
        let body: DescribeTopicPartitionsRequest = request.decode()?;
        let limit = body.response_partition_limit.min(self.config.values.get_int("max.request.partition.size.limit"));
        let limit = usize::try_from(limit).unwrap_or(0).max(1);
        let image = self.image.load();
        Ok(describe(&image, &body, limit, &request.context.listener.name))
    }
}

fn describe(
    image: &Image,
    body: &DescribeTopicPartitionsRequest,
    limit: usize,
    listener: &str,
) -> DescribeTopicPartitionsResponse {
    let everything = body.topics.is_empty();
    let (from, from_partition) =
        body.cursor.as_ref().map_or(("", 0), |cursor| (cursor.topic_name.as_str(), cursor.partition_index));
    let named: BTreeSet<&str> = if everything {
        image.topic_ids.keys().map(String::as_str).collect()
    } else {
        body.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    let Ok(first) = usize::try_from(from_partition) else { return refused(body) };
    if body.cursor.is_some() && !everything && !named.contains(from) {
        return refused(body);
    }
    let (mut left, mut response) = (limit, DescribeTopicPartitionsResponse::default());
    for name in named.into_iter().filter(|name| from <= *name) {
        if left == 0 {
            return response.with_next_cursor(Some(cursor(name, 0)));
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let first = if name == from { first } else { 0 };
        let end = topic.partitions.len().min(first.saturating_add(left));
        response.topics.push(describe_topic(image, topic, first..end, listener));
        if end < topic.partitions.len() {
            return response.with_next_cursor(Some(cursor(name, end)));
        }
        left -= end.saturating_sub(first);
    }
    response
}

fn cursor(topic: &str, partition: usize) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
}

fn describe_topic(
    image: &Image,
    topic: &TopicImage,
    ids: std::ops::Range<usize>,
    listener: &str,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions().skip(ids.start).take(ids.len());
    answer(&topic.name)
        .with_topic_id(topic.id.0)
        .with_partitions(partitions.map(|(id, state)| describe_partition(image, id, state, listener)).collect())
}

fn describe_partition(
    image: &Image,
    id: PartitionId,
    partition: &PartitionImage,
    listener: &str,
) -> DescribeTopicPartitionsResponsePartition {
    let wire = |brokers: &[BrokerId]| brokers.iter().map(|broker| WireBrokerId(broker.0)).collect::<Vec<_>>();
    let replicas: Vec<_> = partition.brokers().collect();
    let offline: Vec<_> = topics::offline_replicas(image, partition, listener).collect();
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(id.0)
        .with_leader_id(WireBrokerId(partition.leader.map_or(-1, |leader| leader.0)))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(wire(&replicas))
        .with_isr_nodes(wire(&partition.isr))
        .with_eligible_leader_replicas(Some(wire(&partition.eligible_leader_replicas)))
        .with_last_known_elr(Some(wire(&partition.last_known_elr)))
        .with_offline_replicas(wire(&offline))
}

fn answer(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_is_internal(is_internal_topic(name))
        .with_topic_authorized_operations(authorized_operations::of_topic())
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let legal = is_legal_topic_name(name);
    let error = if legal { ResponseError::UnknownTopicOrPartition } else { ResponseError::InvalidTopicException };
    answer(name).with_error_code(error.code())
}

/// Answers a cursor at no requested topic, or before a topic's first partition. There is no top-level error.
fn refused(body: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = body.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(ResponseError::InvalidRequest.code())
    });
    DescribeTopicPartitionsResponse::default().with_topics(refused.collect())
}

#[cfg(test)]
#[path = "describe_topic_partitions_test.rs"]
mod tests;
