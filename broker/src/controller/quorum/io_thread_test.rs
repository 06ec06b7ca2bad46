use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::config::{Scope, Values};
use protocol::metadata_records::MetadataRecord;
use protocol::types::{LeaderEpoch, Timestamp};
use raft::LeaderInfo;
use storage::faulty::{FaultyDisk, Operation};
use storage::{FilePool, PoolLimits};

use super::*;
use crate::controller::metadata_log::encode_records;

const OUT_OF_DESCRIPTORS: i32 = 24;

#[test]
fn out_of_descriptors_it_waits_and_reads_then() {
    let (disk, now) = (Arc::new(FaultyDisk::new()), Timestamp(1));
    let pool = FilePool::new(disk.clone(), PoolLimits::default());
    let values = Values::defaults(Scope::Broker);
    let mut log = MetadataLog::open(&pool, Path::new("/data"), &values, Offset(0), now).unwrap().log;
    let id = SnapshotId { end_offset: Offset(0), epoch: LeaderEpoch(1) };
    log.write_snapshot(id, b"snapshot").unwrap();
    let state = QuorumStateFile::new(disk.clone(), log.directory());
    let Io { tasks, mut reports, thread } = IoThread::spawn(log, state, &Failures::default()).unwrap();

    let record = MetadataRecord::FeatureLevel { name: "metadata.version".to_owned(), level: 27 };
    let batch = encode_records(&[record], now).unwrap().bytes;
    tasks.blocking_send(Task::Append(batch.clone())).unwrap();
    assert!(matches!(reports.blocking_recv(), Some(Report::Persisted { end_offset: Offset(1), .. })));
    let response = FetchSnapshotResponse { error: None, leader: LeaderInfo::default(), id, position: 0 };
    let (token, response) = (Token(1), Box::new(response));
    let read_log = Task::Read { range: Offset(0)..Offset(1), bytes_max: 1 << 20, purpose: Purpose::Replay };
    let read_snapshot = Task::ReadSnapshot { id, position: 0, bytes_max: 1 << 20, token, response };
    for (task, operation) in [(read_log, Operation::Read), (read_snapshot, Operation::Open)] {
        disk.fail(operation, 0, io::Error::from_raw_os_error(OUT_OF_DESCRIPTORS));
        tasks.blocking_send(task).unwrap();
        for is_short in [true, false] {
            assert!(matches!(reports.blocking_recv(), Some(Report::Short(short)) if short == is_short));
        }
        match reports.blocking_recv() {
            Some(Report::Read { bytes, .. }) => assert_eq!(bytes, batch),
            Some(Report::SnapshotRead { piece, .. }) => assert_eq!(piece.unwrap().0, "snapshot"),
            other => panic!("{other:?}"),
        }
    }
    drop(tasks);
    assert!(thread.join().unwrap());
}
