//! BrokerRegistration (KIP-631): a process registers as a broker.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use protocol::metadata_records::{Endpoint, FeatureRange};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::Registration;

impl Broker {
    pub(super) async fn broker_registration(
        &self,
        request: &mut Request<'_>,
    ) -> Result<BrokerRegistrationResponse, RequestError> {
        let body: BrokerRegistrationRequest = request.decode()?;
        // A broker has one volume, so that a volume is one replica of everything on it.
        let [directory] = body.log_dirs[..] else { return Ok(refused(ResponseError::InvalidRegistration.code())) };
        let endpoints = body.listeners.into_iter().map(|listener| Endpoint {
            name: listener.name.to_string(),
            host: listener.host.to_string(),
            port: listener.port,
            security_protocol: listener.security_protocol,
        });
        let features = body.features.into_iter().map(|feature| FeatureRange {
            name: feature.name.to_string(),
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        });
        let registration = Registration {
            id: BrokerId(body.broker_id.0),
            cluster_id: body.cluster_id.to_string(),
            incarnation: IncarnationId(body.incarnation_id),
            directory: DirectoryId(directory),
            previous_epoch: (0 <= body.previous_broker_epoch).then_some(BrokerEpoch(body.previous_broker_epoch)),
            endpoints: endpoints.collect(),
            features: features.collect(),
            rack: body.rack.map(|rack| rack.to_string()),
        };
        Ok(match self.controller.register_broker(registration).await {
            Ok(Ok(epoch)) => BrokerRegistrationResponse::default().with_broker_epoch(epoch.0),
            Ok(Err(error)) => refused(error.code()),
            Err(error) => refused(error.code()),
        })
    }
}

fn refused(code: i16) -> BrokerRegistrationResponse {
    BrokerRegistrationResponse::default().with_error_code(code).with_broker_epoch(-1)
}
