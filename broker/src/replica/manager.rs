//! All partitions of this broker: loaded at the start, created and given leaders by the metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use imbl::HashMap;
use protocol::config::Values;
use protocol::metadata_records::ConfigResourceType;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, PartitionId, TopicId, TopicPartition};
use storage::directory::LogDirectory;
use storage::{FilePool, Log};
use tracing::{error, info, warn};

use super::checkpointing::Checkpointing;
use super::cleaner_metrics::CleanerMetrics;
use super::creation::MissingReplicas;
use super::deleter::Removals;
use super::partition::{Partition, lock};
use super::settings::TopicSettings;
use super::shared::Shared;
use super::space::DiskSpace;
use super::throttle::Throttle;
use super::topic_registry::TopicRegistry;
use super::waiters::Waiters;
use crate::clock::{self, AgeClock};
use crate::failure::Failures;
use crate::metadata::{BrokerImage, ConfigResource, Image};
use crate::metrics::LatencyHistogram;

/// Logs that are closed at the same time: most of the time they wait for the disk.
const CLOSING_THREADS: usize = 8;

/// The epoch of a broker that was never registered.
pub(super) const NO_EPOCH: BrokerEpoch = BrokerEpoch(-1);

/// A log that could not be opened, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfflineReplica {
    pub(crate) partition: TopicPartition,
    pub(crate) reason: String,
}

/// ISR changes that leaders on this broker have requested and got.
#[derive(Debug, Default)]
pub(crate) struct IsrCounts {
    pub(crate) expands: AtomicU64,
    pub(crate) shrinks: AtomicU64,
}

pub(super) type Partitions = HashMap<(TopicId, PartitionId), Arc<Partition>>;

/// Changed by one thread at a time, the one that follows the metadata; read by all without a lock.
#[derive(Debug)]
pub(crate) struct ReplicaManager {
    pub(super) broker_id: BrokerId,
    pub(super) directory_id: DirectoryId,
    pub(super) pool: Arc<FilePool>,
    pub(super) directory: Arc<LogDirectory>,
    /// The options that the broker was started with.
    file_values: Values,
    /// The effective options, see [`Image::broker_values`].
    broker_values: ArcSwap<Values>,
    pub(super) partitions: ArcSwap<Partitions>,
    pub(super) topic_metrics: TopicRegistry,
    pub(crate) flush_time: LatencyHistogram,
    pub(crate) isr_counts: IsrCounts,
    /// The epoch with which the last process was registered.
    pub(super) former_epoch: AtomicI64,
    pub(super) removals: Removals,
    pub(super) missing: MissingReplicas,
    pub(super) checkpointing: Checkpointing,
    /// The clock by which records age.
    pub(super) age_clock: AgeClock,
    pub(crate) cleaning: CleanerMetrics,
    pub(super) shared: Arc<Shared>,
    /// Tasks that wait for new metadata. Woken once it is published.
    pub(super) metadata_waiters: Waiters,
    /// Partitions taken out of service since the last publication.
    pub(super) retired: Mutex<Vec<Arc<Partition>>>,
}

impl ReplicaManager {
    pub(crate) fn new(
        broker_id: BrokerId,
        pool: Arc<FilePool>,
        directory: Arc<LogDirectory>,
        file_values: Values,
        space: DiskSpace,
        failures: Failures,
    ) -> Self {
        Self {
            shared: Shared::new(space, file_values.get_millis("replica.lag.time.max.ms"), failures),
            metadata_waiters: Waiters::default(),
            retired: Mutex::default(),
            broker_id,
            directory_id: directory.properties().directory_id,
            pool,
            broker_values: ArcSwap::from_pointee(file_values.clone()),
            file_values,
            partitions: ArcSwap::from_pointee(HashMap::new()),
            topic_metrics: TopicRegistry::default(),
            flush_time: LatencyHistogram::default(),
            isr_counts: IsrCounts::default(),
            former_epoch: AtomicI64::new(NO_EPOCH.0),
            removals: Removals::default(),
            missing: MissingReplicas::default(),
            checkpointing: Checkpointing::default(),
            age_clock: AgeClock::start(clock::wall(), clock::monotonic(), directory.last_alive()),
            directory,
            cleaning: CleanerMetrics::default(),
        }
    }

    pub(crate) fn directory(&self) -> &LogDirectory {
        &self.directory
    }

    pub(crate) fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.load().get(&(topic, partition)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.partitions.load().values().cloned().collect()
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.partitions.load().len()
    }

    /// Leaders whose connections broke just now.
    pub(crate) fn lost_leaders(&self) -> BTreeSet<BrokerId> {
        self.shared.lost_leaders.at(clock::monotonic())
    }

    /// Brokers that were fenced or unregistered a short while ago, with their last registrations.
    pub(crate) fn departed_brokers(&self) -> Vec<(BrokerId, BrokerImage)> {
        self.shared.departed.at(clock::monotonic())
    }

    pub(crate) fn leader_count(&self) -> usize {
        self.partitions.load().values().filter(|partition| partition.leads()).count()
    }

    pub(crate) fn bytes_used(&self) -> u64 {
        self.partitions.load().values().filter_map(|partition| partition.with_log(Log::size).ok()).sum()
    }

    /// This broker's effective options.
    pub(crate) fn broker_values(&self) -> Guard<Arc<Values>> {
        self.broker_values.load()
    }

    pub(crate) fn space(&self) -> &DiskSpace {
        &self.shared.space
    }

    /// A follower that has not caught up for this long leaves the ISR.
    pub(crate) fn lag_max(&self) -> Duration {
        self.shared.lag_max
    }

    /// The throttle of what others fetch from here.
    pub(crate) fn leader_throttle(&self) -> &Throttle {
        &self.shared.throttles.leader
    }

    pub(super) fn look_at_space(&self) {
        self.shared.space.look(&self.directory);
    }

    /// Logs that could not be opened, or created.
    pub(crate) fn offline(&self) -> Vec<OfflineReplica> {
        let partitions = self.partitions.load();
        let offline = partitions.values().filter_map(|partition| {
            Some(OfflineReplica { partition: partition.name.clone(), reason: partition.offline_reason()?.to_owned() })
        });
        offline.chain(self.missing.all()).collect()
    }

    /// Whether it is still this broker's, and has not been created anew.
    pub(super) fn is_hosted(&self, partition: &Arc<Partition>) -> bool {
        let partitions = self.partitions.load();
        let found = partitions.get(&(partition.topic_id, partition.name.partition));
        found.is_some_and(|found| Arc::ptr_eq(found, partition))
    }

    /// The settings of a topic of this name.
    pub(crate) fn settings(&self, image: &Image, topic: &str) -> TopicSettings {
        TopicSettings::of(image, topic, self.broker_id, &self.broker_values())
    }

    pub(super) fn follow_broker_values(&self, image: &Image) {
        let (values, errors) = image.broker_values(self.broker_id, &self.file_values);
        for error in errors {
            warn!(%error, "stored option has no effect");
        }
        let throttles = &self.shared.throttles;
        throttles.leader.set_rate(values.get_long("leader.replication.throttled.rate"));
        throttles.follower.set_rate(values.get_long("follower.replication.throttled.rate"));
        self.broker_values.store(Arc::new(values));
    }

    /// Applies changed options, here and to everything that inherits them.
    pub(crate) fn configure(&self, image: &Image, changed: &[ConfigResource]) {
        if changed.is_empty() {
            return;
        }
        for ConfigResource { kind, name } in changed.iter().collect::<BTreeSet<_>>() {
            info!(?kind, name, "changed options");
        }
        let of_broker = changed.iter().any(|resource| resource.kind == ConfigResourceType::Broker);
        if of_broker {
            self.follow_broker_values(image);
        }
        let topics = changed.iter().filter(|resource| resource.kind == ConfigResourceType::Topic);
        let topics: BTreeSet<_> = topics.map(|resource| resource.name.as_str()).collect();
        let mut settings: BTreeMap<String, TopicSettings> = BTreeMap::new();
        for partition in self.all() {
            let topic = &partition.name.topic;
            if !of_broker && !topics.contains(topic.as_str()) {
                continue;
            }
            let settings = settings.entry(topic.clone()).or_insert_with(|| self.settings(image, topic));
            if let Err(error) = partition.set_settings(settings.clone()) {
                error!(%error, "changed options not applied");
            }
        }
    }

    /// See [`Shared::directory_failed`].
    pub(crate) fn directory_failed(&self, reason: &str) {
        self.shared.directory_failed(reason);
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.shared.failures
    }

    /// The space of the data directory's volume; `None` after a failure.
    pub(crate) fn disk_space(&self) -> Option<std::io::Result<storage::DiskSpace>> {
        self.failures().first().is_none().then(|| self.pool.disk().space(self.directory.path()))
    }

    /// Called after everything has stopped. False: something could not be made durable, now or earlier, so the stop was
    /// not clean.
    pub(crate) fn close(&self) -> bool {
        let partitions = Mutex::new(self.all());
        let next = || lock(&partitions).pop();
        let failures = || std::iter::from_fn(next).filter(|partition| !close(partition)).count();
        let mut clean = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLOSING_THREADS).map(|_| scope.spawn(failures)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum::<usize>() == 0
        });
        if let Err(error) = self.write_checkpoints() {
            error!(%error, "checkpoints not written");
            clean = false;
        }
        clean &= self.shared.failures.first().is_none();
        // The user may have been told that the clock is doubted, and restarts for that: the next process trusts it.
        self.note_alive(clock::wall());
        info!(partitions = self.partition_count(), clean, "logs closed");
        clean
    }
}

/// A log that could not be opened was not closed cleanly: the next start must check it as this one did.
fn close(partition: &Partition) -> bool {
    let closed = partition.with_log_mut(|log| log.close_clean(clock::wall()));
    let clean = matches!(closed, Ok(Ok(_)));
    if !clean {
        error!(partition = %partition.name, outcome = ?closed, "log not closed cleanly");
    }
    clean
}
