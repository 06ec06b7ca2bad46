//! Producer ids: the controller hands out blocks (KIP-730), a broker hands out the ids of its block.

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, BrokerId, ProducerId};
use tokio::sync::Mutex;

use super::{ControllerError, ControllerHandle};
use crate::metadata::Image;

const BLOCK_LENGTH: i64 = 1000;

/// Ids that no other broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdBlock {
    next: ProducerId,
    end: ProducerId,
}

impl ProducerIdBlock {
    const EMPTY: Self = Self { next: ProducerId(0), end: ProducerId(0) };

    fn take(&mut self) -> Option<ProducerId> {
        let id = self.next;
        if self.end <= id {
            return None;
        }
        self.next = ProducerId(id.0 + 1);
        Some(id)
    }
}

/// The record that takes the next block for a broker. `None`: there are no more ids.
pub(super) fn allocate(image: &Image, broker: BrokerId) -> Option<(MetadataRecord, ProducerIdBlock)> {
    let first = image.next_producer_id;
    let end = ProducerId(first.0.checked_add(BLOCK_LENGTH)?);
    let broker_epoch = image.brokers.get(&broker).map_or(BrokerEpoch(-1), |broker| broker.epoch);
    let record = MetadataRecord::ProducerIds { broker_id: broker, broker_epoch, next_producer_id: end };
    Some((record, ProducerIdBlock { next: first, end }))
}

/// The broker's end.
#[derive(Debug)]
pub(crate) struct ProducerIdAllocator {
    controller: ControllerHandle,
    block: Mutex<ProducerIdBlock>,
}

impl ProducerIdAllocator {
    pub(crate) fn new(controller: ControllerHandle) -> Self {
        Self { controller, block: Mutex::new(ProducerIdBlock::EMPTY) }
    }

    /// Whoever comes while a block is on its way waits for that block.
    pub(crate) async fn next(&self) -> Result<ProducerId, ControllerError> {
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.take() {
                return Ok(id);
            }
            *block = self.controller.allocate_producer_ids().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::replay;

    #[test]
    fn no_id_is_in_two_blocks() {
        let mut image = Image::empty();
        let (record, mut first) = allocate(&image, BrokerId(1)).unwrap();
        replay(&mut image, &record).unwrap();
        let (_, mut second) = allocate(&image, BrokerId(2)).unwrap();
        let ids: Vec<_> = std::iter::from_fn(|| first.take()).chain(std::iter::from_fn(|| second.take())).collect();
        assert_eq!(ids, (0..2 * BLOCK_LENGTH).map(ProducerId).collect::<Vec<_>>());
    }

    #[test]
    fn ids_run_out_without_wrapping() {
        let image = Image { next_producer_id: ProducerId(i64::MAX - 1), ..Image::empty() };
        assert_eq!(allocate(&image, BrokerId(1)), None);
    }
}
