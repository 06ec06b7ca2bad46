//! Permission to restart a broker: given only if nothing becomes unavailable that could stay available, judged by the
//! partitions and the quorum as they *will* be without the broker and without all that already have a grant. A broker
//! with a grant hands over its leaderships and gets none back until it has registered again, or the grant has ended.
//! Soft state of the active controller; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, BrokerId, PartitionId, TopicPartition};

use super::brokers::{BrokerEpochError, check_epoch};
use super::command::RestartWish;
use super::elections::names_a_leader;
use super::policy::Policy;
use crate::metadata::{Image, PartitionImage, TopicImage};

/// Upper bound, whatever is requested: an unused grant must not keep leaders away for ever.
const TTL_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Default)]
pub(super) struct Grants {
    by_broker: BTreeMap<BrokerId, Grant>,
}

#[derive(Debug, Clone)]
struct Grant {
    epoch: BrokerEpoch,
    expires: Duration,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantStatus {
    pub(crate) broker: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    pub(crate) reason: String,
    pub(crate) remaining: Duration,
    /// Partitions that the broker still leads although another broker could.
    pub(crate) leaders_left: usize,
    /// Partitions without enough other replicas to stay available meanwhile.
    pub(crate) will_be_unavailable: Vec<TopicPartition>,
    /// With one or two voters the quorum waits for the broker to come back.
    pub(crate) quorum_will_wait: bool,
    /// Obstacles that have come up since it was granted.
    pub(crate) obstacles: Vec<Obstacle>,
}

impl GrantStatus {
    pub(crate) fn is_safe_to_stop(&self) -> bool {
        self.leaders_left == 0 && self.obstacles.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantError {
    #[error(transparent)]
    Epoch(#[from] BrokerEpochError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Forbidden(Vec<Obstacle>),
}

/// Why a broker must not stop now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("the active controller is new and has not yet heard from brokers {brokers:?}")]
    NotHeard { brokers: Vec<BrokerId> },
    #[error("partition {partition} would have {left:?} in sync and needs {needed}")]
    InSync { partition: TopicPartition, left: Vec<BrokerId>, needed: usize },
    #[error("of {voters} voters only {left:?} would be caught up, {needed} are needed")]
    Quorum { voters: usize, left: Vec<BrokerId>, needed: usize },
}

/// The effects of stopping the broker.
struct Forecast {
    obstacles: Vec<Obstacle>,
    will_be_unavailable: Vec<TopicPartition>,
    quorum_will_wait: bool,
}

impl Grants {
    /// Brokers that are about to stop and should not become leaders.
    pub(super) fn brokers(&self) -> impl Iterator<Item = BrokerId> {
        self.by_broker.keys().copied()
    }

    pub(super) fn clear(&mut self) {
        self.by_broker.clear();
    }

    /// False: there was no grant.
    pub(super) fn end(&mut self, broker: BrokerId) -> bool {
        self.by_broker.remove(&broker).is_some()
    }

    pub(super) fn expire(&mut self, now: Duration) {
        self.by_broker.retain(|_, grant| now < grant.expires);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.by_broker.values().map(|grant| grant.expires).min()
    }

    /// `unheard`: unfenced brokers from which this controller has had no heartbeat, so that they may be gone.
    pub(super) fn grant(
        &mut self,
        policy: &Policy<'_>,
        wish: &RestartWish,
        unheard: Vec<BrokerId>,
        now: Duration,
    ) -> Result<(), GrantError> {
        check_epoch(policy.image(), wish.broker, wish.epoch)?;
        let mut obstacles = Vec::new();
        if !unheard.is_empty() {
            obstacles.push(Obstacle::NotHeard { brokers: unheard });
        }
        obstacles.extend(self.forecast(policy, wish.broker, &wish.voters_caught_up).obstacles);
        if !obstacles.is_empty() {
            return Err(GrantError::Forbidden(obstacles));
        }
        let grant = Grant { epoch: wish.epoch, expires: now + wish.ttl.min(TTL_MAX), reason: wish.reason.clone() };
        self.by_broker.insert(wish.broker, grant);
        Ok(())
    }

    /// `None`: the broker has no grant.
    pub(super) fn status(
        &self,
        policy: &Policy<'_>,
        broker: BrokerId,
        voters_caught_up: &BTreeSet<BrokerId>,
        now: Duration,
    ) -> Option<GrantStatus> {
        let grant = self.by_broker.get(&broker)?;
        let Forecast { obstacles, will_be_unavailable, quorum_will_wait } =
            self.forecast(policy, broker, voters_caught_up);
        let led = policy.partitions_on(broker).filter(|(_, _, state, _)| state.leader == Some(broker));
        let leaders_left = led.filter(|(topic, id, ..)| !will_be_unavailable.contains(&named(topic, *id))).count();
        Some(GrantStatus {
            broker,
            epoch: grant.epoch,
            reason: grant.reason.clone(),
            remaining: grant.expires.saturating_sub(now),
            leaders_left,
            will_be_unavailable,
            quorum_will_wait,
            obstacles,
        })
    }

    fn forecast(&self, policy: &Policy<'_>, broker: BrokerId, voters_caught_up: &BTreeSet<BrokerId>) -> Forecast {
        let stays = |id: &BrokerId| *id != broker && !self.by_broker.contains_key(id);
        let (mut obstacles, mut will_be_unavailable) = (Vec::new(), Vec::new());
        for (topic, id, state, _) in policy.partitions_on(broker) {
            // A replica that is not in sync is not needed.
            if !state.isr.contains(&broker) {
                continue;
            }
            let needed = policy.rules(topic).needed_in_sync(state.replicas.len());
            let left = left_in_sync(policy, state, stays);
            if state.replicas.len() <= needed {
                will_be_unavailable.push(named(topic, id));
            } else if left.len() < needed {
                obstacles.push(Obstacle::InSync { partition: named(topic, id), left, needed });
            }
        }
        let (obstacle, quorum_will_wait) = quorum(policy.image(), broker, voters_caught_up, stays);
        obstacles.extend(obstacle);
        Forecast { obstacles, will_be_unavailable, quorum_will_wait }
    }
}

fn left_in_sync(policy: &Policy<'_>, state: &PartitionImage, stays: impl Fn(&BrokerId) -> bool) -> Vec<BrokerId> {
    let serves = |id: &BrokerId| state.replica_on(*id).is_some_and(|replica| policy.is_active(replica));
    state.isr.iter().copied().filter(|id| stays(id) && serves(id)).collect()
}

/// The obstacle, if any, and whether the quorum must wait because it can never spare a voter.
fn quorum(
    image: &Image,
    broker: BrokerId,
    caught_up: &BTreeSet<BrokerId>,
    stays: impl Fn(&BrokerId) -> bool,
) -> (Option<Obstacle>, bool) {
    let voters = image.voters.len();
    if !image.voters.iter().any(|voter| voter.voter_id == broker) {
        return (None, false);
    }
    let needed = voters / 2 + 1;
    if voters <= needed {
        return (None, true);
    }
    let ids = image.voters.iter().map(|voter| voter.voter_id);
    let left: Vec<_> = ids.filter(|id| stays(id) && caught_up.contains(id)).collect();
    ((left.len() < needed).then_some(Obstacle::Quorum { voters, left, needed }), false)
}

/// Moves leadership to brokers that stay, where possible. `policy` spares those about to stop.
pub(super) fn hand_over(policy: &Policy<'_>, broker: BrokerId) -> Vec<MetadataRecord> {
    let led = policy.partitions_on(broker).filter(|(_, _, state, _)| state.leader == Some(broker));
    let elected =
        led.filter_map(|(topic, id, state, _)| policy.change(topic, id, state).elect(|it| policy.is_active(it)));
    elected.filter(names_a_leader).collect()
}

fn named(topic: &TopicImage, partition: PartitionId) -> TopicPartition {
    TopicPartition { topic: topic.name.clone(), partition }
}

#[cfg(test)]
#[path = "grants_test.rs"]
mod tests;
