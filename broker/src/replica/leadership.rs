//! Logs the partitions that this broker begins to lead.

use protocol::types::{BrokerId, LeaderEpoch, Offset, TopicPartition};
use tracing::{debug, info};

/// Beyond this many they are not logged one by one.
const NAMED_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Leadership {
    pub(super) partition: TopicPartition,
    pub(super) epoch: LeaderEpoch,
    pub(super) log_end: Offset,
    pub(super) isr: Vec<BrokerId>,
}

/// Logs the leaderships that one change of the metadata brought.
pub(super) fn tell(begun: &[Leadership]) {
    let are_few = begun.len() <= NAMED_MAX;
    for Leadership { partition, epoch, log_end, isr } in begun {
        if are_few {
            info!(%partition, %epoch, %log_end, ?isr, "became leader");
        } else {
            debug!(%partition, %epoch, %log_end, ?isr, "became leader");
        }
    }
    if let Some(first) = begun.first().filter(|_| !are_few) {
        info!(partitions = begun.len(), first = %first.partition, "became leader");
    }
}
