//! From a locked data directory to a broker that could serve: metadata replayed, logs open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::types::{BrokerEpoch, IncarnationId};
use storage::directory::LogDirectory;
use storage::{Disk, FilePool, PoolLimits, Reserve, ReservedDisk};
use uuid::Uuid;

use super::startup::ServerError;
use crate::config::{BrokerConfig, ListenerKind};
use crate::controller::{
    self, ControllerContext, ControllerSite, ControllerStartError, ControllerThread, ProducerIdAllocator, Registration,
    TopicDefaults, supported_features,
};
use crate::coordinator::{CoordinatorThread, GroupConfig};
use crate::handlers::{Broker, Identity, LargeBatches};
use crate::metadata::Image;
use crate::metrics::Metrics;
use crate::replica::{Checkpoints, DiskSpace, LoadProgress, LoaderError, OffsetsLogs, ReplicaManager, SpaceLimits};

pub(super) struct Loaded {
    pub(super) broker: Arc<Broker>,
    pub(super) controller: ControllerThread,
    pub(super) coordinator: CoordinatorThread,
    pub(super) registration: Registration,
}

impl From<ControllerStartError> for ServerError {
    fn from(error: ControllerStartError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<LoaderError> for ServerError {
    fn from(error: LoaderError) -> Self {
        Self::Directory(error.into())
    }
}

pub(super) fn load(
    config: Arc<BrokerConfig>,
    disk: Arc<dyn Disk>,
    directory: LogDirectory,
    progress: &LoadProgress,
) -> Result<Loaded, ServerError> {
    let space = open_space(&config, &disk, &directory)?;
    // From here on: what has to be written on a full volume, too.
    let reserved: Arc<dyn Disk> = Arc::new(ReservedDisk::new(disk.clone(), space.reserve().clone()));
    let directory = directory.on(reserved.clone());
    let properties = directory.properties().clone();
    let identity = Identity {
        cluster_id: properties.cluster_id,
        directory_id: properties.directory_id,
        incarnation_id: IncarnationId(Uuid::new_v4()),
    };
    let pool = FilePool::new(disk, PoolLimits::default());
    let context = ControllerContext {
        id: config.broker_id,
        directory_id: identity.directory_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation: identity.incarnation_id,
        topic_defaults: TopicDefaults {
            partitions: config.topic_partitions_default,
            replication_factor: config.replication_factor_default,
        },
        file_values: config.values.clone(),
    };
    let checkpoints = Checkpoints::read(&directory);
    let image = Arc::new(ArcSwap::from_pointee(Image::empty()));
    let starting = controller::start(ControllerSite {
        context,
        config: &config,
        pool: &FilePool::new(reserved, PoolLimits::default()),
        directory: &directory,
        recovery_point: checkpoints.metadata_recovery_point(),
        published: image.clone(),
    })?;
    let (handle, quorum, controller) = starting.wait()?;
    let directory = Arc::new(directory);
    let replicas = ReplicaManager::new(config.broker_id, pool, directory, config.values.clone(), space);
    let replicas = Arc::new(replicas);
    replicas.load(&image.load(), &checkpoints, progress)?;
    let previous_epoch = replicas.directory().clean_shutdown().and_then(|clean| clean.broker_epoch);
    let registration = registration(&config, &identity, previous_epoch);
    quorum.attach(replicas.clone()).map_err(|error| ServerError::start("the quorum", error))?;
    let metrics = Arc::new(Metrics::new(config.network_threads));
    let logs = OffsetsLogs::new(replicas.clone(), image.clone());
    let group_config = GroupConfig::from_values(&config.values);
    let spawned = CoordinatorThread::spawn(logs, group_config, metrics.groups.clone(), image.clone());
    let (groups, coordinator) = spawned.map_err(|error| ServerError::start("the coordinator of groups", error))?;
    let broker = Broker {
        identity,
        metrics,
        producer_ids: ProducerIdAllocator::new(handle.clone(), config.broker_id, image.clone()),
        image,
        replicas,
        controller: handle,
        groups,
        raft: quorum,
        large_batches: LargeBatches::new(),
        config,
    };
    Ok(Loaded { broker: Arc::new(broker), controller, coordinator, registration })
}

/// On a volume that is nearly full the reserve is given up at once, so that the logs can be opened.
fn open_space(config: &BrokerConfig, disk: &Arc<dyn Disk>, directory: &LogDirectory) -> Result<DiskSpace, ServerError> {
    let found = directory.space().map_err(|error| ServerError::start("the size of the volume", error))?;
    let limits = SpaceLimits::of_volume(config.disk_reserves, found.total_bytes);
    let reserve = Arc::new(Reserve::open(disk.clone(), directory.path(), limits.file));
    let space = DiskSpace::new(limits, reserve.clone(), found);
    if space.is_exhausted() {
        reserve.release();
    }
    space.look(directory);
    Ok(space)
}

/// Controllers are reached at the voters' addresses, so their listener is not told.
fn registration(config: &BrokerConfig, identity: &Identity, previous_epoch: Option<BrokerEpoch>) -> Registration {
    let told = config.listeners.iter().filter(|listener| listener.kind != ListenerKind::Controller);
    Registration {
        id: config.broker_id,
        cluster_id: identity.cluster_id.to_string(),
        incarnation: identity.incarnation_id,
        directory: identity.directory_id,
        previous_epoch,
        endpoints: told.map(|listener| listener.advertised.clone()).collect(),
        features: supported_features(),
        rack: config.rack.clone(),
    }
}
