//! InitProducerId for idempotent producers (KIP-98, KIP-360).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    /// An idempotent producer always gets a new id with epoch 0: only a transactional one continues an old id, and
    /// transactions are not supported.
    pub(super) async fn init_producer_id(
        &self,
        request: &mut Request<'_>,
    ) -> Result<InitProducerIdResponse, RequestError> {
        let body: InitProducerIdRequest = request.decode()?;
        if body.transactional_id.is_some() {
            return Ok(refused(ResponseError::InvalidRequest.code()));
        }
        Ok(match self.producer_ids.next().await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id.0)).with_producer_epoch(0),
            Err(error) => refused(error.code()),
        })
    }
}

fn refused(error_code: i16) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error_code)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
