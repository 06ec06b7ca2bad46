//! What only the active controller decides goes to it, wherever it arrives (KIP-590).

use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::frame::LENGTH_BYTES;
use tokio::time::{Instant, timeout};

use super::{Broker, Outcome, Part, Request, RequestContext, RequestError};
use crate::config::ListenerKind;
use crate::metadata::Image;

/// Without the configurations of the topics in the answer.
const CREATE_TOPICS_VERSION: i16 = 4;
/// How long a topic may take from the controller to the metadata of this broker.
const REPLAY_MAX: Duration = Duration::from_secs(1);

impl Broker {
    /// It has to go to another node. What comes to a controller's listener has been sent to this one on purpose.
    pub(super) fn is_for_controller(&self, request: &Request<'_>) -> bool {
        let arrived_there = request.context.listener.kind == ListenerKind::Controller;
        request.api.forwarded && !arrived_there && !self.is_active_controller()
    }

    /// The controller's answer. `None`: no controller was reached, and nobody has carried it out.
    pub(super) async fn forward(&self, request: &Request<'_>, frame: Bytes) -> Result<Option<Outcome>, RequestError> {
        let forwarding = self.forwarding.forward(frame, request.context.client, self.forwarding_deadline());
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

    /// As a client would, with all defaults. Returns the error of each that could not be created, and returns when
    /// the others are in the metadata of this broker.
    pub(super) async fn create_by_controller(
        &self,
        names: Vec<String>,
        context: &RequestContext,
    ) -> HashMap<String, ResponseError> {
        let topic = |name: &String| {
            CreatableTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
        };
        let request = CreateTopicsRequest::default().with_topics(names.iter().map(topic).collect());
        let deadline = self.forwarding_deadline();
        let created = self.forwarding.forward_own(CREATE_TOPICS_VERSION, &request, context.client, deadline).await;
        let Ok(response) = created else {
            return names.into_iter().map(|name| (name, ResponseError::LeaderNotAvailable)).collect();
        };
        let failed = response.topics.into_iter().filter_map(|topic| {
            let error = ResponseError::try_from_code(topic.error_code)?;
            (error != ResponseError::TopicAlreadyExists).then(|| (topic.name.to_string(), error))
        });
        let failed: HashMap<_, _> = failed.collect();
        let expected: Vec<_> = names.into_iter().filter(|name| !failed.contains_key(name)).collect();
        // Whether they are there or not: the client is told what the metadata says.
        let _late =
            timeout(REPLAY_MAX, self.replayed(|image| expected.iter().all(|name| image.topic(name).is_some()))).await;
        failed
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

/// With the length that an envelope leaves out.
fn framed(answer: Bytes) -> Outcome {
    let mut length = BytesMut::with_capacity(LENGTH_BYTES);
    length.put_i32(i32::try_from(answer.len()).unwrap_or(i32::MAX));
    Outcome::Respond(vec![Part::Bytes(length.freeze()), Part::Bytes(answer)])
}
