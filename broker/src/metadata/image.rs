//! The state of the metadata log as one immutable value. Clones share structure, so a reader keeps a consistent view
//! as long as it likes, and the controller can try changes on a copy.

use std::sync::Arc;

use imbl::{HashMap, OrdMap, Vector};
use protocol::config::{ConfigError, Layer, Scope, Values};
use protocol::metadata_records::control::Voter;
use protocol::metadata_records::{ConfigResourceType, Endpoint, LeaderRecoveryState, RegisterControllerRecord};
use protocol::types::{
    BrokerEpoch, BrokerId, DirectoryId, IncarnationId, LeaderEpoch, Offset, PartitionEpoch, PartitionId, ProducerId,
    TopicId,
};

use super::TOPIC_NAME_LENGTH_MAX;

#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Offset after the last record in the image.
    pub(crate) end_offset: Offset,
    /// Epoch of the last record in the image.
    pub(crate) epoch: LeaderEpoch,
    pub(crate) features: OrdMap<String, i16>,
    /// The voters of the metadata quorum.
    pub(crate) voters: Arc<[Voter]>,
    pub(crate) brokers: OrdMap<BrokerId, BrokerImage>,
    /// The latest registrations.
    pub(crate) controllers: OrdMap<BrokerId, RegisterControllerRecord>,
    pub(crate) topics: HashMap<TopicId, Arc<TopicImage>>,
    pub(crate) topic_ids: OrdMap<String, TopicId>,
    /// Number of replicas of each broker.
    pub(crate) replica_counts: OrdMap<BrokerId, usize>,
    /// Topics whose metrics have another name, see [`metric_name`].
    pub(crate) metric_names: OrdMap<String, TopicId>,
    pub(crate) configs: HashMap<ConfigResource, OrdMap<String, String>>,
    /// First producer id that is not in any broker's block.
    pub(crate) next_producer_id: ProducerId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerImage {
    pub(crate) epoch: BrokerEpoch,
    pub(crate) incarnation: IncarnationId,
    pub(crate) directories: Vec<DirectoryId>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rack: Option<String>,
    pub(crate) fenced: bool,
    pub(crate) in_controlled_shutdown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicImage {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    pub(crate) partitions: Vector<PartitionImage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionImage {
    /// In order of preference.
    pub(crate) replicas: Vec<Replica>,
    pub(crate) isr: Vec<BrokerId>,
    /// Being added and removed by a reassignment in progress.
    pub(crate) adding: Vec<BrokerId>,
    pub(crate) removing: Vec<BrokerId>,
    pub(crate) leader: Option<BrokerId>,
    pub(crate) recovery_state: LeaderRecoveryState,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    /// Out of sync, but with everything that was committed (ELR, KIP-966).
    pub(crate) eligible_leader_replicas: Vec<BrokerId>,
    /// The last leader, if ISR and ELR are empty.
    pub(crate) last_known_elr: Vec<BrokerId>,
}

/// A copy of a partition: an empty volume under the same broker id is another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) broker: BrokerId,
    pub(crate) directory: DirectoryId,
}

/// The resource of a configuration; an empty name is the default for the type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConfigResource {
    pub(crate) kind: ConfigResourceType,
    pub(crate) name: String,
}

impl ConfigResource {
    pub(crate) fn topic(name: &str) -> Self {
        Self { kind: ConfigResourceType::Topic, name: name.to_owned() }
    }

    pub(crate) fn broker(id: BrokerId) -> Self {
        Self { kind: ConfigResourceType::Broker, name: id.to_string() }
    }

    pub(crate) fn all_brokers() -> Self {
        Self { kind: ConfigResourceType::Broker, name: String::new() }
    }
}

/// The metadata has no such partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownPartition {
    #[error("topic {topic:?} does not exist")]
    Topic { topic: String },
    #[error("topic {topic:?} has no partition {partition}")]
    Partition { topic: String, partition: PartitionId },
}

impl Image {
    pub(crate) fn empty() -> Self {
        Self {
            end_offset: Offset(0),
            epoch: LeaderEpoch(0),
            features: OrdMap::new(),
            voters: Arc::default(),
            brokers: OrdMap::new(),
            controllers: OrdMap::new(),
            topics: HashMap::new(),
            topic_ids: OrdMap::new(),
            replica_counts: OrdMap::new(),
            metric_names: OrdMap::new(),
            configs: HashMap::new(),
            next_producer_id: ProducerId(0),
        }
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// The existing topic whose name metrics could not tell from this one.
    pub(crate) fn collides_with(&self, name: &str) -> Option<&str> {
        let topic = self.topics.get(self.metric_names.get(&metric_name(name)?)?)?;
        Some(topic.name.as_str())
    }

    pub(crate) fn find_partition(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(&Arc<TopicImage>, &PartitionImage), UnknownPartition> {
        // An overlong name is cut to the length limit of topic names: it is repeated for each partition.
        let unknown_topic = || UnknownPartition::Topic { topic: topic.chars().take(TOPIC_NAME_LENGTH_MAX).collect() };
        let unknown = || UnknownPartition::Partition { topic: topic.to_owned(), partition };
        let found = self.topic(topic).ok_or_else(unknown_topic)?;
        Ok((found, found.partition(partition).ok_or_else(unknown)?))
    }

    /// Every partition of every topic, always in the same order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&TopicImage, PartitionId, &PartitionImage)> {
        let topics = self.topic_ids.values().filter_map(|id| self.topics.get(id));
        topics.flat_map(|topic| topic.partitions().map(|(id, partition)| (&**topic, id, partition)))
    }

    pub(crate) fn active_brokers(&self) -> impl Iterator<Item = (BrokerId, &BrokerImage)> {
        self.brokers.iter().filter(|(_, broker)| !broker.fenced).map(|(id, broker)| (*id, broker))
    }

    /// The options set for a resource itself, otherwise the defaults. They were checked when they were set.
    pub(crate) fn own_values(&self, scope: Scope, resource: &ConfigResource) -> Values {
        let set = self.configs.get(resource).into_iter().flatten();
        Values::parse(scope, set.map(|(name, value)| (name.as_str(), value.as_str()))).0
    }

    /// The effective options of a broker that was started with `file`: options set for this broker override those set
    /// for all brokers, which override the file. Invalid ones are left out and returned.
    pub(crate) fn broker_values(&self, id: BrokerId, file: &Values) -> (Values, Vec<ConfigError>) {
        let (mut values, mut errors) = (file.clone(), Vec::new());
        let layers = [
            (Layer::DynamicDefault, ConfigResource::all_brokers()),
            (Layer::DynamicBroker, ConfigResource::broker(id)),
        ];
        for (layer, resource) in layers {
            for (name, raw) in self.configs.get(&resource).into_iter().flatten() {
                errors.extend(values.set_dynamic(layer, name, raw).err());
            }
        }
        (values, errors)
    }

    pub(crate) fn replica_count(&self, broker: BrokerId) -> usize {
        self.replica_counts.get(&broker).copied().unwrap_or_default()
    }

    pub(crate) fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
    }

    /// Nil if the broker is not registered.
    pub(crate) fn directory_for_new_replica(&self, broker: BrokerId) -> DirectoryId {
        self.brokers.get(&broker).and_then(|broker| broker.directories.first()).copied().unwrap_or_default()
    }
}

/// Metric names do not distinguish '.' and '_'. `None`: the name has neither.
pub(super) fn metric_name(topic: &str) -> Option<String> {
    topic.contains(['.', '_']).then(|| topic.replace('.', "_"))
}

impl TopicImage {
    pub(crate) fn partition(&self, id: PartitionId) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(id.0).ok()?)
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &PartitionImage)> {
        (0..).map(PartitionId).zip(self.partitions.iter())
    }
}

impl PartitionImage {
    pub(crate) fn brokers(&self) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().map(|replica| replica.broker)
    }

    pub(crate) fn is_reassigning(&self) -> bool {
        !(self.adding.is_empty() && self.removing.is_empty())
    }

    pub(crate) fn replica_on(&self, broker: BrokerId) -> Option<Replica> {
        self.replicas.iter().copied().find(|replica| replica.broker == broker)
    }
}
