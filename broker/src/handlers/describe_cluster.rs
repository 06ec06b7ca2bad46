//! DescribeCluster (KIP-700): the brokers; on a controller's listener the voters of the metadata quorum (KIP-919).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId as WireBrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Broker, Request, RequestError, authorized_operations};
use crate::config::ListenerKind;
use crate::metadata::Image;

/// The endpoint type for brokers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl Broker {
    pub(super) fn describe_cluster(&self, request: &mut Request<'_>) -> Result<DescribeClusterResponse, RequestError> {
        let body: DescribeClusterRequest = request.decode()?;
        let here = match request.context.listener.kind {
            ListenerKind::Client | ListenerKind::Broker => BROKERS,
            ListenerKind::Controller => CONTROLLERS,
        };
        if body.endpoint_type != here {
            return Ok(wrong_endpoint(body.endpoint_type, here, request.version));
        }
        let image = self.image.load();
        let listener = &request.context.listener.name;
        let nodes = if here == BROKERS {
            brokers(&image, listener, body.include_fenced_brokers)
        } else {
            controllers(&image, listener)
        };
        let own = WireBrokerId(self.config.broker_id.0);
        let is_described = nodes.iter().any(|node| node.broker_id == own);
        let response = DescribeClusterResponse::default()
            .with_endpoint_type(here)
            .with_cluster_id(StrBytes::from_string(self.identity.cluster_id.to_string()))
            .with_controller_id(if is_described { own } else { WireBrokerId(-1) })
            .with_brokers(nodes);
        Ok(if body.include_cluster_authorized_operations {
            response.with_cluster_authorized_operations(authorized_operations::of_cluster())
        } else {
            response
        })
    }
}

fn brokers(image: &Image, listener: &str, fenced_too: bool) -> Vec<DescribeClusterBroker> {
    let wanted = image.brokers.iter().filter(|(_, broker)| fenced_too || !broker.fenced);
    let describe = wanted.filter_map(|(id, broker)| {
        let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.name == listener)?;
        let node = node(id.0, &endpoint.host, endpoint.port);
        Some(node.with_rack(broker.rack.clone().map(StrBytes::from_string)).with_is_fenced(broker.fenced))
    });
    describe.collect()
}

fn controllers(image: &Image, listener: &str) -> Vec<DescribeClusterBroker> {
    let describe = image.voters.iter().filter_map(|voter| {
        let endpoint = voter.endpoints.iter().find(|endpoint| endpoint.name == listener)?;
        Some(node(voter.voter_id.0, &endpoint.host, endpoint.port))
    });
    describe.collect()
}

fn node(id: i32, host: &str, port: u16) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(WireBrokerId(id))
        .with_host(StrBytes::from_string(host.to_owned()))
        .with_port(i32::from(port))
}

/// Version 0 has no endpoint types, and no error code for them.
fn wrong_endpoint(asked: i8, here: i8, version: i16) -> DescribeClusterResponse {
    let error = match asked {
        _ if version == 0 => ResponseError::InvalidRequest,
        BROKERS | CONTROLLERS => ResponseError::MismatchedEndpointType,
        _ => ResponseError::UnsupportedEndpointType,
    };
    let message = format!("endpoint type {asked} is not that of this listener, which is {here}");
    DescribeClusterResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
}
