//! Ids for idempotent producers: the controller allocates blocks (KIP-730), a broker the ids of its block.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AllocateProducerIdsRequest, BrokerId as WireBrokerId};
use protocol::types::{BrokerEpoch, BrokerId, ProducerId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::controller_channel::{ChannelError, ControllerChannel};
use crate::metadata::Image;

const VERSION: i16 = 0;
/// Timeout for a new block. Clients retry.
const ALLOCATION_MAX: Duration = Duration::from_secs(5);

/// A block of ids that no other broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    next: ProducerId,
    end: ProducerId,
}

impl Block {
    const EMPTY: Self = Self { next: ProducerId(0), end: ProducerId(0) };

    fn new(start: i64, length: i32) -> Self {
        Self { next: ProducerId(start), end: ProducerId(start.saturating_add(length.into())) }
    }

    fn take(&mut self) -> Option<ProducerId> {
        let id = self.next;
        if self.end <= id {
            return None;
        }
        self.next = ProducerId(id.0 + 1);
        Some(id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProducerIdError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the controller gives no producer ids: error {0}")]
    Refused(i16),
}

#[derive(Debug)]
pub(crate) struct ProducerIdAllocator {
    id: BrokerId,
    image: Arc<ArcSwap<Image>>,
    channel: ControllerChannel,
    block: Mutex<Block>,
}

impl ProducerIdAllocator {
    pub(crate) fn new(id: BrokerId, image: Arc<ArcSwap<Image>>, channel: ControllerChannel) -> Self {
        Self { id, image, channel, block: Mutex::new(Block::EMPTY) }
    }

    /// Callers that come while a block is being fetched wait for that block.
    pub(crate) async fn next(&self) -> Result<ProducerId, ProducerIdError> {
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.take() {
                return Ok(id);
            }
            *block = self.allocate().await?;
        }
    }

    async fn allocate(&self) -> Result<Block, ProducerIdError> {
        let epoch = self.image.load().brokers.get(&self.id).map_or(BrokerEpoch(-1), |broker| broker.epoch);
        let request =
            AllocateProducerIdsRequest::default().with_broker_id(WireBrokerId(self.id.0)).with_broker_epoch(epoch.0);
        let response = self.channel.call(VERSION, &request, Instant::now() + ALLOCATION_MAX).await?;
        if response.error_code != 0 {
            return Err(ProducerIdError::Refused(response.error_code));
        }
        let block = Block::new(response.producer_id_start.0, response.producer_id_len);
        // An empty block would be requested again for ever.
        let unusable = ProducerIdError::Refused(ResponseError::UnknownServerError.code());
        if block.next < block.end { Ok(block) } else { Err(unusable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_a_block_is_given_once() {
        let mut block = Block::new(1000, 3);
        let ids: Vec<_> = std::iter::from_fn(|| block.take()).collect();
        assert_eq!(ids, [1000, 1001, 1002].map(ProducerId));
        assert_eq!(Block::new(i64::MAX, 5).take(), None, "ids run out without wrapping");
    }
}
