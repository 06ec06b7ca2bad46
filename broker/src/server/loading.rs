//! From a locked data directory to a running quorum, and from committed metadata to open logs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::types::IncarnationId;
use storage::directory::LogDirectory;
use storage::{Disk, FilePool, PoolLimits, Reserve, ReservedDisk};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::life_cycle::LifeCycleConfig;
use super::session::{Announcement, Session};
use super::startup::ServerError;
use crate::clock::Pulse;
use crate::config::{BrokerConfig, ListenerKind};
use crate::controller::{
    self, ControllerContext, ControllerSite, ControllerStartError, Starting, TopicDefaults, supported_features,
};
use crate::coordinator::{CoordinatorThread, GroupConfig};
use crate::failure::Failures;
use crate::handlers::{Broker, FetchSessions, Identity, LargeBatches};
use crate::metadata::{Image, QuorumLeader};
use crate::metrics::Metrics;
use crate::peer::{ControllerChannel, ControllerRoute, NodeDescription, ProducerIdAllocator};
use crate::replica::{Checkpoints, DiskSpace, LoadProgress, LoaderError, OffsetsLogs, ReplicaManager, SpaceLimits};

/// A node whose quorum runs, but that does not know yet what is committed, and so not what it hosts.
pub(super) struct Opened {
    pub(super) broker: Arc<Broker>,
    pub(super) starting: Starting,
    pub(super) checkpoints: Checkpoints,
    pub(super) coordinator: CoordinatorThread,
    /// None on a node that is only a controller.
    pub(super) session: Option<Session>,
    /// None on a node that is only a broker.
    pub(super) announcement: Option<Announcement>,
    /// For ISR proposals of leaders.
    pub(super) isr_channel: ControllerChannel,
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

pub(super) fn open(
    config: Arc<BrokerConfig>,
    disk: Arc<dyn Disk>,
    directory: LogDirectory,
    limits: PoolLimits,
    control: Arc<Pulse>,
    failures: Failures,
) -> Result<Opened, ServerError> {
    let space = open_space(&config, &disk, &directory)?;
    // From here on: writes that must succeed on a full volume, too.
    let reserved: Arc<dyn Disk> = Arc::new(ReservedDisk::new(disk.clone(), space.reserve().clone()));
    let directory = directory.on(reserved.clone());
    let properties = directory.properties().clone();
    let identity = Identity {
        cluster_id: properties.cluster_id,
        directory_id: properties.directory_id,
        incarnation_id: IncarnationId(Uuid::new_v4()),
    };
    let checkpoints = Checkpoints::read(&directory);
    let image = Arc::new(ArcSwap::from_pointee(Image::empty()));
    let starting = controller::start(ControllerSite {
        context: controller_context(&config, &identity),
        config: &config,
        pool: &FilePool::new(reserved, limits),
        directory: &directory,
        recovery_point: checkpoints.metadata_recovery_point(),
        published: image.clone(),
        pulse: control,
        failures: failures.clone(),
    })?;
    let pool = FilePool::new(disk, limits);
    let (directory, values) = (Arc::new(directory), config.values.clone());
    let replicas = ReplicaManager::new(config.broker_id, pool, directory, values, space, failures);
    assemble(config, identity, image, Arc::new(replicas), (starting, checkpoints))
}

fn controller_context(config: &BrokerConfig, identity: &Identity) -> ControllerContext {
    ControllerContext {
        id: config.broker_id,
        directory_id: identity.directory_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation: identity.incarnation_id,
        topic_defaults: TopicDefaults {
            partitions: config.topic_partitions_default,
            replication_factor: config.replication_factor_default,
        },
        broker_replicas_max: config.broker_partitions_max,
        session_timeout: config.membership.session_timeout,
        file_values: config.values.clone(),
    }
}

/// Assembles what serves requests, and what reports to the controller.
fn assemble(
    config: Arc<BrokerConfig>,
    identity: Identity,
    image: Arc<ArcSwap<Image>>,
    replicas: Arc<ReplicaManager>,
    (starting, checkpoints): (Starting, Checkpoints),
) -> Result<Opened, ServerError> {
    let quorum = starting.quorum.view();
    let route = ControllerRoute {
        quorum: quorum.clone(),
        own: own_controller(&config),
        client_id: format!("broker-{}", config.broker_id),
        cluster: identity.cluster_id.clone(),
        runtime: Handle::current(),
    };
    let channel = || ControllerChannel::new(route.clone());
    let membership = &config.membership;
    let contact = Arc::new(Pulse::new(membership.session_timeout));
    let session = membership.roles.has_broker().then(|| Session {
        node: describe(&config, &identity, |kind| kind != ListenerKind::Controller),
        channel: channel(),
        config: LifeCycleConfig {
            heartbeat_interval: membership.heartbeat_interval,
            session_timeout: membership.session_timeout,
            registration_max: membership.registration_max,
        },
        previous_epoch: replicas.directory().clean_shutdown().and_then(|clean| clean.broker_epoch),
        image: image.clone(),
        quorum: quorum.clone(),
        contact: contact.clone(),
    });
    let announcement = membership.roles.has_controller().then(|| Announcement {
        node: describe(&config, &identity, |kind| kind == ListenerKind::Controller),
        channel: channel(),
        image: image.clone(),
        quorum,
        patience: membership.request_timeout,
    });
    let metrics = Arc::new(Metrics::new(config.client_reactors() + config.controller_reactors()));
    let logs = Arc::new(OffsetsLogs::new(replicas.clone(), image.clone()));
    let group_config = GroupConfig::from_values(&config.values);
    let group_metrics = metrics.groups.clone();
    let spawned = CoordinatorThread::spawn(logs, group_config, group_metrics, image.clone(), replicas.failures());
    let (groups, coordinator) = spawned.map_err(|error| ServerError::start("the coordinator of groups", error))?;
    let isr_channel = channel();
    let fetch_sessions_max = config.values.get_count("max.incremental.fetch.session.cache.slots");
    let broker = Broker {
        identity,
        metrics,
        contact,
        forwarding: channel(),
        voter_forwarding: channel(),
        producer_ids: ProducerIdAllocator::new(config.broker_id, image.clone(), channel()),
        image,
        replicas,
        controller: starting.handle.clone(),
        raft: starting.quorum.clone(),
        groups,
        fetch_sessions: FetchSessions::new(fetch_sessions_max),
        large_batches: LargeBatches::new(),
        config,
    };
    Ok(Opened { broker: Arc::new(broker), starting, checkpoints, coordinator, session, announcement, isr_channel })
}

/// Opens the logs of the partitions that this node hosts, which follow the metadata from then on.
pub(super) fn load(broker: &Broker, checkpoints: &Checkpoints, progress: &LoadProgress) -> Result<(), ServerError> {
    broker.replicas.load(&broker.image.load(), checkpoints, progress)?;
    broker.raft.attach(broker.replicas.clone()).map_err(|error| ServerError::start("the quorum", error))
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

/// The node's description with the listeners that are advertised.
fn describe(config: &BrokerConfig, identity: &Identity, is_told: impl Fn(ListenerKind) -> bool) -> NodeDescription {
    let told = config.listeners.iter().filter(|listener| is_told(listener.kind));
    NodeDescription {
        id: config.broker_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation: identity.incarnation_id,
        directory: identity.directory_id,
        rack: config.rack.clone(),
        features: supported_features(),
        endpoints: told.map(|listener| listener.advertised.clone()).collect(),
    }
}

/// How this node reaches its own controller, whatever is advertised.
fn own_controller(config: &BrokerConfig) -> Option<QuorumLeader> {
    let listener = config.listeners.iter().find(|listener| listener.kind == ListenerKind::Controller)?;
    let host = match listener.host.as_str() {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    Some(QuorumLeader { id: config.broker_id, host: host.to_owned(), port: listener.port })
}
