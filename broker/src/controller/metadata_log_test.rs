use protocol::config::Scope;
use storage::PoolLimits;
use storage::faulty::FaultyDisk;

use super::super::snapshot;
use super::*;

const ROOT: &str = "/data";
const NOW: Timestamp = Timestamp(1);

fn open(disk: &Arc<FaultyDisk>) -> MetadataLog {
    let pool = FilePool::new(disk.clone(), PoolLimits::default());
    let (values, errors) = Values::parse(Scope::Broker, [("metadata.max.retention.bytes", "1")]);
    assert!(errors.is_empty(), "{errors:?}");
    MetadataLog::open(&pool, Path::new(ROOT), &values, Offset(0), NOW).unwrap().log
}

fn snapshot_of(end: i64) -> (SnapshotId, Vec<u8>) {
    let image = Image { end_offset: Offset(end), epoch: LeaderEpoch(1), ..Image::empty() };
    let id = SnapshotId { end_offset: image.end_offset, epoch: image.epoch };
    (id, snapshot::encode(&image, NOW, NOW).unwrap())
}

#[test]
fn a_snapshot_that_the_leaders_has_overtaken_is_let_go() {
    for is_noted_first in [true, false] {
        let disk = Arc::new(FaultyDisk::new());
        let mut log = open(&disk);
        let ((own, bytes), (leaders, of_leader)) = (snapshot_of(5), snapshot_of(9));
        storage::replace_file(&*disk, &snapshot::path(log.directory(), own), &bytes).unwrap();
        log.write_snapshot(leaders, &of_leader).unwrap();
        if is_noted_first {
            log.add_snapshot(own, 1);
        }
        log.restart_at(leaders.end_offset, NOW).unwrap();
        if !is_noted_first {
            log.add_snapshot(own, 1);
        }
        log.clean(leaders.end_offset, NOW).unwrap();
        assert_eq!((log.latest(), log.start_offset()), (Some(leaders), leaders.end_offset));
        assert_eq!(disk.contents(&snapshot::path(log.directory(), own)), None);
        assert_eq!(open(&disk).latest(), Some(leaders), "the log goes on from it");
    }
}
