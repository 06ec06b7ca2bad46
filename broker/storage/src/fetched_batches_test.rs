use protocol::produce::CheckedBatch;

use super::*;
use crate::LogConfig;
use crate::faulty::Operation;
use crate::testing::*;

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() }
}

/// As in the log of the leader of `epoch`.
fn placed(batch: &CheckedBatch, base_offset: i64, epoch: i32) -> CheckedBatch {
    let header = BatchHeader { base_offset: Offset(base_offset), leader_epoch: LeaderEpoch(epoch), ..batch.header };
    sealed(header, &batch.bytes)
}

fn fetched(batches: &[CheckedBatch]) -> FetchedBatches {
    FetchedBatches::check(batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect()).unwrap()
}

#[test]
fn a_follower_has_the_leaders_bytes_indexes_epochs_and_producers() {
    let config = small_segments();
    let (leading, following) = (Bench::new(config.clone()), Bench::new(config));
    let (mut leader, mut follower) = (leading.create(), following.create());
    for index in 0..40_i32 {
        let batch = produced(&batch(2, 60, (index % 5).into()), 9, 0, index * 2);
        leader.append_as_leader(&batch, LeaderEpoch(1 + index / 15), NOW).unwrap();
    }
    let bytes: Vec<u8> = read_all(&leader).into_iter().flat_map(|(_, bytes)| bytes).collect();
    let fetched = FetchedBatches::check(bytes.clone().into()).unwrap();
    let appended = follower.append_as_follower(&fetched, LeaderEpoch(3), NOW).unwrap().unwrap();
    assert_eq!((appended.base_offset, appended.last_offset), (Offset(0), Offset(79)));
    assert_eq!((follower.log_end(), follower.segment_count()), (leader.log_end(), leader.segment_count()));
    assert_eq!(follower.leader_epochs(), leader.leader_epochs());
    leader.close_clean(NOW).unwrap();
    follower.close_clean(NOW).unwrap();
    for name in leading.names() {
        assert_eq!(following.contents(&name), leading.contents(&name), "{name}");
    }
    let retry = produced(&batch(2, 60, 4), 9, 0, 78);
    assert!(follower.append_as_leader(&retry, LeaderEpoch(4), NOW).unwrap().duplicate);
    let rejoined: Vec<u8> = fetched.batches().flat_map(|(_, batch)| batch).collect();
    assert_eq!((rejoined, fetched.length()), (bytes.clone(), bytes.len()));
}

#[test]
fn what_is_no_run_of_intact_batches_is_refused() {
    let batch = batch(2, 10, 5);
    let run = [placed(&batch, 5, 1), placed(&batch, 7, 2)];
    let length = run[0].bytes.len();
    let cut = |bytes: usize| run.iter().flat_map(|batch| batch.bytes.to_vec()).take(bytes).collect::<Bytes>();
    for (bytes, count) in [(0, 0), (60, 0), (length - 1, 0), (length, 1), (length + 61, 1), (2 * length, 2)] {
        assert_eq!(FetchedBatches::check(cut(bytes)).unwrap().headers().len(), count, "{bytes} bytes");
    }
    let flipped = |at: usize| {
        let mut bytes = cut(2 * length).to_vec();
        bytes[at] ^= 1;
        FetchedBatches::check(bytes.into()).unwrap_err()
    };
    assert_eq!(flipped(length - 1).defect, BatchDefect::Checksum);
    assert_eq!(flipped(16).defect, BatchDefect::Magic(3));
    assert_eq!(flipped(length + 7).defect, BatchDefect::Offsets);
    for (second, defect) in [(placed(&batch, 8, 2), BatchDefect::Offsets), (placed(&batch, 7, 0), BatchDefect::Epoch)] {
        let bytes: Vec<u8> = [&run[0], &second].into_iter().flat_map(|batch| batch.bytes.to_vec()).collect();
        assert_eq!(FetchedBatches::check(bytes.into()).unwrap_err().defect, defect);
    }
}

#[test]
fn what_does_not_follow_the_log_is_refused() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.create();
    let batch = batch(2, 10, 5);
    log.append_as_follower(&fetched(&[placed(&batch, 0, 3)]), LeaderEpoch(3), NOW).unwrap();
    let mut append = |base, epoch, leader| {
        log.append_as_follower(&fetched(&[placed(&batch, base, epoch)]), LeaderEpoch(leader), NOW)
    };
    for base in [0, 1, 3] {
        assert!(matches!(append(base, 3, 3), Err(ReplicateError::NotContiguous { expected: Offset(2), .. })), "{base}");
    }
    assert!(matches!(append(2, 4, 3), Err(ReplicateError::EpochAhead { .. })), "its leader has become a follower");
    assert!(matches!(append(2, 2, 5), Err(ReplicateError::EpochBehind { latest: LeaderEpoch(3), .. })));
    assert!(append(2, 3, 5).unwrap().is_some());
}

#[test]
fn a_full_disk_leaves_whole_batches() {
    let bench = Bench::new(small_segments());
    let mut log = bench.create();
    let (batch, count) = (batch(1, 200, 5), 9);
    let batches: Vec<_> = (0..count).map(|offset| placed(&batch, offset, 1)).collect();
    bench.disk.set_space_left(Some(1500));
    let full = log.append_as_follower(&fetched(&batches), LeaderEpoch(1), NOW);
    assert!(matches!(full, Err(ReplicateError::Append(AppendError::NoSpace { .. }))), "{full:?}");
    bench.disk.set_space_left(None);
    let end = log.log_end().offset;
    assert!(Offset(0) < end && end < Offset(count), "the first segment is full: {end}");
    let rest = fetched(&batches[usize::try_from(end.0).unwrap()..]);
    log.append_as_follower(&rest, LeaderEpoch(1), NOW).unwrap();
    assert_eq!(read_all(&log).len(), batches.len());
    bench.disk.fail(Operation::Write, 0, std::io::ErrorKind::Other);
    let failed = log.append_as_follower(&fetched(&[placed(&batch, count, 1)]), LeaderEpoch(1), NOW);
    assert!(matches!(failed, Err(ReplicateError::Append(AppendError::Io { .. }))), "{failed:?}");
    assert!(log.is_offline());
}

#[test]
fn a_follower_of_a_compacted_log_takes_gaps_for_what_they_are_and_keeps_them() {
    let bench = Bench::new(LogConfig { compacted: true, ..small_segments() });
    let mut log = bench.create();
    let batch = batch(2, 200, 5);
    let run = |bases: &[i64]| {
        let bytes: Vec<u8> = bases.iter().flat_map(|base| placed(&batch, *base, 1).bytes.to_vec()).collect();
        FetchedBatches::check_compacted(bytes.into())
    };
    assert_eq!(run(&[4, 5]).unwrap_err().defect, BatchDefect::Offsets, "they overlap");
    let bases = [10, 12, 20, 30, 32, 50];
    log.append_as_follower(&run(&bases).unwrap(), LeaderEpoch(1), NOW).unwrap();
    let overlapping = log.append_as_follower(&run(&[51]).unwrap(), LeaderEpoch(1), NOW);
    assert!(matches!(overlapping, Err(ReplicateError::NotContiguous { expected: Offset(52), .. })));
    assert!(1 < log.segment_count());
    let found = |log: &Log| read_all(log).iter().map(|(header, _)| header.base_offset.0).collect::<Vec<_>>();
    assert_eq!(found(&log), bases);
    for recovery_point in [0, 22] {
        let loaded = bench.load(Offset(recovery_point)).unwrap();
        assert_eq!((found(&loaded), loaded.log_end().offset), (bases.to_vec(), Offset(52)), "{recovery_point}");
    }
    let strict = Bench::on(bench.disk, small_segments()).load(Offset(22)).unwrap();
    assert_eq!(strict.log_end().offset, Offset(22), "where nothing is compacted a gap is a lost tail");
}
