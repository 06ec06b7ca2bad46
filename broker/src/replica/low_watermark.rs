//! Records that a client deletes are gone once the log of every replica that could become leader starts after them.
//! Until then the next leader could bring them back, so the client waits.

use std::sync::Arc;

use protocol::types::Offset;
use tokio::time::{Instant, timeout_at};

use super::access::{AccessError, DeleteRecordsError};
use super::partition::Partition;
use super::waiters::Waiter;

impl Partition {
    /// Waits until all replicas start at `start` or later. Returns the lowest log start among them.
    pub(crate) async fn deleted(&self, start: Offset, deadline: Instant) -> Result<Offset, DeleteRecordsError> {
        loop {
            let waiter = Arc::new(Waiter::default());
            self.deletion_waiters.register(&waiter);
            let low_watermark = self.low_watermark()?;
            if start <= low_watermark {
                return Ok(low_watermark);
            }
            if timeout_at(deadline, waiter.woken()).await.is_err() {
                return Err(DeleteRecordsError::NotDeletedInTime { start, low_watermark });
            }
        }
    }

    /// The lowest log start of the active replicas.
    pub(super) fn low_watermark(&self) -> Result<Offset, AccessError> {
        let state = self.state()?;
        Ok(self.leader(&state)?.low_watermark(state.log.log_start(), &self.shared.brokers.load()))
    }
}
