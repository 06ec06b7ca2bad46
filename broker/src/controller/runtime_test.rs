use std::path::Path;

use arc_swap::ArcSwap;
use protocol::config::Scope;
use protocol::types::{ClusterId, Offset};
use storage::directory::{ExpectedOwner, LogDirectory};
use storage::faulty::{FaultyDisk, Operation};
use storage::{Disk, FilePool, PoolLimits, Reserve};
use uuid::Uuid;

use super::super::start::{ControllerSite, ControllerThread, start};
use super::super::{
    ConfigChange, ConfigEdit, ControllerHandle, FormatPlan, Others, QuorumHandle, Voter, format_directory,
};
use super::*;
use crate::config::BrokerConfig;
use crate::metadata::{ConfigResource, Image, METADATA_DIRECTORY};
use crate::replica::{DiskSpace, SpaceLimits};

const DATA: &str = "/data";
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

    async fn start(&self) -> Running {
        let disk: Arc<dyn Disk> = self.disk.clone();
        let owner = ExpectedOwner { cluster_id: None, node_id: BrokerId(1) };
        let directory = Arc::new(LogDirectory::open(&disk, Path::new(DATA), &owner).unwrap());
        let pool = FilePool::new(disk.clone(), PoolLimits::default());
        let published = Arc::new(ArcSwap::from_pointee(Image::empty()));
        let starting = start(ControllerSite {
            context: ControllerContext {
                id: BrokerId(1),
                directory_id: self.directory_id,
                cluster_id: self.cluster_id.clone(),
                incarnation: IncarnationId(Uuid::new_v4()),
                topic_defaults: TopicDefaults { partitions: 1, replication_factor: 1 },
                file_values: self.config.values.clone(),
            },
            config: &self.config,
            pool: &pool,
            directory: &directory,
            recovery_point: Offset(0),
            published: published.clone(),
        });
        let (handle, quorum, thread) = tokio::task::spawn_blocking(|| starting.unwrap().wait().unwrap()).await.unwrap();
        let limits = SpaceLimits { soft: 0, hard: 0, file: 0 };
        let reserve = Arc::new(Reserve::open(disk.clone(), Path::new(DATA), 0));
        let space = DiskSpace::new(limits, reserve, directory.space().unwrap());
        let replicas = ReplicaManager::new(BrokerId(1), pool, directory, self.config.values.clone(), space);
        let replicas = Arc::new(replicas);
        let (attached, attaching) = (replicas.clone(), quorum.clone());
        tokio::task::spawn_blocking(move || attaching.attach(attached).unwrap()).await.unwrap();
        Running { handle, quorum, thread, published, replicas }
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
        // Nothing is left of what was not synced.
        site.disk.crash(&mut || 0);
        drop(running);
    }
}

#[tokio::test]
async fn what_cannot_be_synced_is_neither_published_nor_answered() {
    let site = Site::new(&[]);
    let running = site.start().await;
    running.set(1).await.unwrap();
    site.disk.fail(Operation::Sync, 0, std::io::ErrorKind::Other);
    running.set(2).await.unwrap_err();
    assert_eq!(running.value(), Some("1".to_owned()));
    assert!(running.replicas.failed().await.contains("offline"), "the process must end");
    assert!(!running.thread.stop().await);
}

#[tokio::test]
async fn snapshots_are_taken_read_again_and_let_go() {
    let bytes = [("metadata.log.max.record.bytes.between.snapshots", "200"), ("metadata.max.retention.bytes", "1")];
    let site = Site::new(&bytes);
    let running = site.start().await;
    let mut value = 0;
    while snapshots(&site.disk).iter().all(|name| name.starts_with("00000000000000000000")) {
        value += 1;
        running.set(value).await.unwrap();
    }
    running.set(value + 1).await.unwrap();
    let end = running.published.load().end_offset;
    running.stop().await;
    let left = snapshots(&site.disk);
    assert!(left.iter().all(|name| !name.starts_with("00000000000000000000")), "the oldest has gone: {left:?}");

    let running = site.start().await;
    assert_eq!(running.value(), Some((value + 1).to_string()));
    assert!(end < running.published.load().end_offset);
    running.stop().await;
}
