use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::config::Scope;
use protocol::types::{BrokerEpoch, ClusterId, Offset, PartitionId};
use storage::directory::{ExpectedOwner, LogDirectory};
use storage::faulty::{FaultyDisk, Operation};
use storage::{Disk, FilePool, PoolLimits, Reserve};
use uuid::Uuid;

use super::super::batches::Batches;
use super::super::start::{ControllerSite, ControllerThread, start};
use super::super::{
    ConfigChange, ConfigEdit, ControllerHandle, FormatPlan, Heartbeat, Others, ProbeOutcome, QuorumHandle,
    Registration, TopicSpec, Voter, format_directory, supported_features,
};
use super::*;
use crate::clock::Pulse;
use crate::config::BrokerConfig;
use crate::coordinator::GroupLogs as _;
use crate::failure::Failures;
use crate::metadata::{ConfigResource, Image, METADATA_DIRECTORY};
use crate::replica::{DiskSpace, OffsetsLogs, ReplicaManager, SpaceLimits};

const DATA: &str = "/data";
const FAR_OFF: Duration = Duration::from_mins(1);
/// More than the time between two beats.
const SILENCE_MAX: Duration = Duration::from_millis(1500);
const OPTION: &str = "log.retention.ms";

/// A sole voter on a disk in memory.
struct Site {
    disk: Arc<FaultyDisk>,
    config: BrokerConfig,
    cluster_id: ClusterId,
    directory_id: DirectoryId,
}

struct Running {
    handle: ControllerHandle,
    quorum: QuorumHandle,
    thread: ControllerThread,
    published: Arc<ArcSwap<Image>>,
    replicas: Arc<ReplicaManager>,
    pulse: Arc<Pulse>,
}

impl Site {
    fn new(settings: &[(&str, &str)]) -> Self {
        let own = [
            ("node.id", "1"),
            ("process.roles", "broker,controller"),
            ("log.dirs", DATA),
            ("listeners", "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"),
            ("controller.listener.names", "CONTROLLER"),
        ];
        let (values, errors) = Values::parse(Scope::Broker, own.iter().chain(settings).copied());
        assert!(errors.is_empty(), "{errors:?}");
        let config = BrokerConfig::from_values(values, "localhost").unwrap();
        let (cluster_id, directory_id) = (ClusterId::from_uuid(Uuid::from_u128(1)), DirectoryId(Uuid::from_u128(2)));
        let voter = Voter { id: BrokerId(1), directory_id, host: "127.0.0.1".to_owned(), port: 2 };
        let plan = FormatPlan { cluster_id: cluster_id.clone(), directory_id, voters: vec![voter] };
        let disk = Arc::new(FaultyDisk::new());
        let formatted: Arc<dyn Disk> = disk.clone();
        format_directory(&formatted, &config, &plan).unwrap();
        Self { disk, config, cluster_id, directory_id }
    }

    /// The registration of broker 1.
    fn registration(&self) -> Registration {
        Registration {
            id: BrokerId(1),
            cluster_id: self.cluster_id.to_string(),
            incarnation: IncarnationId(Uuid::new_v4()),
            directory: self.directory_id,
            previous_epoch: None,
            endpoints: Vec::new(),
            features: supported_features(),
            rack: None,
        }
    }

    async fn start(&self) -> Running {
        let disk: Arc<dyn Disk> = self.disk.clone();
        let owner = ExpectedOwner { cluster_id: None, node_id: BrokerId(1) };
        let directory = Arc::new(LogDirectory::open(&disk, Path::new(DATA), &owner).unwrap());
        let pool = FilePool::new(disk.clone(), PoolLimits::default());
        let published = Arc::new(ArcSwap::from_pointee(Image::empty()));
        let pulse = Arc::new(Pulse::new(SILENCE_MAX));
        let starting = start(ControllerSite {
            context: ControllerContext {
                id: BrokerId(1),
                directory_id: self.directory_id,
                cluster_id: self.cluster_id.clone(),
                incarnation: IncarnationId(Uuid::new_v4()),
                topic_defaults: TopicDefaults { partitions: 1, replication_factor: 1 },
                broker_replicas_max: 100_000,
                session_timeout: self.config.membership.session_timeout,
                file_values: self.config.values.clone(),
            },
            config: &self.config,
            pool: &pool,
            directory: &directory,
            recovery_point: Offset(0),
            published: published.clone(),
            pulse: pulse.clone(),
            failures: Failures::default(),
        });
        let (handle, quorum, thread) = tokio::task::spawn_blocking(|| starting.unwrap().wait().unwrap()).await.unwrap();
        let limits = SpaceLimits { soft: 0, hard: 0, file: 0 };
        let reserve = Arc::new(Reserve::open(disk.clone(), Path::new(DATA), 0));
        let space = DiskSpace::new(limits, reserve, directory.space().unwrap());
        let values = self.config.values.clone();
        let replicas = ReplicaManager::new(BrokerId(1), pool, directory, values, space, Failures::default());
        let replicas = Arc::new(replicas);
        let (attached, attaching) = (replicas.clone(), quorum.clone());
        tokio::task::spawn_blocking(move || attaching.attach(attached).unwrap()).await.unwrap();
        Running { handle, quorum, thread, published, replicas, pulse }
    }
}

impl Running {
    async fn set(&self, value: i32) -> Result<(), ControllerError> {
        let change = ConfigChange {
            resource: ConfigResource::all_brokers(),
            edits: vec![(OPTION.to_owned(), ConfigEdit::Set(value.to_string()))],
            others: Others::Kept,
        };
        self.handle.alter_configs(vec![change], false).await.map(|_| ())
    }

    /// As a broker that has caught up.
    async fn register(&self, site: &Site) -> BrokerEpoch {
        let epoch = self.handle.register_broker(site.registration()).await.unwrap().unwrap();
        self.heartbeat(epoch).await;
        epoch
    }

    async fn heartbeat(&self, epoch: BrokerEpoch) {
        let heartbeat = Heartbeat {
            id: BrokerId(1),
            epoch,
            metadata_offset: Offset(epoch.0),
            wants_fence: false,
            wants_shutdown: false,
            offline_directories: Vec::new(),
        };
        let answer = self.handle.heartbeat(heartbeat).await.unwrap().unwrap();
        assert!(!answer.is_fenced);
    }

    fn value(&self) -> Option<String> {
        self.published.load().configs.get(&ConfigResource::all_brokers())?.get(OPTION).cloned()
    }

    async fn stop(self) {
        assert!(self.thread.stop().await, "the metadata log is closed");
    }
}

fn snapshots(disk: &FaultyDisk) -> Vec<String> {
    let entries = disk.list(&Path::new(DATA).join(METADATA_DIRECTORY)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name.into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".checkpoint")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_answered_survives_a_power_cut() {
    let site = Site::new(&[]);
    for value in 1..5 {
        let running = site.start().await;
        assert_eq!(running.value(), (1 < value).then(|| (value - 1).to_string()));
        running.set(value).await.unwrap();
        assert_eq!(running.value(), Some(value.to_string()), "published before it is answered");
        assert_eq!(running.quorum.view().borrow().epoch, LeaderEpoch(value), "every start is an election won");
        // Everything that was not synced is lost.
        site.disk.crash(&mut || 0);
        drop(running);
    }
}

#[tokio::test]
async fn a_leader_that_dies_before_it_has_written_the_first_levels_leaves_that_to_the_next() {
    let site = Site::new(&[]);
    site.start().await.stop().await;
    let log = Path::new(DATA).join(METADATA_DIRECTORY).join("00000000000000000000.log");
    let bytes = site.disk.contents(&log).unwrap();
    let first = Batches::new(&bytes).next().unwrap().unwrap();
    assert!(!first.control_records().unwrap().is_empty(), "of its election");
    site.disk.put(&log, first.bytes.to_vec());
    let running = site.start().await;
    running.set(1).await.unwrap();
    assert!(running.published.load().features.contains_key(features::METADATA_VERSION));
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_synced_is_neither_published_nor_answered() {
    let site = Site::new(&[]);
    let running = site.start().await;
    running.set(1).await.unwrap();
    site.disk.fail(Operation::Sync, 0, std::io::ErrorKind::Other);
    running.set(2).await.unwrap_err();
    assert_eq!(running.value(), Some("1".to_owned()));
    assert!(running.replicas.failures().failed().await.to_string().contains("offline"), "the process must end");
    assert!(!running.thread.stop().await);
}

#[tokio::test]
async fn snapshots_are_taken_read_again_and_let_go() {
    let by_size = [("metadata.max.retention.bytes", "1"), ("metadata.max.retention.ms", "-1")];
    let by_age = [("metadata.max.retention.bytes", "-1"), ("metadata.max.retention.ms", "0")];
    for retention in [by_size, by_age] {
        let [a, b] = retention;
        let site = Site::new(&[("metadata.log.max.record.bytes.between.snapshots", "200"), a, b]);
        let running = site.start().await;
        let (mut value, first) = (0, "00000000000000000000");
        while snapshots(&site.disk).iter().any(|name| name.starts_with(first)) {
            value += 1;
            running.set(value).await.unwrap();
        }
        running.set(value + 1).await.unwrap();
        let end = running.published.load().end_offset;
        running.stop().await;
        assert!(!snapshots(&site.disk).is_empty(), "the latest stays: {retention:?}");

        let running = site.start().await;
        assert_eq!(running.value(), Some((value + 1).to_string()));
        assert!(end < running.published.load().end_offset);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_heartbeat_does_not_wait_for_logs_that_are_made_or_changed() {
    let site = Site::new(&[]);
    let running = Arc::new(site.start().await);
    let epoch = running.register(&site).await;
    let created = running.handle.create_topics(vec![TopicSpec::with_defaults("t".to_owned())], false).await.unwrap();
    let topic = created[0].as_ref().unwrap().id;
    let partition = running.replicas.partition(topic, PartitionId(0)).expect("made before the answer");

    // A slow disk: changes of the log wait.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (tell, is_held) = oneshot::channel();
    let slow = tokio::task::spawn_blocking(move || {
        partition.with_log(|_| {
            tell.send(()).unwrap();
            released.recv().unwrap();
        })
    });
    is_held.await.unwrap();
    let mut view = running.quorum.view();
    let end = view.borrow().high_watermark;
    let changing = tokio::spawn({
        let running = running.clone();
        async move { running.set(1).await.unwrap() }
    });
    view.wait_for(|view| end < view.high_watermark).await.unwrap();
    tokio::time::timeout(FAR_OFF, running.heartbeat(epoch)).await.expect("the controller answers brokers meanwhile");
    assert!(!changing.is_finished() && running.value().is_none(), "who changes options may use them at once");
    release.send(()).unwrap();
    changing.await.unwrap();
    assert_eq!(running.value(), Some("1".to_owned()));
    slow.await.unwrap().unwrap();
    Arc::into_inner(running).unwrap().stop().await;
}

#[tokio::test]
async fn what_keeps_nodes_alive_waits_for_a_part_of_a_mass_creation_at_most() {
    let site = Site::new(&[]);
    let running = site.start().await;
    running.register(&site).await;
    let topic = |number| TopicSpec { partitions: Some(250), ..TopicSpec::with_defaults(format!("t{number}")) };
    let other = Registration { id: BrokerId(2), directory: DirectoryId(Uuid::new_v4()), ..site.registration() };
    let view = running.quorum.view();
    // While the view is borrowed the control thread gets no further than the end of its current step.
    let looked_at = view.borrow();
    let end = looked_at.high_watermark;
    let (created, registered, ()) = tokio::join!(
        running.handle.create_topics((0..6).map(topic).collect(), false),
        running.handle.register_broker(other),
        async move { drop(looked_at) }
    );
    assert!(created.unwrap().iter().all(Result::is_ok));
    let (before, all) = (registered.unwrap().unwrap().0 - end.0, 6 * 251);
    assert!(before <= 4 * 251 && all <= running.published.load().end_offset.0 - end.0, "behind {before} records");
    drop(view);
    running.stop().await;
}

#[tokio::test]
async fn a_hint_is_followed_when_its_time_is_over_however_long_sessions_last() {
    let site = Site::new(&[("broker.session.timeout.ms", "600000")]);
    let running = site.start().await;
    let epoch = running.register(&site).await;
    let mut view = running.quorum.view();
    let mut wait_for = async |is_fenced: bool| {
        let is_seen = |image: &Image| image.brokers.get(&BrokerId(1)).is_some_and(|broker| broker.fenced == is_fenced);
        let seen = view.wait_for(|_| is_seen(&running.published.load()));
        tokio::time::timeout(FAR_OFF, seen).await.expect("it is heeded").unwrap();
    };
    // The first one may be served by what a new controller does soon anyway.
    for _ in 0..2 {
        running.heartbeat(epoch).await;
        wait_for(false).await;
        running.handle.fence_hint(BrokerId(1), epoch).await.unwrap().unwrap();
        let probe = running.handle.next_probe().await.unwrap();
        running.handle.probed(probe.broker, probe.epoch, ProbeOutcome::Silent).await.unwrap();
        wait_for(true).await;
    }
    drop(view);
    running.stop().await;
}

#[tokio::test]
async fn a_partition_that_found_no_room_is_made_when_there_is_some() {
    // Nothing else may happen to the topic.
    let site = Site::new(&[("broker.session.timeout.ms", "600000")]);
    let running = site.start().await;
    running.register(&site).await;
    site.disk.fail(Operation::Open, 0, std::io::ErrorKind::StorageFull);
    let created = running.handle.create_topics(vec![TopicSpec::with_defaults("t".to_owned())], false).await.unwrap();
    let topic = created[0].as_ref().unwrap().id;
    let partition = || running.replicas.partition(topic, PartitionId(0));
    assert!(partition().is_none());
    let missing = running.replicas.offline();
    assert!(missing.len() == 1 && missing[0].reason.contains("not made yet"), "{missing:?}");
    let logs = OffsetsLogs::new(running.replicas.clone(), running.published.clone());
    let made = async {
        logs.watch_metadata();
        while partition().is_none() {
            logs.metadata_changed().await;
            logs.watch_metadata();
        }
    };
    tokio::time::timeout(FAR_OFF, made).await.expect("it is tried again, and coordinators are told");
    assert!(partition().unwrap().leads() && running.replicas.offline().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_control_thread_that_is_stuck_is_seen() {
    let site = Site::new(&[]);
    let running = site.start().await;
    let until = |is_alive| {
        let deadline = std::time::Instant::now() + FAR_OFF;
        while running.pulse.is_alive() != is_alive {
            assert!(std::time::Instant::now() < deadline, "the pulse is not taken for {is_alive}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    };
    until(true);
    let view = running.quorum.view();
    // While the view is borrowed the thread cannot change it.
    let looked_at = view.borrow();
    until(false);
    drop(looked_at);
    until(true);
    drop(view);
    running.stop().await;
}

#[tokio::test]
async fn an_idle_log_moves_on_where_that_is_wanted() {
    let site = Site::new(&[("metadata.max.idle.interval.ms", "1")]);
    let running = site.start().await;
    let mut view = running.quorum.view();
    let end = view.borrow().published;
    tokio::time::timeout(FAR_OFF, view.wait_for(|view| end.advance(3) <= view.published)).await.unwrap().unwrap();
    drop(view);
    running.stop().await;
}
