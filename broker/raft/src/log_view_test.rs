use protocol::types::{LeaderEpoch, Offset};

use super::{LogSummary, LogView, Position};
use crate::control::Quorum;
use crate::event::LogGeneration;
use crate::identity::SnapshotId;

/// Epoch 1 from 0, epoch 3 from 10, epoch 4 from 20 to 30.
fn log() -> LogView {
    let epochs = [(1, 0), (3, 10), (4, 20)].map(|(epoch, first)| (LeaderEpoch(epoch), Offset(first)));
    LogView::new(LogSummary { end_offset: Offset(30), epochs: epochs.to_vec(), ..LogSummary::default() })
}

/// The same, but everything before 10 is in a snapshot.
fn behind_snapshot() -> LogView {
    let mut log = log();
    log.add_snapshot(SnapshotId { end_offset: Offset(10), epoch: LeaderEpoch(1) });
    log.advance_start(Offset(10));
    log
}

fn diverging(epoch: i32, end_offset: i64) -> Position {
    Position::Diverging { epoch: LeaderEpoch(epoch), end_offset: Offset(end_offset) }
}

#[test]
fn a_follower_is_told_where_its_log_leaves_the_leaders() {
    for (log, offset, epoch, expected) in [
        (log(), 0, 0, Position::Valid),
        (log(), 30, 4, Position::Valid),
        (log(), 15, 3, Position::Valid),
        (log(), 10, 1, Position::Valid),
        (log(), 12, 1, diverging(1, 10)),
        (log(), 15, 2, diverging(1, 10)),
        (log(), 25, 3, diverging(3, 20)),
        (log(), 31, 4, diverging(4, 30)),
        (log(), 31, 9, diverging(4, 30)),
        (log(), 5, 0, diverging(0, 0)),
        (behind_snapshot(), 0, 0, Position::BeforeStart),
        (behind_snapshot(), 9, 1, Position::BeforeStart),
        (behind_snapshot(), 10, 0, Position::BeforeStart),
        (behind_snapshot(), 10, 1, Position::Valid),
        (behind_snapshot(), 12, 0, Position::BeforeStart),
        (behind_snapshot(), 12, 1, diverging(1, 10)),
        (behind_snapshot(), 12, 2, diverging(1, 10)),
        (behind_snapshot(), 25, 3, diverging(3, 20)),
    ] {
        assert_eq!(log.position(Offset(offset), LeaderEpoch(epoch)), expected, "{offset} of epoch {epoch}");
    }
}

#[test]
fn a_follower_truncates_to_what_both_logs_have() {
    for (log, epoch, end_offset, expected) in [
        (log(), 4, 25, 25),
        (log(), 4, 99, 30),
        (log(), 3, 15, 15),
        (log(), 3, 25, 20),
        (log(), 2, 50, 10),
        (log(), 0, 0, 0),
        (behind_snapshot(), 1, 10, 10),
    ] {
        let to = log.divergence(LeaderEpoch(epoch), Offset(end_offset));
        assert_eq!(to, Offset(expected), "the leader's epoch {epoch} ends at {end_offset}");
    }
}

#[test]
fn a_log_covers_the_snapshots_of_its_own_records() {
    let id = |end_offset, epoch| SnapshotId { end_offset: Offset(end_offset), epoch: LeaderEpoch(epoch) };
    for (id, is_covered) in
        [(id(10, 1), true), (id(15, 3), true), (id(15, 2), false), (id(30, 4), true), (id(31, 4), false)]
    {
        assert_eq!(log().covers(id), is_covered, "{id}");
    }
    let mut restarted = log();
    restarted.restart_at(id(40, 7), Quorum::default());
    assert_eq!((restarted.start(), restarted.end(), restarted.persisted()), (Offset(40), Offset(40), Offset(40)));
    assert_eq!((restarted.last_epoch(), restarted.generation()), (LeaderEpoch(7), LogGeneration(1)));
    assert!(restarted.covers(id(30, 4)), "its snapshot holds that, too");
}

#[test]
fn a_restart_knows_the_epochs_that_still_have_records() {
    let mut summary = LogSummary {
        start_offset: Offset(12),
        end_offset: Offset(30),
        epochs: vec![(LeaderEpoch(1), Offset(0)), (LeaderEpoch(3), Offset(10)), (LeaderEpoch(4), Offset(20))],
        snapshot: Some(SnapshotId { end_offset: Offset(20), epoch: LeaderEpoch(3) }),
        ..LogSummary::default()
    };
    let log = LogView::new(summary.clone());
    assert_eq!(log.end_of(LeaderEpoch(1)), None);
    assert_eq!(log.end_of(LeaderEpoch(3)), Some((LeaderEpoch(3), Offset(20))));
    assert_eq!(log.position(Offset(12), LeaderEpoch(3)), Position::BeforeStart, "what stood before 12 is not known");
    summary.start_offset = Offset(20);
    let log = LogView::new(summary);
    assert_eq!(log.position(Offset(20), LeaderEpoch(3)), Position::Valid, "the snapshot ends there");
}
