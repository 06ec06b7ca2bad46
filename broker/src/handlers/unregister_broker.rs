//! UnregisterBroker (KIP-631): removes a broker that does not come back.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::types::BrokerId;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn unregister_broker(
        &self,
        request: &mut Request<'_>,
    ) -> Result<UnregisterBrokerResponse, RequestError> {
        let body: UnregisterBrokerRequest = request.decode()?;
        let refused = |code: i16, message: String| {
            UnregisterBrokerResponse::default()
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_string(message)))
        };
        Ok(match self.controller.unregister_broker(BrokerId(body.broker_id.0)).await {
            Ok(Ok(())) => UnregisterBrokerResponse::default(),
            Ok(Err(error)) => refused(error.code(), error.to_string()),
            Err(error) => refused(error.code(), error.to_string()),
        })
    }
}
