//! AlterPartition: a leader proposes its ISR (KIP-497, KIP-841, KIP-903), the controller decides. Pure.
//!
//! The order of the checks is Kafka's: it decides which error a leader gets when several things are wrong.

use std::collections::BTreeSet;

use protocol::metadata_records::{LeaderRecoveryState, MetadataRecord};
use protocol::types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};

use super::brokers::{BrokerEpochError, check_epoch, registered};
use super::policy::Policy;
use crate::bugs::{self, Bug};
use crate::metadata::{Image, PartitionImage, TopicImage};

/// A request of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlterPartition {
    pub(crate) broker: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    pub(crate) topics: Vec<(TopicId, Vec<ProposedIsr>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProposedIsr {
    pub(crate) partition: PartitionId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    pub(crate) recovery_state: LeaderRecoveryState,
    /// Each with the epoch in which it last fetched: a later process of the broker may lack what this one had.
    pub(crate) isr: Vec<(BrokerId, BrokerEpoch)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AlterPartitionError {
    #[error("there is no topic {topic}")]
    UnknownTopic { topic: TopicId },
    #[error("there is no partition {partition}")]
    UnknownPartition { partition: PartitionId },
    #[error("leader epoch {leader_epoch} or partition epoch {partition_epoch:?} has not been reached here")]
    Ahead { leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch },
    #[error("leader epoch {given} is over: it is {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("the leader is {leader:?}")]
    NotLeader { leader: Option<BrokerId> },
    #[error("partition epoch {given:?} is over: it is {current:?}")]
    StalePartitionEpoch { given: PartitionEpoch, current: PartitionEpoch },
    #[error("the in-sync set {isr:?} must have the leader and else only replicas, each once")]
    InvalidIsr { isr: Vec<BrokerId> },
    #[error("a recovering leader must be the only member of the ISR, and a recovered one cannot recover again")]
    InvalidRecoveryState,
    #[error("broker {broker} cannot be in sync: {reason}")]
    Ineligible { broker: BrokerId, reason: Ineligibility },
    #[error("another leader epoch has begun with it")]
    NewLeaderElected,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ineligibility {
    #[error(transparent)]
    Epoch(#[from] BrokerEpochError),
    #[error("it is fenced")]
    Fenced,
    #[error("it is about to stop")]
    ShuttingDown,
    #[error("its volume is not the one that the replica is on")]
    OtherVolume,
}

/// The state with which the leader goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlteredPartition {
    pub(crate) leader: BrokerId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) recovery_state: LeaderRecoveryState,
    pub(crate) partition_epoch: PartitionEpoch,
}

pub(crate) type AlteredPartitions = Vec<(TopicId, Vec<(PartitionId, Result<AlteredPartition, AlterPartitionError>)>)>;

/// The records, and the refusals; the answers for the other partitions are those of [`answers`]. If a partition is in
/// the request twice the first counts.
pub(super) fn alter_partitions(
    policy: &Policy<'_>,
    request: &AlterPartition,
) -> Result<(Vec<MetadataRecord>, Vec<Refusal>), BrokerEpochError> {
    check_epoch(policy.image(), request.broker, request.epoch)?;
    let (mut records, mut refusals, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (topic, partitions) in &request.topics {
        for proposed in partitions {
            let first = seen.insert((*topic, proposed.partition));
            let altered = if first { alter(policy, request.broker, *topic, proposed) } else { Ok(None) };
            match altered {
                Ok(record) => records.extend(record),
                Err(error) => refusals.push((*topic, proposed.partition, error)),
            }
        }
    }
    Ok((records, refusals))
}

pub(super) type Refusal = (TopicId, PartitionId, AlterPartitionError);

/// `image` is the one after the records.
pub(super) fn answers(image: &Image, request: &AlterPartition, refusals: &[Refusal]) -> AlteredPartitions {
    let answer = |topic: TopicId, proposed: &ProposedIsr| match refusals
        .iter()
        .find(|(t, partition, _)| (*t, *partition) == (topic, proposed.partition))
    {
        Some((_, _, error)) => Err(error.clone()),
        None => altered(image, topic, proposed),
    };
    let topics = request.topics.iter().map(|(topic, partitions)| {
        let answers = partitions.iter().map(|proposed| (proposed.partition, answer(*topic, proposed)));
        (*topic, answers.collect())
    });
    topics.collect()
}

fn altered(image: &Image, topic: TopicId, proposed: &ProposedIsr) -> Result<AlteredPartition, AlterPartitionError> {
    let (_, state) = find(image, topic, proposed.partition)?;
    // If the change completed a reassignment, the leader may have changed or have got a new epoch: it then learns its
    // state from the metadata.
    match state.leader {
        Some(leader) if state.leader_epoch == proposed.leader_epoch => Ok(AlteredPartition {
            leader,
            leader_epoch: state.leader_epoch,
            isr: state.isr.clone(),
            recovery_state: state.recovery_state,
            partition_epoch: state.partition_epoch,
        }),
        _ => Err(AlterPartitionError::NewLeaderElected),
    }
}

fn alter(
    policy: &Policy<'_>,
    sender: BrokerId,
    topic: TopicId,
    proposed: &ProposedIsr,
) -> Result<Option<MetadataRecord>, AlterPartitionError> {
    let (topic, state) = find(policy.image(), topic, proposed.partition)?;
    check_epochs(state, sender, proposed)?;
    check_isr(state, sender, proposed)?;
    for (member, epoch) in &proposed.isr {
        let reason = ineligibility(policy, state, *member, *epoch);
        reason.map_err(|reason| AlterPartitionError::Ineligible { broker: *member, reason })?;
    }
    let change = policy.change(topic, proposed.partition, state);
    let change = change.in_sync(members(proposed), proposed.recovery_state);
    Ok(change.elect(|replica| policy.is_active(replica)))
}

fn find(
    image: &Image,
    topic: TopicId,
    partition: PartitionId,
) -> Result<(&TopicImage, &PartitionImage), AlterPartitionError> {
    let found = image.topics.get(&topic).ok_or(AlterPartitionError::UnknownTopic { topic })?;
    let state = found.partition(partition).ok_or(AlterPartitionError::UnknownPartition { partition })?;
    Ok((found, state))
}

fn check_epochs(state: &PartitionImage, sender: BrokerId, proposed: &ProposedIsr) -> Result<(), AlterPartitionError> {
    let ProposedIsr { leader_epoch, partition_epoch, .. } = *proposed;
    if state.leader_epoch < leader_epoch || state.partition_epoch < partition_epoch {
        return Err(AlterPartitionError::Ahead { leader_epoch, partition_epoch });
    }
    if leader_epoch < state.leader_epoch {
        return Err(AlterPartitionError::FencedLeaderEpoch { given: leader_epoch, current: state.leader_epoch });
    }
    if state.leader != Some(sender) {
        return Err(AlterPartitionError::NotLeader { leader: state.leader });
    }
    if partition_epoch < state.partition_epoch {
        let (given, current) = (partition_epoch, state.partition_epoch);
        return Err(AlterPartitionError::StalePartitionEpoch { given, current });
    }
    Ok(())
}

fn check_isr(state: &PartitionImage, leader: BrokerId, proposed: &ProposedIsr) -> Result<(), AlterPartitionError> {
    let isr = members(proposed);
    let distinct: BTreeSet<_> = isr.iter().collect();
    let are_replicas = isr.iter().all(|member| state.replica_on(*member).is_some());
    if distinct.len() != isr.len() || !are_replicas || !isr.contains(&leader) {
        return Err(AlterPartitionError::InvalidIsr { isr });
    }
    match proposed.recovery_state {
        LeaderRecoveryState::Recovering if 1 < isr.len() || state.recovery_state == LeaderRecoveryState::Recovered => {
            Err(AlterPartitionError::InvalidRecoveryState)
        }
        LeaderRecoveryState::Recovering | LeaderRecoveryState::Recovered => Ok(()),
    }
}

fn members(proposed: &ProposedIsr) -> Vec<BrokerId> {
    proposed.isr.iter().map(|(member, _)| *member).collect()
}

/// The epoch is checked first: another process may lack records for good, while being fenced passes.
fn ineligibility(
    policy: &Policy<'_>,
    state: &PartitionImage,
    member: BrokerId,
    epoch: BrokerEpoch,
) -> Result<(), Ineligibility> {
    let broker = if bugs::is_planted(Bug::NoBrokerEpochInAlterPartition) {
        registered(policy.image(), member)?
    } else {
        check_epoch(policy.image(), member, epoch)?
    };
    if broker.fenced {
        return Err(Ineligibility::Fenced);
    }
    if broker.in_controlled_shutdown {
        return Err(Ineligibility::ShuttingDown);
    }
    match state.replica_on(member) {
        Some(replica) if policy.is_active(replica) => Ok(()),
        _ => Err(Ineligibility::OtherVolume),
    }
}

#[cfg(test)]
#[path = "alter_partition_test.rs"]
mod tests;
