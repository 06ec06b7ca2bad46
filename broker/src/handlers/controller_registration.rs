//! ControllerRegistration (KIP-919): a controller's endpoints and supported features.

use kafka_protocol::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::metadata_records::{Endpoint, FeatureRange, RegisterControllerRecord};
use protocol::types::{BrokerId, IncarnationId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn controller_registration(
        &self,
        request: &mut Request<'_>,
    ) -> Result<ControllerRegistrationResponse, RequestError> {
        let body: ControllerRegistrationRequest = request.decode()?;
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
        let record = RegisterControllerRecord {
            controller_id: BrokerId(body.controller_id),
            incarnation_id: IncarnationId(body.incarnation_id),
            endpoints: endpoints.collect(),
            features: features.collect(),
        };
        let response = ControllerRegistrationResponse::default();
        Ok(match self.controller.register_controller(record).await {
            Ok(()) => response,
            Err(error) => response
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        })
    }
}
