//! Sends ISR proposals to the controller: one request at a time, with all that wait, until the outcome of each is
//! known. Also checks periodically which followers have fallen behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::fetcher::Context;
use super::leader_state::{IsrProposal, ProposalOutcome};
use super::partition::Partition;
use crate::peer::{ControllerChannel, IsrAnswer, IsrRequest, alter_partitions};

/// Timeout of one request, including the search for a controller.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Pause after a request that settled nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Least interval between two checks.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);

type Proposals = Vec<(Arc<Partition>, IsrProposal)>;

pub(super) struct IsrChanges {
    context: Arc<Context>,
    controller: ControllerChannel,
}

impl IsrChanges {
    pub(super) fn new(context: Arc<Context>, controller: ControllerChannel) -> Self {
        Self { context, controller }
    }

    pub(super) async fn run(&self) {
        tokio::join!(self.look(), self.send());
    }

    async fn look(&self) {
        let replicas = &self.context.replicas;
        let interval = (replicas.shared.lag_max / 2).max(LOOK_INTERVAL_MIN);
        loop {
            sleep(interval).await;
            replicas.all().iter().filter(|partition| partition.leads()).for_each(Partition::review_followers);
        }
    }

    async fn send(&self) {
        let mut waiting = Proposals::new();
        loop {
            if waiting.is_empty() {
                waiting = self.context.replicas.shared.proposals.take().await;
            } else {
                sleep(RETRY_PAUSE).await;
                waiting.extend(self.context.replicas.shared.proposals.take_now());
                waiting.retain(|(partition, proposal)| partition.still_proposes(proposal));
            }
            waiting = self.ask(waiting).await;
        }
    }

    /// Returns those that must be sent again.
    async fn ask(&self, mut waiting: Proposals) -> Proposals {
        let Some(epoch) = self.context.broker_epoch().filter(|_| !waiting.is_empty()) else { return waiting };
        let broker = self.context.replicas.broker_id;
        let requests: Vec<_> = waiting.iter().map(|(partition, proposal)| request(partition, proposal)).collect();
        let answers = alter_partitions(&self.controller, (broker, epoch), &requests, Instant::now() + ANSWER_MAX).await;
        match answers {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                waiting.retain(|(partition, proposal)| match answers.next().and_then(outcome) {
                    Some(outcome) => {
                        self.resolve(partition, proposal, outcome);
                        false
                    }
                    None => true,
                });
            }
            Err(error) => debug!(%error, partitions = waiting.len(), "ISR change not answered; retrying"),
        }
        waiting
    }

    fn resolve(&self, partition: &Arc<Partition>, proposal: &IsrProposal, outcome: ProposalOutcome) {
        if let Some(change) = partition.resolve(proposal, outcome) {
            let counts = &self.context.replicas.isr_counts;
            counts.expands.fetch_add(u64::from(0 < change.joined), Ordering::Relaxed);
            counts.shrinks.fetch_add(u64::from(0 < change.left), Ordering::Relaxed);
        }
    }
}

fn request(partition: &Partition, proposal: &IsrProposal) -> IsrRequest {
    IsrRequest {
        topic: partition.topic_id,
        partition: partition.name.partition,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        isr: proposal.isr.clone(),
        recovery_state: proposal.recovery_state,
    }
}

/// `None`: it is unknown.
fn outcome(answer: IsrAnswer) -> Option<ProposalOutcome> {
    match answer {
        IsrAnswer::Committed { leader_epoch, partition_epoch, isr } => {
            Some(ProposalOutcome::Committed { leader_epoch, partition_epoch, isr })
        }
        IsrAnswer::Refused { error_code } => {
            warn!(error_code, "ISR change refused by the controller");
            Some(ProposalOutcome::Refused)
        }
        IsrAnswer::Superseded { .. } => Some(ProposalOutcome::Superseded),
        IsrAnswer::Unknown { .. } => None,
    }
}
