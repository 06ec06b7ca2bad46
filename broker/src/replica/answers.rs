//! How a follower applies its leader's answers.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::follower_state::{LeaderAnswer, Step};
use super::following::{Answered, FetchPlan, FollowError, Next, Shortening};
use super::manager::ReplicaManager;
use super::partition::Partition;
use crate::clock;
use crate::peer::FetchOutcome;

/// Applies an answer, or pauses the partition.
pub(super) fn follow_answer(
    replicas: &ReplicaManager,
    partition: &Arc<Partition>,
    plan: &FetchPlan,
    answered: Answered,
    backoff_max: Duration,
) {
    match take_whole(replicas, partition, plan, answered) {
        Ok(Next::Continue) => return,
        Ok(Next::Pause | Next::Shorten(_) | Next::BeginEarlier(_)) => {}
        Err(error) => warn!(partition = %partition.name, %error, "following the leader failed; retrying"),
    }
    partition.pause_fetching(plan.epoch, clock::monotonic(), backoff_max);
}

/// Also carries out what the answer requires of the log's start.
fn take_whole(
    replicas: &ReplicaManager,
    partition: &Arc<Partition>,
    plan: &FetchPlan,
    answered: Answered,
) -> Result<Next, FollowError> {
    match partition.take_answer(plan, answered.clone())? {
        Next::Shorten(step) => shorten(replicas, partition, plan, step).map(|()| Next::Continue),
        Next::BeginEarlier(offset) => {
            shorten(replicas, partition, plan, Step::Restart(offset))?;
            // At once: offsets before the leader's log start cannot be fetched.
            partition.take_answer(&FetchPlan { offset, ..*plan }, answered)
        }
        next @ (Next::Continue | Next::Pause) => Ok(next),
    }
}

pub(super) fn answered(outcome: FetchOutcome, partition: &Partition) -> Answered {
    Answered::without_records(match outcome {
        FetchOutcome::Read { records, high_watermark, log_start } => {
            return Answered { answer: LeaderAnswer::Agreed, records, high_watermark, log_start };
        }
        FetchOutcome::Diverged { epoch, end } => LeaderAnswer::Diverged { epoch, end },
        FetchOutcome::OutOfRange { log_start: leader_start } => LeaderAnswer::OutOfRange { leader_start },
        FetchOutcome::Fenced => LeaderAnswer::Fenced,
        FetchOutcome::Denied => LeaderAnswer::Failed,
        FetchOutcome::Failed { error_code } => {
            debug!(partition = %partition.name, error_code, "leader answered a follower's fetch with an error");
            LeaderAnswer::Failed
        }
    })
}

/// Waits for the disk.
fn shorten(replicas: &ReplicaManager, partition: &Partition, plan: &FetchPlan, step: Step) -> Result<(), FollowError> {
    while partition.shorten(plan, step)? == Shortening::CheckpointFirst {
        replicas.write_checkpoints().inspect_err(|error| replicas.checkpoints_not_written(error))?;
        partition.checkpointed()?;
    }
    if matches!(step, Step::Restart(_)) {
        // The files about compaction describe the former content of the log. Once the new content is as long, they
        // would call it compacted.
        replicas.write_compaction().inspect_err(|error| replicas.checkpoints_not_written(error))?;
    }
    Ok(())
}
