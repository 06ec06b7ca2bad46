//! DeleteTopics, by name and since KIP-516 by id: answered once the controller has committed the deletion and the
//! partitions are out of service here.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::TopicId;
use uuid::Uuid;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::{DeletedTopic, TopicDeletion, TopicSelector};

/// First version that knows [`ResponseError::TopicDeletionDisabled`].
const VERSION_WITH_DISABLED: i16 = 3;
const DISABLED: &str = "topic deletion is disabled by delete.topic.enable=false";

impl Broker {
    pub(super) async fn delete_topics(&self, request: &mut Request<'_>) -> Result<DeleteTopicsResponse, RequestError> {
        let body: DeleteTopicsRequest = request.decode()?;
        let by_name = body.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
        let topics: Vec<_> = body.topics.into_iter().chain(by_name).collect();
        if !self.config.values.get_bool("delete.topic.enable") {
            let disabled = request.version >= VERSION_WITH_DISABLED;
            let error = if disabled { ResponseError::TopicDeletionDisabled } else { ResponseError::InvalidRequest };
            let refuse = |topic: DeleteTopicState| refused(topic.name, topic.topic_id, error, DISABLED.to_owned());
            return Ok(DeleteTopicsResponse::default().with_responses(topics.into_iter().map(refuse).collect()));
        }
        let (mut selectors, mut responses) = (Vec::new(), Vec::new());
        for topic in topics {
            match selector(topic) {
                Ok(selector) => selectors.push(selector),
                Err(refused) => responses.push(refused),
            }
        }
        responses.extend(match self.controller.delete_topics(selectors.clone()).await {
            Ok(deletions) => deletions.into_iter().map(answer).collect::<Vec<_>>(),
            Err(error) => {
                let failed = |selector| answer_error(selector, error.kafka_error(), error.to_string());
                selectors.into_iter().map(failed).collect()
            }
        });
        Ok(DeleteTopicsResponse::default().with_responses(responses))
    }
}

fn selector(topic: DeleteTopicState) -> Result<TopicSelector, DeletableTopicResult> {
    match (topic.name, topic.topic_id) {
        (Some(name), id) if id.is_nil() => Ok(TopicSelector::Name(name.to_string())),
        (None, id) if !id.is_nil() => Ok(TopicSelector::Id(TopicId(id))),
        (name, id) => {
            let reason = if name.is_some() { "a name and an id: one is enough" } else { "neither name nor id" };
            Err(refused(name, id, ResponseError::InvalidRequest, reason.to_owned()))
        }
    }
}

fn answer((selector, deleted): TopicDeletion) -> DeletableTopicResult {
    match deleted {
        Ok(DeletedTopic { name, id }) => {
            DeletableTopicResult::default().with_name(Some(wire_name(name))).with_topic_id(id.0)
        }
        Err(error) => answer_error(selector, error.kafka_error(), error.to_string()),
    }
}

fn answer_error(selector: TopicSelector, error: ResponseError, message: String) -> DeletableTopicResult {
    match selector {
        TopicSelector::Name(name) => refused(Some(wire_name(name)), Uuid::nil(), error, message),
        TopicSelector::Id(id) => refused(None, id.0, error, message),
    }
}

fn refused(name: Option<TopicName>, id: Uuid, error: ResponseError, message: String) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(id)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}

fn wire_name(name: String) -> TopicName {
    TopicName(StrBytes::from_string(name))
}
