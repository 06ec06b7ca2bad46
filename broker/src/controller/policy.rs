//! What changes of partitions depend on besides the image: the configuration, and the brokers about to restart. Pure.

use std::collections::BTreeSet;

use imbl::OrdMap;
use protocol::config::{self, Scope, Value, Values};
use protocol::types::{BrokerId, PartitionId};

use super::partition_change::{Election, PartitionChange};
use crate::metadata::{BrokerImage, ConfigResource, Image, PartitionImage, Replica, TopicImage};

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// The rules of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicRules {
    /// Leader and controller must use the same value, or a replica counts as eligible to lead that lacks committed
    /// records.
    pub(super) min_insync_replicas: usize,
    pub(super) unclean_election: bool,
}

impl TopicRules {
    /// There cannot be more in sync than there are replicas.
    pub(super) fn needed_in_sync(self, replicas: usize) -> usize {
        self.min_insync_replicas.min(replicas)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Policy<'a> {
    image: &'a Image,
    /// The rules of topics without their own.
    default: TopicRules,
    /// Brokers about to be restarted, which become leader only if no other can.
    spared: BTreeSet<BrokerId>,
}

impl<'a> Policy<'a> {
    /// `file` is what the broker `id` was started with.
    pub(super) fn new(image: &'a Image, id: BrokerId, file: &Values) -> Self {
        let all = image.configs.get(&ConfigResource::all_brokers());
        let own = image.configs.get(&ConfigResource::broker(id));
        let (minimum, unclean) = (file.get(MIN_INSYNC_REPLICAS), file.get(UNCLEAN_ELECTION));
        let default = TopicRules {
            min_insync_replicas: stored(all, Scope::Broker, MIN_INSYNC_REPLICAS).as_ref().or(minimum).map_or(1, count),
            unclean_election: stored(own, Scope::Broker, UNCLEAN_ELECTION)
                .or_else(|| stored(all, Scope::Broker, UNCLEAN_ELECTION))
                .as_ref()
                .or(unclean)
                .is_some_and(is_true),
        };
        Self { image, default, spared: BTreeSet::new() }
    }

    pub(super) fn sparing(self, spared: impl IntoIterator<Item = BrokerId>) -> Self {
        Self { spared: spared.into_iter().collect(), ..self }
    }

    pub(super) fn image(&self) -> &'a Image {
        self.image
    }

    pub(super) fn rules(&self, topic: &TopicImage) -> TopicRules {
        let own = self.image.configs.get(&ConfigResource::topic(&topic.name));
        let TopicRules { min_insync_replicas, unclean_election } = self.default;
        TopicRules {
            min_insync_replicas: stored(own, Scope::Topic, MIN_INSYNC_REPLICAS)
                .map_or(min_insync_replicas, |own| count(&own)),
            unclean_election: stored(own, Scope::Topic, UNCLEAN_ELECTION).map_or(unclean_election, |own| is_true(&own)),
        }
    }

    /// Starts without a change: [`PartitionChange::elect`] looks for a leader if there is none.
    pub(super) fn change(&self, topic: &TopicImage, id: PartitionId, was: &'a PartitionImage) -> PartitionChange<'a> {
        let rules = self.rules(topic);
        let election = if rules.unclean_election { Election::Unclean } else { Election::Online };
        PartitionChange::new(topic.id, id, was, rules.min_insync_replicas).by(election).sparing(self.spared.clone())
    }

    /// Whether its broker is active, on the volume that the replica is recorded on (KIP-858).
    pub(super) fn is_active(&self, replica: Replica) -> bool {
        let has_directory = |broker: &BrokerImage| broker.directories.contains(&replica.directory);
        self.image.is_active(replica.broker) && self.image.brokers.get(&replica.broker).is_some_and(has_directory)
    }

    /// Every partition with a replica on the broker.
    pub(super) fn partitions_on(
        &self,
        broker: BrokerId,
    ) -> impl Iterator<Item = (&'a TopicImage, PartitionId, &'a PartitionImage, Replica)> {
        let image = self.image;
        image.partitions().filter_map(move |(topic, id, state)| Some((topic, id, state, state.replica_on(broker)?)))
    }
}

fn stored(configs: Option<&OrdMap<String, String>>, scope: Scope, name: &str) -> Option<Value> {
    config::lookup(scope, name)?.parse(configs?.get(name)?).ok()
}

fn count(value: &Value) -> usize {
    let Value::Number(number) = value else { return 1 };
    usize::try_from(*number).unwrap_or(1)
}

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

/// As if a broker's file set it.
#[cfg(test)]
pub(super) fn with_minimum(image: &Image, min_insync_replicas: usize) -> Policy<'_> {
    let minimum = min_insync_replicas.to_string();
    let (file, errors) = Values::parse(Scope::Broker, [(MIN_INSYNC_REPLICAS, minimum.as_str())]);
    assert!(errors.is_empty(), "{errors:?}");
    Policy::new(image, BrokerId(0), &file)
}
