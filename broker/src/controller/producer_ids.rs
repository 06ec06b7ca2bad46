//! Producer ids: the controller hands out blocks (KIP-730), a broker hands out the ids of its block.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, BrokerId, ProducerId};
use tokio::sync::Mutex;

use super::brokers::{BrokerEpochError, check_epoch};
use super::{ControllerError, ControllerHandle};
use crate::metadata::Image;

const BLOCK_LENGTH: i64 = 1000;

/// Ids that no other broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdBlock {
    next: ProducerId,
    end: ProducerId,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocateError {
    #[error(transparent)]
    Epoch(#[from] BrokerEpochError),
    #[error("all producer ids are used up")]
    UsedUp,
}

/// Why there is no id for a producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProducerIdError {
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error(transparent)]
    Refused(#[from] AllocateError),
}

impl ProducerIdBlock {
    const EMPTY: Self = Self { next: ProducerId(0), end: ProducerId(0) };

    pub(crate) fn start(&self) -> ProducerId {
        self.next
    }

    pub(crate) fn length(&self) -> i32 {
        i32::try_from(self.end.0 - self.next.0).unwrap_or(i32::MAX)
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

/// The record that takes the next block for a broker.
pub(super) fn allocate(
    image: &Image,
    broker: BrokerId,
    epoch: BrokerEpoch,
) -> Result<(MetadataRecord, ProducerIdBlock), AllocateError> {
    check_epoch(image, broker, epoch)?;
    let first = image.next_producer_id;
    let end = ProducerId(first.0.checked_add(BLOCK_LENGTH).ok_or(AllocateError::UsedUp)?);
    let record = MetadataRecord::ProducerIds { broker_id: broker, broker_epoch: epoch, next_producer_id: end };
    Ok((record, ProducerIdBlock { next: first, end }))
}

/// The broker's end.
#[derive(Debug)]
pub(crate) struct ProducerIdAllocator {
    controller: ControllerHandle,
    broker: BrokerId,
    image: Arc<ArcSwap<Image>>,
    block: Mutex<ProducerIdBlock>,
}

impl ProducerIdAllocator {
    pub(crate) fn new(controller: ControllerHandle, broker: BrokerId, image: Arc<ArcSwap<Image>>) -> Self {
        Self { controller, broker, image, block: Mutex::new(ProducerIdBlock::EMPTY) }
    }

    /// Whoever comes while a block is on its way waits for that block.
    pub(crate) async fn next(&self) -> Result<ProducerId, ProducerIdError> {
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.take() {
                return Ok(id);
            }
            let registered = self.image.load().brokers.get(&self.broker).map(|broker| broker.epoch);
            let epoch = registered.unwrap_or(BrokerEpoch(-1));
            *block = self.controller.allocate_producer_ids(self.broker, epoch).await??;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{apply, cluster};

    #[test]
    fn no_id_is_in_two_blocks() {
        let mut image = cluster(2);
        let epochs = [0, 1].map(|id| image.brokers[&BrokerId(id)].epoch);
        let (record, mut first) = allocate(&image, BrokerId(0), epochs[0]).unwrap();
        apply(&mut image, &[record]);
        let (_, mut second) = allocate(&image, BrokerId(1), epochs[1]).unwrap();
        let ids: Vec<_> = std::iter::from_fn(|| first.take()).chain(std::iter::from_fn(|| second.take())).collect();
        assert_eq!(ids, (0..2 * BLOCK_LENGTH).map(ProducerId).collect::<Vec<_>>());
    }

    #[test]
    fn a_process_that_is_over_gets_no_ids() {
        let image = cluster(1);
        let (id, epoch) = (BrokerId(0), BrokerEpoch(77));
        let registered = image.brokers[&id].epoch;
        let stale = BrokerEpochError::Stale { id, given: epoch, registered };
        assert_eq!(allocate(&image, id, epoch), Err(AllocateError::Epoch(stale)));
        let id = BrokerId(3);
        assert_eq!(allocate(&image, id, epoch), Err(AllocateError::Epoch(BrokerEpochError::NotRegistered { id })));
    }

    #[test]
    fn ids_run_out_without_wrapping() {
        let image = Image { next_producer_id: ProducerId(i64::MAX - 1), ..cluster(1) };
        let epoch = image.brokers[&BrokerId(0)].epoch;
        assert_eq!(allocate(&image, BrokerId(0), epoch), Err(AllocateError::UsedUp));
    }
}
