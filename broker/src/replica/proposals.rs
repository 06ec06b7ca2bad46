//! ISR proposals until they are sent to the controller. Each partition has one at a time.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::leader_state::IsrProposal;
use super::partition::{Partition, lock};

#[derive(Debug, Default)]
pub(super) struct ProposalQueue {
    waiting: Mutex<Vec<(Arc<Partition>, IsrProposal)>>,
    came: Notify,
}

impl ProposalQueue {
    pub(super) fn push(&self, partition: Arc<Partition>, proposal: IsrProposal) {
        lock(&self.waiting).push((partition, proposal));
        self.came.notify_one();
    }

    /// Takes all there are; waits for at least one.
    pub(super) async fn take(&self) -> Vec<(Arc<Partition>, IsrProposal)> {
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.came.notified().await;
        }
    }

    pub(super) fn take_now(&self) -> Vec<(Arc<Partition>, IsrProposal)> {
        std::mem::take(&mut *lock(&self.waiting))
    }
}
