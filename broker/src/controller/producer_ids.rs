//! Producer ids: the controller hands them out to brokers in blocks (KIP-730).

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, BrokerId, ProducerId};

use super::brokers::{BrokerEpochError, check_epoch};
use crate::metadata::Image;

const BLOCK_LENGTH: i64 = 1000;

/// A block of ids that no other broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdBlock {
    start: ProducerId,
    end: ProducerId,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AllocateError {
    #[error(transparent)]
    Epoch(#[from] BrokerEpochError),
    #[error("all producer ids are used up")]
    UsedUp,
}

impl ProducerIdBlock {
    pub(crate) fn start(&self) -> ProducerId {
        self.start
    }

    pub(crate) fn length(&self) -> i32 {
        i32::try_from(self.end.0 - self.start.0).unwrap_or(i32::MAX)
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
    Ok((record, ProducerIdBlock { start: first, end }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{apply, cluster};

    #[test]
    fn no_id_is_in_two_blocks() {
        let mut image = cluster(2);
        let epochs = [0, 1].map(|id| image.brokers[&BrokerId(id)].epoch);
        let (record, first) = allocate(&image, BrokerId(0), epochs[0]).unwrap();
        apply(&mut image, &[record]);
        let (_, second) = allocate(&image, BrokerId(1), epochs[1]).unwrap();
        assert_eq!((first.start(), second.start()), (ProducerId(0), ProducerId(BLOCK_LENGTH)));
        assert_eq!((i64::from(first.length()), i64::from(second.length())), (BLOCK_LENGTH, BLOCK_LENGTH));
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
