//! Broker 0 on a disk in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::config::{Scope, Values};
use protocol::types::BrokerId;
use storage::directory::{ExpectedOwner, Formatting, LogDirectory};
use storage::faulty::FaultyDisk;
use storage::{Disk, FilePool, MetaProperties, PoolLimits, Reserve};

use super::manager::ReplicaManager;
use super::shared::Shared;
use super::space::{DiskSpace, SpaceLimits};
use crate::failure::Failures;
use crate::metadata::testing::volume;

pub(super) const DATA: &str = "/data";
pub(crate) const NO_LIMITS: SpaceLimits = SpaceLimits { soft: 0, hard: 0, file: 0 };

pub(crate) fn formatted() -> Arc<FaultyDisk> {
    let faulty = Arc::new(FaultyDisk::new());
    let disk: Arc<dyn Disk> = faulty.clone();
    let cluster_id = "4L6g3nShT-eMCtK--X86sw".parse().unwrap();
    let properties = MetaProperties { cluster_id, node_id: BrokerId(0), directory_id: volume(0) };
    Formatting::begin(&disk, Path::new(DATA)).unwrap().finish(&properties).unwrap();
    faulty
}

/// For partitions without a manager.
pub(crate) fn shared() -> Arc<Shared> {
    let disk = formatted();
    let reserve = Arc::new(Reserve::open(disk.clone(), Path::new(DATA), NO_LIMITS.file));
    let space = DiskSpace::new(NO_LIMITS, reserve, disk.space(Path::new(DATA)).unwrap());
    Shared::new(space, Duration::from_secs(30), Failures::default())
}

/// Without loading the partitions on the disk.
pub(crate) fn manager(disk: &Arc<FaultyDisk>, limits: SpaceLimits) -> ReplicaManager {
    let disk: Arc<dyn Disk> = disk.clone();
    let owner = ExpectedOwner { cluster_id: None, node_id: BrokerId(0) };
    let directory = LogDirectory::open(&disk, Path::new(DATA), &owner).unwrap();
    let reserve = Arc::new(Reserve::open(disk.clone(), directory.path(), limits.file));
    let space = DiskSpace::new(limits, reserve, directory.space().unwrap());
    let pool = FilePool::new(disk, PoolLimits::default());
    let values = Values::defaults(Scope::Broker);
    ReplicaManager::new(BrokerId(0), pool, Arc::new(directory), values, space, Failures::default())
}
