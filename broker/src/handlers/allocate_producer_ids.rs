//! AllocateProducerIds (KIP-730): a block of producer ids for a broker to hand out.

use kafka_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId};
use protocol::types::{BrokerEpoch, BrokerId};

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn allocate_producer_ids(
        &self,
        request: &mut Request<'_>,
    ) -> Result<AllocateProducerIdsResponse, RequestError> {
        let body: AllocateProducerIdsRequest = request.decode()?;
        let (broker, epoch) = (BrokerId(body.broker_id.0), BrokerEpoch(body.broker_epoch));
        let response = AllocateProducerIdsResponse::default();
        Ok(match self.controller.allocate_producer_ids(broker, epoch).await {
            Ok(Ok(block)) => {
                response.with_producer_id_start(ProducerId(block.start().0)).with_producer_id_len(block.length())
            }
            Ok(Err(error)) => response.with_error_code(error.code()),
            Err(error) => response.with_error_code(error.code()),
        })
    }
}
