//! CreateTopics: answered once the controller has committed the topics and this broker serves them.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::config::{self, Scope, Values};
use protocol::types::{BrokerId, PartitionId};

use super::configs::wire_source;
use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::{CreateTopicError, CreatedTopic, TopicSpec};

impl Broker {
    pub(super) async fn create_topics(&self, request: &mut Request<'_>) -> Result<CreateTopicsResponse, RequestError> {
        let body: CreateTopicsRequest = request.decode()?;
        let repeated = repeated_names(&body.topics);
        let (refused, wanted): (Vec<_>, Vec<_>) =
            body.topics.into_iter().partition(|topic| repeated.contains(topic.name.as_str()));
        let (unset, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|topic| unset_config(topic).is_some());
        let wanted_names: Vec<_> = wanted.iter().map(|topic| topic.name.clone()).collect();
        let specs = wanted.iter().map(spec).collect();
        let mut results: Vec<_> = match self.controller.create_topics(specs, body.validate_only).await {
            Ok(created) => {
                let answers = wanted_names.into_iter().zip(created);
                answers.map(|(name, result)| self.created_topic(name, result)).collect()
            }
            Err(error) => {
                let failed = |name| failed(name, error.kafka_error(), error.to_string());
                wanted_names.into_iter().map(failed).collect()
            }
        };
        results.extend(unset.into_iter().map(|topic| {
            let message = format!("{} needs a value", unset_config(&topic).unwrap_or_default());
            failed(topic.name, ResponseError::InvalidConfig, message)
        }));
        let duplicates: HashSet<_> = refused.into_iter().map(|topic| topic.name).collect();
        results.extend(duplicates.into_iter().map(|name| {
            let message = format!("topic {:?} is in the request more than once", name.as_str());
            failed(name, ResponseError::InvalidRequest, message)
        }));
        Ok(CreateTopicsResponse::default().with_topics(results))
    }

    fn created_topic(&self, name: TopicName, result: Result<CreatedTopic, CreateTopicError>) -> CreatableTopicResult {
        let created = match result {
            Ok(created) => created,
            Err(error) => return failed(name, error.kafka_error(), error.to_string()),
        };
        let own = created.configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (own, _) = Values::parse(Scope::Topic, own);
        let broker = self.replicas.broker_values();
        let configs = config::options(Scope::Topic).filter_map(|option| {
            let effective = config::effective_value(&own, &broker, option.name)?;
            let configs = CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(option.name))
                .with_value(Some(StrBytes::from_string(effective.raw)))
                .with_config_source(wire_source(Scope::Topic, effective.layer));
            Some(configs)
        });
        CreatableTopicResult::default()
            .with_name(name)
            .with_topic_id(created.id.0)
            .with_num_partitions(created.partitions)
            .with_replication_factor(created.replication_factor)
            .with_configs(Some(configs.collect()))
    }
}

fn repeated_names(topics: &[CreatableTopic]) -> HashSet<String> {
    let mut seen = HashSet::new();
    topics.iter().filter(|topic| !seen.insert(topic.name.as_str())).map(|topic| topic.name.to_string()).collect()
}

/// An option that is named but has no value.
fn unset_config(topic: &CreatableTopic) -> Option<&str> {
    topic.configs.iter().find(|config| config.value.is_none()).map(|config| config.name.as_str())
}

fn spec(topic: &CreatableTopic) -> TopicSpec {
    let assignment = |assignment: &kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment| {
        let brokers = assignment.broker_ids.iter().map(|broker| BrokerId(broker.0)).collect();
        (PartitionId(assignment.partition_index), brokers)
    };
    TopicSpec {
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic
            .configs
            .iter()
            .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
            .collect(),
        partitions: (topic.num_partitions != -1).then_some(topic.num_partitions),
        replication_factor: (topic.replication_factor != -1).then_some(topic.replication_factor),
        name: topic.name.to_string(),
    }
}

fn failed(name: TopicName, error: ResponseError, message: String) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
}
