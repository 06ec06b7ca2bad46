//! Metadata, and the creation of topics that a client names (`auto.create.topics.enable`).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId as WireBrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::{BrokerId, PartitionId, TopicId};

use super::forwarding::Failures;
use super::{Broker, Request, RequestContext, RequestError, authorized_operations, topics};
use crate::controller::{TopicSpec, is_internal_topic, is_legal_topic_name};
use crate::metadata::{BrokerImage, Image, PartitionImage, TopicImage};

/// Most topics that one request creates. The client asks again for the others.
const CREATED_MAX: usize = 1000;

impl Broker {
    pub(super) async fn metadata(&self, request: &mut Request<'_>) -> Result<MetadataResponse, RequestError> {
        let body: MetadataRequest = request.decode()?;
        let wanted = match body.topics {
            Some(topics) if topics.is_empty() && request.version == 0 => None,
            other => other,
        };
        let may_create = self.config.auto_create_topics && (request.version < 4 || body.allow_auto_topic_creation);
        let refused = match &wanted {
            Some(topics) if may_create => self.create_missing(topics, request.context).await,
            _ => Failures::new(),
        };
        let image = self.image.load_full();
        let listener = &request.context.listener.name;
        let lost = self.replicas.lost_leaders();
        let describe = |topic: &TopicImage| {
            let described = describe(&image, topic, listener, &lost);
            let asked = body.include_topic_authorized_operations;
            if asked {
                described.with_topic_authorized_operations(authorized_operations::of_topic())
            } else {
                described
            }
        };
        let topics = match wanted {
            None => image.topic_ids.values().filter_map(|id| image.topics.get(id)).map(|t| describe(t)).collect(),
            Some(topics) => distinct(&topics)
                .map(|topic| match find(&image, topic) {
                    Some(found) => describe(found),
                    None => unknown(topic, &refused, request.version),
                })
                .collect(),
        };
        let departed = self.replicas.departed_brokers();
        let departed = departed.iter().filter(|(id, _)| image.brokers.get(id).is_none_or(|broker| broker.fenced));
        let listed = image.active_brokers().chain(departed.map(|(id, broker)| (*id, broker)));
        let brokers = listed.filter_map(|(id, broker)| describe_broker(id, broker, listener));
        let response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(StrBytes::from_string(self.identity.cluster_id.to_string())))
            .with_controller_id(WireBrokerId(self.config.broker_id.0))
            .with_topics(topics);
        Ok(if body.include_cluster_authorized_operations {
            response.with_cluster_authorized_operations(authorized_operations::of_cluster())
        } else {
            response
        })
    }

    /// Creates the named topics that do not exist. Returns the errors of those that could not be created.
    async fn create_missing(&self, topics: &[MetadataRequestTopic], context: &RequestContext) -> Failures {
        let image = self.image.load_full();
        // Internal topics are created by their coordinators, with their own options.
        let missing = distinct(topics)
            .filter_map(|topic| topic.name.as_ref())
            .filter(|name| image.topic(name).is_none() && !is_internal_topic(name));
        let specs: Vec<_> = missing.take(CREATED_MAX).map(|name| TopicSpec::with_defaults(name.to_string())).collect();
        if specs.is_empty() { Failures::new() } else { self.create_for_client(specs, context).await }
    }
}

/// Each once, however often the request names it.
fn distinct(topics: &[MetadataRequestTopic]) -> impl Iterator<Item = &MetadataRequestTopic> {
    let mut seen = HashSet::new();
    topics.iter().filter(move |topic| seen.insert((topic.name.as_deref(), topic.topic_id)))
}

fn describe_broker(id: BrokerId, broker: &BrokerImage, listener: &str) -> Option<MetadataResponseBroker> {
    let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.name == listener)?;
    Some(
        MetadataResponseBroker::default()
            .with_node_id(WireBrokerId(id.0))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.clone().map(StrBytes::from_string)),
    )
}

fn find<'a>(image: &'a Image, wanted: &MetadataRequestTopic) -> Option<&'a Arc<TopicImage>> {
    match &wanted.name {
        Some(name) => image.topic(name),
        None => image.topics.get(&TopicId(wanted.topic_id)),
    }
}

fn unknown(wanted: &MetadataRequestTopic, refused: &Failures, version: i16) -> MetadataResponseTopic {
    let error = match &wanted.name {
        Some(name) if !is_legal_topic_name(name) => ResponseError::InvalidTopicException,
        Some(name) => refused.get(name.as_str()).map_or(ResponseError::UnknownTopicOrPartition, |(error, _)| *error),
        None => ResponseError::UnknownTopicId,
    };
    // The name may be absent since version 12 only.
    let name = wanted.name.clone().or_else(|| (version < 12).then(TopicName::default));
    MetadataResponseTopic::default().with_error_code(error.code()).with_name(name).with_topic_id(wanted.topic_id)
}

fn describe(image: &Image, topic: &TopicImage, listener: &str, lost: &BTreeSet<BrokerId>) -> MetadataResponseTopic {
    let partitions = topic.partitions().map(|(id, partition)| describe_partition(image, id, partition, listener, lost));
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(topic.id.0)
        .with_is_internal(is_internal_topic(&topic.name))
        .with_partitions(partitions.collect())
}

fn describe_partition(
    image: &Image,
    id: PartitionId,
    partition: &PartitionImage,
    listener: &str,
    lost: &BTreeSet<BrokerId>,
) -> MetadataResponsePartition {
    let wire = |broker: BrokerId| WireBrokerId(broker.0);
    let leader = partition.leader.filter(|leader| !lost.contains(leader));
    let error = if leader.is_some() { 0 } else { ResponseError::LeaderNotAvailable.code() };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(id.0)
        .with_leader_id(WireBrokerId(leader.map_or(-1, |leader| leader.0)))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(partition.brokers().map(wire).collect())
        .with_isr_nodes(partition.isr.iter().copied().map(wire).collect())
        .with_offline_replicas(topics::offline_replicas(image, partition, listener).map(wire).collect())
}
