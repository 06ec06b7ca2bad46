use protocol::batch::BatchHeader;
use protocol::types::LeaderEpoch;

use super::*;
use crate::testing::*;
use crate::{FetchedBatches, Log};

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 100, ..LogConfig::default() }
}

#[test]
fn a_full_disk_keeps_no_log_from_being_opened() {
    for space_left in (0..120).step_by(10) {
        let bench = Bench::new(small_segments());
        let mut written = bench.create();
        for index in 0..20 {
            append(&mut written, &produced(&batch(2, 80, index.into()), 9, 0, index * 2));
        }
        let bytes = |log: &Log| read_all(log).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
        let originals = bytes(&written);
        bench.disk.set_space_left(Some(space_left));
        let mut log = Bench::on(bench.disk.clone(), bench.config.clone()).load(Offset(0)).unwrap();
        assert!(bytes(&log) == originals, "{space_left}");
        bench.disk.set_space_left(None);
        flush(&mut log);
        let loaded = Bench::on(bench.disk.clone(), bench.config.clone()).load(log.recovery_point()).unwrap();
        let largest = |log: &Log| log.closed.iter().map(|segment| segment.largest_timestamp).collect::<Vec<_>>();
        assert_eq!((largest(&loaded), &loaded.producers), (largest(&log), &log.producers), "{space_left}");
    }
}

#[test]
fn epochs_of_a_compacted_log_begin_where_they_did_before() {
    let compacted = LogConfig { compacted: true, ..small_segments() };
    let (bench, one) = (Bench::new(compacted), batch(1, 10, 5));
    let mut log = bench.create();
    let at = |(base, epoch): (i64, i32)| {
        let header = BatchHeader { base_offset: Offset(base), leader_epoch: LeaderEpoch(epoch), ..one.header };
        sealed(header, &one.bytes).bytes.to_vec()
    };
    let sent: Vec<u8> = [(0, 2), (80, 2), (150, 3)].into_iter().flat_map(at).collect();
    let fetched = FetchedBatches::check_compacted(sent.into()).unwrap();
    log.append_as_follower(&fetched, LeaderEpoch(3), NOW).unwrap();
    flush(&mut log);
    let file = path("leader-epoch-checkpoint");
    assert_eq!(bench.disk.contents(&file).unwrap(), b"0\n2\n2 0\n3 81\n", "the end of what there is of epoch 2");
    bench.disk.remove_file(&file).unwrap();
    assert_eq!(bench.load(Offset(0)).unwrap().leader_epochs(), log.leader_epochs(), "the batches tell the same");

    bench.disk.put(&file, b"0\n2\n2 0\n3 100\n".to_vec());
    for (synced, expected) in [(151, 100), (0, 81)] {
        let loaded = bench.load(Offset(synced)).unwrap();
        assert_eq!(loaded.leader_epochs().entries().last().unwrap().start_offset, Offset(expected), "{synced}");
    }
    // Not to be compacted any more.
    let bench = Bench::on(bench.disk, small_segments());
    let loaded = bench.load_with(&LoadOptions { compacted_end: Offset(151), ..options(Offset(0)) }).unwrap();
    assert_eq!(loaded.log_end().offset, Offset(151), "a gap in what was compacted is no torn tail");
}
