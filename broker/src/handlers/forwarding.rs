//! Forwards requests that only the active controller decides, wherever they arrive (KIP-590).

use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, BrokerId as WireBrokerId, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::frame::LENGTH_BYTES;
use protocol::types::{BrokerId, PartitionId};
use tokio::time::{Instant, timeout};

use super::errors::KafkaError as _;
use super::{Broker, Outcome, Part, Request, RequestContext, RequestError};
use crate::config::ListenerKind;
use crate::controller::{CreateTopicError, CreatedTopic, TopicSpec};
use crate::metadata::Image;

/// A version whose answer has no topic configurations.
const CREATE_TOPICS_VERSION: i16 = 4;
/// How long a topic may take from the controller to the metadata of this broker.
const REPLAY_MAX: Duration = Duration::from_secs(1);

/// Topics that could not be created, and why.
pub(super) type Failures = HashMap<String, (ResponseError, String)>;

impl Broker {
    /// Whether it must go to another node. A request to a controller listener was sent to this node on purpose.
    pub(super) fn is_for_controller(&self, request: &Request<'_>) -> bool {
        let arrived_there = request.context.listener.kind == ListenerKind::Controller;
        request.api.forwarded && !arrived_there && !self.is_active_controller()
    }

    /// The controller's answer. `None`: no controller was reached, so nothing was done.
    pub(super) async fn forward(&self, request: &Request<'_>, frame: Bytes) -> Result<Option<Outcome>, RequestError> {
        let waits = request.api.key() == ApiKey::AddRaftVoter;
        let channel = if waits { &self.voter_forwarding } else { &self.forwarding };
        let forwarding = channel.forward(frame, request.context.client, self.forwarding_deadline());
        let forwarded = tokio::select! {
            forwarded = forwarding => forwarded,
            () = request.context.hurry.notified() => return Err(RequestError::Abandoned(request.api.name)),
        };
        match forwarded {
            Ok(answer) => Ok(Some(framed(answer))),
            Err(error) if error.is_not_reached() => Ok(None),
            Err(error) => Err(RequestError::Forward { api: request.api.name, error }),
        }
    }

    pub(crate) fn is_active_controller(&self) -> bool {
        self.raft.view().borrow().is_active
    }

    /// Creates topics that a client needs without having asked for them. Returns why any could not be created, once
    /// the others are in the metadata of this broker.
    pub(super) async fn create_for_client(&self, specs: Vec<TopicSpec>, context: &RequestContext) -> Failures {
        let names: Vec<_> = specs.iter().map(|spec| spec.name.clone()).collect();
        let all = |error: ResponseError, reason: &dyn std::fmt::Display| {
            names.iter().map(|name| (name.clone(), (error, reason.to_string()))).collect()
        };
        let mut failures: Failures = if self.is_active_controller() {
            match self.controller.create_topics(specs, false).await {
                Ok(created) => names.iter().zip(created).filter_map(|(name, result)| failure(name, result)).collect(),
                Err(error) => all(error.kafka_error(), &error),
            }
        } else {
            let request = CreateTopicsRequest::default().with_topics(specs.into_iter().map(creatable).collect());
            let deadline = self.forwarding_deadline();
            match self.forwarding.forward_own(CREATE_TOPICS_VERSION, &request, context.client, deadline).await {
                Ok(response) => response.topics.into_iter().filter_map(told).collect(),
                Err(error) => all(ResponseError::LeaderNotAvailable, &error),
            }
        };
        failures.retain(|_, (error, _)| *error != ResponseError::TopicAlreadyExists);
        let expected: Vec<_> = names.iter().filter(|name| !failures.contains_key(*name)).collect();
        // On a timeout the client is told what the metadata has.
        let _late =
            timeout(REPLAY_MAX, self.replayed(|image| expected.iter().all(|name| image.topic(name).is_some()))).await;
        failures
    }

    async fn replayed(&self, is_there: impl Fn(&Image) -> bool) {
        let mut view = self.raft.view();
        // Ends early only when the node stops.
        let _stopped = view.wait_for(|_| is_there(&self.image.load())).await.is_err();
    }

    fn forwarding_deadline(&self) -> Instant {
        Instant::now() + self.config.membership.request_timeout
    }
}

fn creatable(spec: TopicSpec) -> CreatableTopic {
    let config = |(name, value): (String, String)| {
        let (name, value) = (StrBytes::from_string(name), StrBytes::from_string(value));
        CreatableTopicConfig::default().with_name(name).with_value(Some(value))
    };
    let assignment = |(partition, brokers): (PartitionId, Vec<BrokerId>)| {
        let brokers = brokers.into_iter().map(|broker| WireBrokerId(broker.0)).collect();
        CreatableReplicaAssignment::default().with_partition_index(partition.0).with_broker_ids(brokers)
    };
    CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(spec.name)))
        .with_num_partitions(spec.partitions.unwrap_or(-1))
        .with_replication_factor(spec.replication_factor.unwrap_or(-1))
        .with_assignments(spec.assignments.into_iter().map(assignment).collect())
        .with_configs(spec.configs.into_iter().map(config).collect())
}

fn failure(name: &str, result: Result<CreatedTopic, CreateTopicError>) -> Option<(String, (ResponseError, String))> {
    result.err().map(|error| (name.to_owned(), (error.kafka_error(), error.to_string())))
}

fn told(topic: CreatableTopicResult) -> Option<(String, (ResponseError, String))> {
    let error = ResponseError::try_from_code(topic.error_code)?;
    let reason = topic.error_message.map_or_else(|| error.to_string(), |message| message.to_string());
    Some((topic.name.to_string(), (error, reason)))
}

/// Adds the length, which an envelope leaves out.
fn framed(answer: Bytes) -> Outcome {
    let mut length = BytesMut::with_capacity(LENGTH_BYTES);
    length.put_i32(i32::try_from(answer.len()).unwrap_or(i32::MAX));
    Outcome::Respond(vec![Part::Bytes(length.freeze()), Part::Bytes(answer)])
}
