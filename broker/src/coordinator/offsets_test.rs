//! Offsets: who may commit, what is refused, and when they expire.

use std::time::Duration;

use protocol::coordinator_records::{CoordinatorRecord, GenerationId};
use protocol::types::{PartitionId, TopicId};
use uuid::Uuid;

use super::error::GroupError;
use super::group::GroupState;
use super::member::MemberId;
use super::request::{CommitRequest, GroupRequest, MemberClaim, OffsetToCommit, TopicOffsets};
use super::testing::{
    Bench, again, claim, commit_of, config, offset, request, static_claim, static_request, told, waits,
};

fn by(member: MemberClaim, generation: i32) -> CommitRequest {
    CommitRequest { member, generation: GenerationId(generation), ..commit_of(vec![offset(0, 9)]) }
}

#[test]
fn who_may_commit_depends_on_the_group() {
    let mut bench = Bench::new(config());
    let nobody = || claim(&MemberId("nobody".to_owned()));
    assert_eq!(told(&mut bench.commit("g", by(nobody(), 0))), Err(GroupError::GroupNotFound));
    assert_eq!(told(&mut bench.commit("g", commit_of(vec![offset(0, 5)]))).unwrap(), [Ok(())]);
    assert_eq!(bench.offset("g", 0), Some(5), "without a group that has members anybody may");

    let joined = bench.stable("g", 2);
    let (one, outsider) = (|| claim(&joined[0].member), MemberId::default());
    let table = [
        (commit_of(vec![offset(0, 9)]), GroupError::UnknownMember(outsider)),
        (by(nobody(), 1), GroupError::UnknownMember(nobody().id)),
        (by(one(), 0), GroupError::IllegalGeneration { claimed: GenerationId(0), current: GenerationId(1) }),
        (by(one(), -1), GroupError::IllegalGeneration { claimed: GenerationId(-1), current: GenerationId(1) }),
        (by(static_claim(&joined[0].member, "i"), 1), GroupError::UnknownInstance("i".to_owned())),
    ];
    for (request, expected) in table {
        assert_eq!(told(&mut bench.commit("g", request)), Err(expected));
    }
    assert_eq!(bench.offset("g", 0), Some(5));
    assert_eq!(told(&mut bench.commit("g", by(one(), 1))).unwrap(), [Ok(())]);
    // Before it joins again, a member may commit its position.
    let mut joins = vec![bench.join("g", again(&joined[0].member))];
    assert_eq!(told(&mut bench.commit("g", by(claim(&joined[1].member), 1))).unwrap(), [Ok(())]);
    joins.push(bench.join("g", again(&joined[1].member)));
    assert!(told(&mut joins[0]).is_ok() && told(&mut joins[1]).is_ok());
    assert_eq!(told(&mut bench.commit("g", by(one(), 2))), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_static_member_that_was_replaced_commits_nothing() {
    let mut bench = Bench::new(config());
    let mut joining = bench.join("g", static_request("i"));
    bench.pass(Duration::from_secs(10));
    let joined = told(&mut joining).unwrap();
    assert!(told(&mut bench.sync("g", &joined, &[])).is_ok());
    let back = told(&mut bench.join("g", static_request("i"))).unwrap();
    let refused = told(&mut bench.commit("g", by(static_claim(&joined.member, "i"), 1)));
    assert!(matches!(refused, Err(GroupError::FencedInstance { .. })), "{refused:?}");
    assert_eq!(told(&mut bench.commit("g", by(static_claim(&back.member, "i"), 1))).unwrap(), [Ok(())]);
}

#[test]
fn metadata_that_is_too_long_is_refused_alone() {
    let mut bench = Bench::new(config());
    let long = OffsetToCommit { metadata: "x".repeat(65), ..offset(0, 1) };
    let fits = OffsetToCommit { metadata: "x".repeat(64), ..offset(1, 2) };
    let committed = told(&mut bench.commit("g", commit_of(vec![long, fits]))).unwrap();
    assert_eq!(committed, [Err(GroupError::MetadataTooLarge { bytes: 65, bytes_max: 64 }), Ok(())]);
    assert_eq!((bench.offset("g", 0), bench.offset("g", 1)), (None, Some(2)));
}

#[test]
fn an_offset_of_an_earlier_topic_of_that_name_is_none() {
    let mut bench = Bench::new(config());
    told(&mut bench.commit("g", commit_of(vec![offset(0, 5)]))).unwrap()[0].clone().unwrap();
    for (id, expected) in [(1, Some(5)), (2, None), (0, Some(5))] {
        let topic_id = TopicId(Uuid::from_u128(id));
        let wanted = TopicOffsets { topic: "t".to_owned(), topic_id, partitions: vec![PartitionId(0), PartitionId(1)] };
        let fetched = told(&mut bench.ask("g", |reply| GroupRequest::FetchOffsets(Some(vec![wanted]), reply))).unwrap();
        let found: Vec<_> =
            fetched[0].partitions.iter().map(|(_, offset)| offset.as_ref().map(|o| o.offset.0)).collect();
        assert_eq!(found, [expected, None], "topic id {id}");
    }
    let now = bench.now;
    for (id, left) in [(2, Some(5)), (1, None)] {
        bench.shard.topic_deleted(("t", TopicId(Uuid::from_u128(id))), now, &mut bench.log);
        bench.settle();
        assert_eq!(bench.offset("g", 0), left, "topic id {id} is gone");
    }
    bench.fail_over();
    assert_eq!(bench.offset("g", 0), None);
}

fn expired(bench: &mut Bench, group: &str, after: Duration) -> bool {
    bench.pass(after);
    bench.offset(group, 0).is_none()
}

#[test]
fn offsets_are_kept_as_long_as_somebody_could_use_them() {
    const RETENTION: Duration = Duration::from_hours(1);
    const CHECK: Duration = Duration::from_mins(10);
    let mut bench = Bench::new(config());
    told(&mut bench.commit("simple", commit_of(vec![offset(0, 5)]))).unwrap()[0].clone().unwrap();
    assert!(!expired(&mut bench, "simple", RETENTION.checked_sub(CHECK).unwrap()));
    told(&mut bench.commit("simple", commit_of(vec![offset(0, 6)]))).unwrap()[0].clone().unwrap();
    assert!(!expired(&mut bench, "simple", RETENTION.checked_sub(CHECK).unwrap()), "a commit keeps it");
    assert!(expired(&mut bench, "simple", 2 * CHECK));

    // As long as a member subscribes to the topic, and then until the group has been empty for the retention time.
    let joined = bench.stable("g", 1);
    let one = || claim(&joined[0].member);
    assert!(told(&mut bench.commit("g", by(one(), 1))).is_ok());
    for _ in 0..4000 {
        bench.pass(Duration::from_secs(5));
        assert_eq!(bench.heartbeat("g", one(), GenerationId(1)), Ok(()));
    }
    assert_eq!(bench.offset("g", 0), Some(9));
    assert_eq!(bench.leave("g", vec![one()]), [Ok(())]);
    assert!(!expired(&mut bench, "g", RETENTION.checked_sub(CHECK).unwrap()));
    bench.fail_over();
    assert!(!expired(&mut bench, "g", Duration::from_mins(5)), "a failover keeps the time since when it is empty");
    assert!(expired(&mut bench, "g", 2 * CHECK));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)), Err(GroupError::GroupNotFound));
    let tombstone = CoordinatorRecord::GroupMetadata { group: "g".to_owned(), value: None };
    assert_eq!(bench.log.records.last(), Some(&tombstone));

    let asked = CommitRequest { retention: Some(CHECK), ..commit_of(vec![offset(0, 5)]) };
    assert!(told(&mut bench.commit("brief", asked)).is_ok());
    assert!(expired(&mut bench, "brief", 2 * CHECK), "a client asked for less");
}

#[test]
fn a_deleted_group_leaves_no_age_to_who_uses_its_name() {
    let mut bench = Bench::new(config());
    let joined = bench.stable("g", 1);
    assert_eq!(bench.leave("g", vec![claim(&joined[0].member)]), [Ok(())]);
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Delete)), Ok(()));
    bench.pass(Duration::from_hours(2));
    told(&mut bench.commit("g", commit_of(vec![offset(0, 5)]))).unwrap()[0].clone().unwrap();
    bench.fail_over();
    assert!(!expired(&mut bench, "g", Duration::from_mins(50)));
    assert!(expired(&mut bench, "g", Duration::from_mins(20)));
}

#[test]
fn offsets_do_not_grow_old_because_the_clock_is_set() {
    let mut bench = Bench::new(config());
    told(&mut bench.commit("simple", commit_of(vec![offset(0, 5)]))).unwrap()[0].clone().unwrap();
    bench.now.wall.0 += 365 * 24 * 3_600_000;
    assert!(!expired(&mut bench, "simple", Duration::from_mins(50)));
    assert!(expired(&mut bench, "simple", Duration::from_mins(20)));
}

#[test]
fn groups_and_offsets_are_deleted_where_nobody_uses_them() {
    let mut bench = Bench::new(config());
    let joined = bench.stable("g", 1);
    let other = OffsetToCommit { topic: "other".to_owned(), ..offset(0, 3) };
    let commit = CommitRequest { offsets: vec![offset(0, 1), other], ..by(claim(&joined[0].member), 1) };
    assert!(told(&mut bench.commit("g", commit)).is_ok());
    let delete = |topic: &str| vec![(topic.to_owned(), PartitionId(0)), (topic.to_owned(), PartitionId(7))];
    let delete_offsets =
        |bench: &mut Bench, topic| told(&mut bench.ask("g", |reply| GroupRequest::DeleteOffsets(delete(topic), reply)));
    assert_eq!(delete_offsets(&mut bench, "t").unwrap()[0], Err(GroupError::Subscribed("t".to_owned())));
    assert_eq!(delete_offsets(&mut bench, "other").unwrap(), [Ok(()), Ok(())]);
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Delete)), Err(GroupError::NotEmpty));
    assert_eq!(bench.leave("g", vec![claim(&joined[0].member)]), [Ok(())]);
    assert_eq!(bench.offset("g", 0), Some(1));
    assert_eq!(delete_offsets(&mut bench, "t").unwrap()[0], Ok(()));
    assert_eq!(bench.offset("g", 0), None);
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Delete)), Ok(()));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Delete)), Err(GroupError::GroupNotFound));
    assert_eq!(delete_offsets(&mut bench, "t"), Err(GroupError::GroupNotFound));
    bench.fail_over();
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)), Err(GroupError::GroupNotFound));
}

#[test]
fn an_empty_group_lists_as_such() {
    let mut bench = Bench::new(config());
    assert!(told(&mut bench.commit("simple", commit_of(vec![offset(0, 5)]))).is_ok());
    let mut joining = bench.join("new", request("c"));
    assert!(waits(&mut joining));
    let (reply, mut listing) = tokio::sync::oneshot::channel();
    bench.shard.list(reply, bench.now);
    let mut listed: Vec<_> = told(&mut listing).unwrap().into_iter().map(|group| (group.id, group.state)).collect();
    listed.sort();
    let expected = [("new".to_owned(), GroupState::PreparingRebalance), ("simple".to_owned(), GroupState::Empty)];
    assert_eq!(listed, expected);
}
