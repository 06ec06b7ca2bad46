//! FindCoordinator (KIP-699): the leader of the partition that a group belongs to. `__consumer_offsets` is created
//! when it is first needed.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use super::groups::text;
use super::{Broker, Request, RequestContext, RequestError};
use crate::controller::TopicSpec;
use crate::coordinator::{OFFSETS_TOPIC, coordinator_partition};

/// The key type of groups, also implied before version 1.
const GROUP: i8 = 0;
const NO_TRANSACTIONS: &str = "transactions are not offered by this broker";
const NOT_YET: &str = "no broker leads the group's partition of __consumer_offsets";

impl Broker {
    pub(super) async fn find_coordinator(
        &self,
        request: &mut Request<'_>,
    ) -> Result<FindCoordinatorResponse, RequestError> {
        let body: FindCoordinatorRequest = request.decode()?;
        let is_single = request.version < 4;
        let keys = if is_single { vec![body.key] } else { body.coordinator_keys };
        if body.key_type == GROUP && self.image.load().topic(OFFSETS_TOPIC).is_none() {
            self.create_offsets_topic(request.context).await;
        }
        let listener = &request.context.listener.name;
        let find = |key: StrBytes| {
            let found = if body.key_type == GROUP { self.coordinator_of(&key, listener) } else { no_transactions() };
            found.with_key(key)
        };
        let mut coordinators: Vec<_> = keys.into_iter().map(find).collect();
        if !is_single {
            return Ok(FindCoordinatorResponse::default().with_coordinators(coordinators));
        }
        let found = coordinators.pop().unwrap_or_else(not_available);
        Ok(FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message.filter(|_| 1 <= request.version))
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port))
    }

    fn coordinator_of(&self, group: &str, listener: &str) -> Coordinator {
        let image = self.image.load();
        let found = image.topic(OFFSETS_TOPIC).and_then(|topic| {
            let partition = coordinator_partition(group, topic.partitions.len())?;
            let leader = topic.partition(partition)?.leader?;
            let endpoints = &image.brokers.get(&leader)?.endpoints;
            Some((leader, endpoints.iter().find(|endpoint| endpoint.name == listener)?))
        });
        let Some((leader, endpoint)) = found else { return not_available() };
        Coordinator::default()
            .with_node_id(BrokerId(leader.0))
            .with_host(text(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
    }

    /// With the configured replication factor: until there are enough brokers, groups have to wait.
    async fn create_offsets_topic(&self, context: &RequestContext) {
        let values = &self.config.values;
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("segment.bytes", values.get_int("offsets.topic.segment.bytes").to_string()),
        ];
        let spec = TopicSpec {
            partitions: Some(values.get_int("offsets.topic.num.partitions")),
            replication_factor: i16::try_from(values.get_int("offsets.topic.replication.factor")).ok(),
            configs: configs.map(|(name, value)| (name.to_owned(), value)).into(),
            ..TopicSpec::with_defaults(OFFSETS_TOPIC.to_owned())
        };
        for (topic, (_, reason)) in self.create_for_client(vec![spec], context).await {
            warn!(reason, "groups wait for {topic}, which cannot be created");
        }
    }
}

fn no_transactions() -> Coordinator {
    nowhere(ResponseError::InvalidRequest, NO_TRANSACTIONS)
}

/// Clients retry.
fn not_available() -> Coordinator {
    nowhere(ResponseError::CoordinatorNotAvailable, NOT_YET)
}

fn nowhere(error: ResponseError, message: &'static str) -> Coordinator {
    Coordinator::default()
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_static_str(message)))
}
